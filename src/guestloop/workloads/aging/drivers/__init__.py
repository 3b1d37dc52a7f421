# SPDX-License-Identifier: GPL-2.0-or-later
"""The aging drivers, by the name that cells call them by. A file in this directory is all that one needs."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from guestloop.workloads.aging.driver import Driver

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")


def kinds(base: type[Any]) -> Iterator[type[Any]]:
    """The classes that derive from ``base``, those of a driver that derives from another included."""
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


DRIVERS: Mapping[str, Driver] = {kind.name: kind() for kind in kinds(Driver)}
