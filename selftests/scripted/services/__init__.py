# SPDX-License-Identifier: GPL-2.0-or-later
"""The services of a scripted L1's agent, each in the module of the same name as the real one.

A file in this directory is all that a new service needs: it is found by the class that it derives from.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
