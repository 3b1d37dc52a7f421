# SPDX-License-Identifier: GPL-2.0-or-later
"""Where image, modules and configuration of a kernel lie below a root directory, in whichever packaging.

Debian before 6.19 and the kernel's own packages have ``boot/vmlinuz-V`` and ``lib/modules/V``; newer ones
and those of Fedora have all of it in ``usr/lib/modules/V``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from guestloop.ground.errors import ConfigError

MODULES = (Path("usr/lib/modules"), Path("lib/modules"))


@dataclass(frozen=True)
class Layout:
    """Image, directory of modules and configuration of the kernel that calls itself ``release``."""

    release: str
    image: Path
    modules: Path
    config: Path


def find_layout(root: Path, argument: str) -> Layout:
    """Find the one kernel below a root. Raises ConfigError if there is none, more, or a part of one."""
    found = {path.parent.name: path.parent for path in _module_directories(root)}
    if not found:
        parts = ", ".join(_name(path, root) for path in _images(root)) or "no image either"
        raise ConfigError(
            f"--kernels {argument}: no modules in it (lib/modules/V/kernel); seen: {parts}",
            hint="a kernel without modules has no KVM that can be loaded; if they are in another package,"
            " name both: A.deb+B.deb",
        )
    if len(found) > 1:
        raise ConfigError(
            f"--kernels {argument}: one kernel was wanted, seen: {', '.join(sorted(found))}",
            hint="name the packages of one kernel only",
        )
    ((release, modules),) = found.items()
    return complete(release, modules, root, argument)


def complete(release: str, modules: Path, root: Path, argument: str) -> Layout:
    """The layout of a release. Raises ConfigError naming what is missing of it."""
    boot = root / "boot"
    images = [boot / f"vmlinuz-{release}", modules / "vmlinuz", boot / f"vmlinux-{release}"]
    configs = [boot / f"config-{release}", modules / "config"]
    return Layout(
        release,
        _first("image", images, root, argument),
        modules,
        _first("configuration", configs, root, argument),
    )


def _first(what: str, paths: list[Path], root: Path, argument: str) -> Path:
    inside = (path for path in paths if path.is_file() and path.resolve().is_relative_to(root.resolve()))
    if found := next(inside, None):
        return found
    wanted = " or ".join(_name(path, root) for path in paths)
    raise ConfigError(
        f"--kernels {argument}: no {what} in it; wanted: {wanted}",
        hint="if it is in another package, name both: A.deb+B.deb",
    )


def _module_directories(root: Path) -> Iterator[Path]:
    """Each ``lib/modules/V/kernel``, once where lib is a link to usr/lib."""
    for directory in MODULES:
        yield from sorted(path for path in (root / directory).glob("*/kernel") if path.is_dir())


def _images(root: Path) -> Iterable[Path]:
    return sorted([*root.glob("boot/vmlinu*"), *root.glob("**/lib/modules/*/vmlinuz")])


def _name(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if root != Path("/") else str(path)
