# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels that exist already: packages, package files, installed kernels, build trees. Nothing is compiled.

``unpack_existing`` finds the files of one, ``make_bootable`` makes an L1 kernel of them.
"""

from __future__ import annotations

from guestloop.cache import Cache
from guestloop.config.existing import ExistingSpec, FilesSpec, InstalledSpec, PackageSpec, TreeSpec
from guestloop.kernels.existing.bootable import make_bootable
from guestloop.kernels.existing.files import unpack_files
from guestloop.kernels.existing.installed import find_installed
from guestloop.kernels.existing.packages import unpack_package
from guestloop.kernels.existing.tree import copy_tree
from guestloop.kernels.origin import Unpacked

__all__ = ["make_bootable", "unpack_existing"]


def unpack_existing(spec: ExistingSpec, cache: Cache) -> Unpacked:
    """The files of a kernel that exists, in the cache.

    Raises ConfigError for one that cannot be had or cannot be L1, and then leaves nothing.
    """
    match spec:
        case PackageSpec():
            return unpack_package(spec, cache)
        case FilesSpec():
            return unpack_files(spec, cache)
        case InstalledSpec():
            return find_installed(spec, cache)
        case TreeSpec():
            return copy_tree(spec, cache)
