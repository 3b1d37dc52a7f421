# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel is in the cache: the boot image, the modules, what was read from both."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guestloop.ground import proc
from guestloop.ground.errors import ConfigError, NotBuilt
from guestloop.kernels import elf
from guestloop.kernels.flushes import NO_FLUSHES, CallGraph, read_flushes
from guestloop.kernels.modules import Module, ModuleTree, canonical, module_name

KIND = "kernel"  # of cache entries
DESCRIPTION = "kernel.json"
KVM = "kvm"
INITRAMFS = "initramfs.cpio"
SYSTEM_MAP = "System.map"  # of a kernel that was built here
MODULES_ORDER, RELEASE = "modules.order", "include/config/kernel.release"


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted, built by guestloop or taken as it exists.

    ``sha256`` is the key of all its inputs, ``tree`` the id of the tree that was built, empty for a kernel
    that was not built here. ``image`` is what QEMU starts with ``-kernel``: an uncompressed
    ELF file without symbols, started at its PVH entry point, or a bzImage. ``initramfs`` is what it needs to
    find its root, None if all that is built in. ``modules`` maps names (``kvm-amd``) to files without debug
    information. Each module comes after those that it needs, so they can be loaded in this order.
    ``build_ids`` maps ``vmlinux`` and the names of modules to the GNU build-id in hex, which the running
    kernel shows in ``/sys/kernel/notes`` and ``/sys/module/<name>/notes/.note.gnu.build-id``.
    ``tlb_flush_request`` is the number of KVM_REQ_TLB_FLUSH in its KVM, by which call-path counting filters.
    ``flush_callers`` is the call graph above those who request it. They are 0 and empty without a KVM.
    ``compiler`` is the compiler's own line about its version, for an existing kernel as its configuration
    names it. ``config`` is the whole configuration that it was built with.
    """

    name: str
    release: str
    base: str
    series: tuple[str, ...]
    sha256: str
    directory: Path
    image: Path
    initramfs: Path | None
    modules: Mapping[str, Path]
    build_ids: Mapping[str, str]
    tlb_flush_request: int
    flush_callers: CallGraph
    compiler: str
    tree: str = ""

    def require_module(self, module: str) -> None:
        """Raise ConfigError if the kernel has no KVM for this machine's CPU, which ``module`` is for."""
        if canonical(module) not in map(canonical, self.modules):
            raise ConfigError(
                f"{self.name}: {self.release} has no module {module}, which this machine's CPU needs; it has:"
                f" {', '.join(self.modules)}",
                hint=f"CONFIG_{module.upper()}=m is wanted in its configuration",
            )

    @property
    def config(self) -> Path:
        return self.directory / "config"


def read_kernel(name: str, sha256: str, directory: Path) -> Kernel:
    """Read the kernel in a finished cache entry."""
    data = json.loads((directory / DESCRIPTION).read_text())
    return Kernel(
        name=name,
        release=data["release"],
        base=data["base"],
        series=tuple(data["series"]),
        sha256=sha256,
        directory=directory,
        image=directory / data["image"],
        initramfs=directory / INITRAMFS if data["initramfs"] else None,
        modules={module: directory / "modules" / f"{module}.ko" for module in data["modules"]},
        build_ids=data["build_ids"],
        tlb_flush_request=data["tlb_flush_request"],
        flush_callers={function: tuple(above) for function, above in data["flush_callers"].items()},
        compiler=data["provenance"]["toolchain"]["compiler"],
        tree=data.get("tree", ""),
    )


def describe(
    into: Path, image: Path, image_id: str, facts: Mapping[str, Any], modules: Sequence[Module]
) -> None:
    """Describe the kernel whose files are in ``into``, with what these files say themselves.

    ``facts`` has its release, base and series, and what else is worth recording. ``modules`` are in load
    order. Raises ConfigError if a module cannot be identified, or flushes cannot be counted in its KVM.
    """
    files = {module.name: into / "modules" / module.file for module in modules}
    flushes = read_flushes(files[KVM]) if KVM in files else NO_FLUSHES
    described = {
        **facts,
        "image": image.name,
        "initramfs": (into / INITRAMFS).is_file(),
        "modules": list(files),
        "build_ids": {"vmlinux": image_id} | {name: elf.build_id(file) for name, file in files.items()},
        "tlb_flush_request": flushes.request,
        "flush_callers": flushes.callers,
    }
    (into / DESCRIPTION).write_text(json.dumps(described, indent=2) + "\n")


def collect(objects: Path, into: Path, description: Mapping[str, Any]) -> None:
    """Copy the needed files of an object tree to ``into``, and describe them there.

    Raises NotBuilt if one of them is a link out of the tree: a Makefile cannot have files read for it.
    """
    (into / "modules").mkdir()
    named = (objects / name for name in ("vmlinux", ".config", SYSTEM_MAP, MODULES_ORDER, RELEASE))
    _require_own(objects, named)
    _require_own(objects, module_files(objects))
    built = {canonical(module_name(path)): path for path in module_files(objects)}
    modules = ModuleTree(built, "the build", into).closure(sorted(built))
    for module in modules:
        copy_module(module, into)
    proc.run(["strip", "--strip-all", "-o", into / "vmlinux", objects / "vmlinux"])
    shutil.copyfile(objects / ".config", into / "config")
    shutil.copyfile(objects / SYSTEM_MAP, into / SYSTEM_MAP)
    facts = {**description, "release": (objects / RELEASE).read_text().strip()}
    describe(into, into / "vmlinux", elf.build_id(objects / "vmlinux"), facts, modules)


def _require_own(objects: Path, files: Iterable[Path]) -> None:
    for file in files:
        if not file.resolve().is_relative_to(objects.resolve()):
            raise NotBuilt(f"the build left {file.name} as a link out of its object tree: {file.resolve()}")


def copy_module(module: Module, into: Path) -> None:
    """Put a module into ``into``, without debug information. A signature stays if there is none."""
    file = into / "modules" / module.file
    file.write_bytes(module.content)
    if module.has_debug_info:
        proc.run(["strip", "--strip-debug", file])


def module_files(objects: Path) -> tuple[Path, ...]:
    """Return the files of all modules of a build, from the list that kbuild writes if it makes any."""
    listed = objects / MODULES_ORDER
    names = listed.read_text().split() if listed.is_file() else []
    return tuple((objects / name).with_suffix(".ko") for name in names)
