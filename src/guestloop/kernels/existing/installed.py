# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels that are installed: the running one, and others in a ``/boot``."""

from __future__ import annotations

from guestloop.cache import Cache, file_digest
from guestloop.cache.digests import remembered_digest
from guestloop.config.existing import RUNNING, InstalledSpec
from guestloop.ground.errors import ConfigError
from guestloop.ground.log import step
from guestloop.kernels.existing import entry
from guestloop.kernels.existing.checks import check_kernel
from guestloop.kernels.existing.layout import MODULES, complete
from guestloop.kernels.origin import Origin, OriginKind, Unpacked


def find_installed(spec: InstalledSpec, cache: Cache) -> Unpacked:
    """The kernel of an image in ``/boot``, with its modules and its configuration where they are.

    They are not copied: whoever takes modules copies them. Raises ConfigError for what is not there.
    """
    root = spec.image.parent.parent
    directories = [root / name / spec.release for name in MODULES]
    modules = next((path for path in directories if (path / "kernel").is_dir()), None)
    if not modules:
        wanted = " or ".join(map(str, directories))
        raise ConfigError(
            f"--kernels {spec.argument}: kernel {spec.release} has no modules: no {wanted}", hint=_hint(spec)
        )
    layout = complete(spec.release, modules, root, spec.argument)
    check_kernel(layout, f"--kernels {spec.argument}")
    digests = {path.name: remembered_digest(path, cache) for path in (layout.image, layout.config)}
    with step(f"reading the modules of {spec.release}"):
        files = [path for path in sorted(modules.rglob("*.ko*")) if path.is_file()]
        digests["modules"] = entry.combine({str(path): file_digest(path) for path in files})
    origin = Origin(OriginKind.INSTALLED, spec.argument, str(layout.image), spec.release, digests)
    return entry.unpacked(layout, origin)


def _hint(spec: InstalledSpec) -> str:
    if spec.argument == RUNNING:
        return (
            "in a container the kernel is the host's: name a package instead, such as deb:linux-image-amd64"
        )
    return "they are in the package of the kernel; for a build tree name its directory"
