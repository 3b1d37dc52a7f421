# SPDX-License-Identifier: GPL-2.0-or-later
"""What a finished build leaves in the cache: the boot image, the modules, and their build ids."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guestloop.config import KernelSpec
from guestloop.ground import proc
from guestloop.ground.errors import LabError

DESCRIPTION = "kernel.json"

_BUILD_ID = re.compile(r"Build ID: ([0-9a-f]+)")


@dataclass(frozen=True)
class Kernel:
    """A kernel that was built.

    ``sha256`` is the key of all its inputs. ``vmlinux`` is an uncompressed ELF file without symbols, which
    QEMU starts with ``-kernel`` at its PVH entry point. System.map has the symbols. ``modules`` maps
    names (``kvm-amd``) to files without debug information. Each module comes after those that it needs, so
    they can be loaded in this order. ``build_ids`` maps ``vmlinux`` and the names of modules to the GNU
    build-id in hex, which the running kernel shows in ``/sys/kernel/notes`` and
    ``/sys/module/<name>/notes/.note.gnu.build-id``. ``tlb_flush_request`` is the number of
    KVM_REQ_TLB_FLUSH in its source. Call-path counting filters by it. ``compiler`` is the compiler's own
    line about its version. ``config`` is the whole configuration that it was built with.
    """

    name: str
    release: str
    base: str
    series: tuple[str, ...]
    sha256: str
    directory: Path
    modules: Mapping[str, Path]
    build_ids: Mapping[str, str]
    tlb_flush_request: int
    compiler: str

    @property
    def vmlinux(self) -> Path:
        return self.directory / "vmlinux"

    @property
    def config(self) -> Path:
        return self.directory / "config"


def read_kernel(spec: KernelSpec, sha256: str, directory: Path) -> Kernel:
    """Read the kernel in a finished cache entry. ``spec`` gives it its name."""
    data = json.loads((directory / DESCRIPTION).read_text())
    return Kernel(
        name=spec.name,
        release=data["release"],
        base=data["base"],
        series=tuple(data["series"]),
        sha256=sha256,
        directory=directory,
        modules={name: directory / "modules" / f"{name}.ko" for name in data["modules"]},
        build_ids=data["build_ids"],
        tlb_flush_request=data["tlb_flush_request"],
        compiler=data["provenance"]["toolchain"]["compiler"],
    )


def collect(objects: Path, into: Path, description: Mapping[str, Any]) -> None:
    """Copy the needed files of an object tree to ``into``, and describe them there."""
    (into / "modules").mkdir()
    built = {path.stem: path for path in module_files(objects)}
    order = load_order({name: needed_by(path) for name, path in built.items()})
    for name in order:
        proc.run(["strip", "--strip-debug", "-o", into / "modules" / f"{name}.ko", built[name]])
    proc.run(["strip", "--strip-all", "-o", into / "vmlinux", objects / "vmlinux"])
    shutil.copyfile(objects / ".config", into / "config")
    shutil.copyfile(objects / "System.map", into / "System.map")
    ids = {"vmlinux": build_id(objects / "vmlinux")} | {name: build_id(built[name]) for name in order}
    release = (objects / "include/config/kernel.release").read_text().strip()
    facts = {**description, "release": release, "modules": order, "build_ids": ids}
    (into / DESCRIPTION).write_text(json.dumps(facts, indent=2) + "\n")


def module_files(objects: Path) -> tuple[Path, ...]:
    """Return the files of all modules of a build, from the list that kbuild writes if it makes any."""
    listed = objects / "modules.order"
    names = listed.read_text().split() if listed.is_file() else []
    return tuple((objects / name).with_suffix(".ko") for name in names)


def needed_by(module: Path) -> tuple[str, ...]:
    """Return the names of the modules that a module needs, from its ``depends=`` record (``-`` for ``_``)."""
    for record in module.read_bytes().split(b"\0"):
        if record.startswith(b"depends="):
            names = record.decode().removeprefix("depends=").split(",")
            return tuple(name.replace("_", "-") for name in names if name)
    return ()


def load_order(needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Sort names so that each comes after those that it needs, and otherwise alphabetically (pure)."""
    order: list[str] = []

    def add(name: str) -> None:
        for needed in sorted(needs.get(name, ())):
            if needed in needs:
                add(needed)
        if name not in order:
            order.append(name)

    for name in sorted(needs):
        add(name)
    return order


def build_id(file: Path) -> str:
    """Return the GNU build-id of an ELF file, in hex. Raises LabError if it has none."""
    match = _BUILD_ID.search(proc.run(["readelf", "-n", file], env={"LC_ALL": "C"}).output)
    if not match:
        raise LabError(f"{file}: no GNU build-id", hint="was the kernel linked without --build-id?")
    return match[1]
