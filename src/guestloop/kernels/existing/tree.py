# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels in a build tree, in place or by ``O=``: copied at the start, since its owner goes on building."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import Cache, file_digest
from guestloop.config.existing import TreeSpec
from guestloop.ground import proc
from guestloop.ground.errors import ConfigError
from guestloop.ground.log import step
from guestloop.kernels.artifacts import module_files
from guestloop.kernels.existing import entry
from guestloop.kernels.origin import Origin, OriginKind, Unpacked

CONFIG = Path(".config")
RELEASE = Path("include/config/kernel.release")
ORDER = Path("modules.order")
BZIMAGE, VMLINUX = Path("arch/x86/boot/bzImage"), Path("vmlinux")
SYMBOLS = Path("System.map")
BUILTIN = (Path("modules.builtin"), Path("modules.builtin.modinfo"))
STRIPPED_AT_ONCE = 200
MODULE = ".ko"
HINT = "build it (make, or make bzImage modules), or wait until the build is over"

Stamps = Mapping[Path, tuple[int, int]]
"""Size and time of change of files, by which a build that goes on is noticed."""


@dataclass(frozen=True)
class Tree:
    """The files of a build tree that are taken, and where they go below a root directory."""

    directory: Path
    release: str
    files: Mapping[Path, Path]

    def stamps(self) -> Stamps:
        """The state of all files. Raises OSError if one is gone."""
        found = {name: (self.directory / name).stat() for name in self.files}
        return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


def copy_tree(spec: TreeSpec, cache: Cache) -> Unpacked:
    """Copy the kernel that was built in a directory, as it is now.

    Raises ConfigError for a directory in which no kernel was built, and if it changes meanwhile.
    """
    tree = find_tree(spec)
    with step(f"reading the build tree {spec.directory}"):
        digests = _digest(tree, spec)

    def unpack(_scratch: Path, root: Path) -> None:
        with step(f"copying {len(tree.files)} files of {spec.directory}"):
            _copy(tree, digests, root, spec)

    names = [f"{digest} {tree.files[name]}" for name, digest in digests.items()]
    layout = entry.obtain(cache, names, spec.argument, unpack)
    taken = {str(name): digest for name, digest in digests.items() if name.suffix != MODULE}
    taken["modules"] = entry.combine({str(name): digests[name] for name in digests if name.suffix == MODULE})
    origin = Origin(OriginKind.TREE, spec.argument, str(spec.directory), layout.release, taken)
    return entry.unpacked(layout, origin)


def find_tree(spec: TreeSpec) -> Tree:
    """What a build has left in a directory. Raises ConfigError naming what is missing."""
    top = spec.directory
    if not top.is_dir():
        raise ConfigError(
            f"--kernels {spec.argument}: {'not a directory' if top.exists() else 'no such directory'}: {top}",
            hint="a kernel is a build tree, /boot/vmlinuz-V, or a package: an image alone has no modules",
        )
    missing = [str(name) for name in _wanted(top) if not (top / name).is_file()]
    if missing:
        raise ConfigError(
            f"--kernels {spec.argument}: {top} is no build tree of a kernel: no {', '.join(missing)}",
            hint=f"{HINT}; of a build with O= name the output directory",
        )
    release = (top / RELEASE).read_text(errors="replace").strip()
    return Tree(top, release, dict(_files(top, release, spec)))


def _wanted(top: Path) -> Iterator[Path]:
    """What every build leaves; the list of modules only if the kernel can load modules."""
    yield from (CONFIG, RELEASE)
    config = top / CONFIG
    if config.is_file() and "CONFIG_MODULES=y" in config.read_text(errors="replace").splitlines():
        yield ORDER


def _files(top: Path, release: str, spec: TreeSpec) -> Iterator[tuple[Path, Path]]:
    """The files to take, and where packages have them."""
    boot, modules = Path("boot"), Path("lib/modules") / release
    image = _image(top, spec)
    yield image, boot / (f"vmlinuz-{release}" if image == BZIMAGE else f"vmlinux-{release}")
    yield CONFIG, boot / f"config-{release}"
    for name in (ORDER, *BUILTIN):
        if (top / name).is_file():
            yield name, modules / name
    if (top / SYMBOLS).is_file():
        yield SYMBOLS, boot / f"System.map-{release}"
    for path in module_files(top) if (top / ORDER).is_file() else ():
        name = path.relative_to(top)
        yield name, modules / "kernel" / name


def _image(top: Path, spec: TreeSpec) -> Path:
    """The bzImage, unless vmlinux was linked after it. Raises ConfigError if there is neither."""
    there = [name for name in (BZIMAGE, VMLINUX) if (top / name).is_file()]
    if not there:
        raise ConfigError(f"--kernels {spec.argument}: {top} has neither {BZIMAGE} nor {VMLINUX}", hint=HINT)
    return max(there, key=lambda name: (top / name).stat().st_mtime_ns)


def _digest(tree: Tree, spec: TreeSpec) -> dict[Path, str]:
    try:
        before = tree.stamps()
        digests = {name: file_digest(tree.directory / name) for name in tree.files}
        changed = next((name for name, stamp in tree.stamps().items() if before[name] != stamp), None)
    except FileNotFoundError as error:
        raise ConfigError(
            f"--kernels {spec.argument}: {error.filename} is in {ORDER} and is not there", hint=HINT
        ) from error
    if changed:
        raise _changed(spec, changed)
    return digests


def _copy(tree: Tree, digests: Mapping[Path, str], root: Path, spec: TreeSpec) -> None:
    (root / "lib/modules" / tree.release / "kernel").mkdir(parents=True)
    for name, place in tree.files.items():
        copy = root / place
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(tree.directory / name, copy)
        except FileNotFoundError as error:
            raise _changed(spec, name) from error
        if file_digest(copy) != digests[name]:
            raise _changed(spec, name)
    _strip([root / place for place in tree.files.values() if place.suffix == MODULE])


def _strip(modules: Sequence[Path]) -> None:
    """Remove debug information: it is most of a module, and nobody here needs it."""
    for start in range(0, len(modules), STRIPPED_AT_ONCE):
        proc.run(["strip", "--strip-debug", *modules[start : start + STRIPPED_AT_ONCE]])


def _changed(spec: TreeSpec, name: Path) -> ConfigError:
    return ConfigError(
        f"--kernels {spec.argument}: {spec.directory} changes while it is copied: {name}",
        hint="wait until the build is over; once copied, it may go on",
    )
