# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels in package files and tarballs that are named on the command line."""

from __future__ import annotations

from pathlib import Path

from guestloop.cache import Cache
from guestloop.cache.digests import remembered_digest
from guestloop.config.existing import FilesSpec
from guestloop.ground.errors import ConfigError
from guestloop.ground.log import step
from guestloop.kernels.existing import archives, entry
from guestloop.kernels.origin import Origin, OriginKind, Unpacked


def unpack_files(spec: FilesSpec, cache: Cache) -> Unpacked:
    """The kernel in these files, which nobody vouches for. Raises ConfigError if it cannot be had."""
    for path in spec.files:
        if not path.is_file():
            raise ConfigError(f"--kernels {spec.argument}: no such file: {path}")
    identities = [archives.identify(path, spec.argument) for path in spec.files]
    digests = {path.name: remembered_digest(path, cache) for path in spec.files}

    def unpack(_scratch: Path, root: Path) -> None:
        with step(f"unpacking {spec.name}"):
            for path in spec.files:
                archives.unpack(path, root, spec.argument)

    layout = entry.obtain(cache, digests.values(), spec.argument, unpack)
    identity = identities[0] or archives.Identity(spec.name, layout.release)
    origin = Origin(OriginKind.FILES, spec.argument, identity.name, identity.version, digests)
    return entry.unpacked(layout, origin)
