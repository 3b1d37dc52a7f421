"""The aging drivers, by the name that cells call them by. A file in this directory is all that one needs."""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from guestloop.workloads.aging.driver import Driver

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

DRIVERS: Mapping[str, Driver] = {kind.name: kind() for kind in Driver.__subclasses__()}
