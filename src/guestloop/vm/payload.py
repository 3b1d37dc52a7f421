# SPDX-License-Identifier: GPL-2.0-or-later
"""The payload disk of an L1: a plain tar of what L1 runs, unpacked by its init into tmpfs.

It holds the KVM modules under test, the agent with what it imports, and L2's kernel and
initramfs. The root disk stays the same for all kernels and can be shared.
"""

from __future__ import annotations

import importlib.util
import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from guestloop.agent.kvm import ORDER
from guestloop.cache import Cache, content_key, file_digest
from guestloop.ground.errors import LabError
from guestloop.vm.argv import AGENT_PORT, L1_PAYLOAD

PACKAGE = Path(__file__).resolve().parents[1]
# The agent and what it stands on; a selftest checks that it imports nothing else.
CARRIED = ("ground", "agent")

START = f"""#!/bin/sh
cd {L1_PAYLOAD}
exec env PYTHONPATH={L1_PAYLOAD}/lib python3 -m guestloop.agent {AGENT_PORT} {L1_PAYLOAD}
"""


def build_payload(cache: Cache, modules: Mapping[str, Path], l2_kernel: Path, l2_initramfs: Path) -> Path:
    """The tar for these modules, in load order, and this L2, from the cache when it is there."""
    files = dict(_files(modules, l2_kernel, l2_initramfs))
    digests = {name: file_digest(path) for name, path in files.items()}
    texts = {"start": START, f"modules/{ORDER}": "".join(f"{name}\n" for name in modules)}

    def make(directory: Path) -> None:
        with (directory / "payload.tar").open("wb") as sink:
            _write_tar(sink, files, texts)

    inputs = {"texts": texts, "files": digests}
    return cache.obtain("payload", inputs, make) / "payload.tar"


def agent_digest() -> str:
    """The SHA-256 of the agent and of what it imports, as every payload carries them."""
    return content_key({"start": START} | {name: file_digest(path) for name, path in _agent_files()})


def _files(modules: Mapping[str, Path], l2_kernel: Path, l2_initramfs: Path) -> Iterator[tuple[str, Path]]:
    for module in modules.values():
        yield f"modules/{module.name}", module
    yield from _agent_files()
    yield "l2/vmlinux", l2_kernel
    yield "l2/initramfs.cpio", l2_initramfs


def _agent_files() -> Iterator[tuple[str, Path]]:
    yield "lib/guestloop/__init__.py", PACKAGE / "__init__.py"
    for package in CARRIED:
        for path in sorted((PACKAGE / package).rglob("*.py")):
            yield f"lib/guestloop/{path.relative_to(PACKAGE)}", path
    for path in sorted(_find_qmp().glob("*.py")):
        yield f"lib/qemu/qmp/{path.name}", path


def _find_qmp() -> Path:
    spec = importlib.util.find_spec("qemu.qmp")
    if spec is None or spec.origin is None:
        raise LabError("the Python package qemu.qmp is not installed", hint="scripts/run installs it")
    return Path(spec.origin).parent


def _write_tar(sink: io.BufferedWriter, files: Mapping[str, Path], texts: Mapping[str, str]) -> None:
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, path in files.items():
            with path.open("rb") as file:
                tar.addfile(_entry(name, path.stat().st_size), file)
        for name, text in texts.items():
            entry = _entry(name, len(text))
            entry.mode = 0o755 if text.startswith("#!") else entry.mode
            tar.addfile(entry, io.BytesIO(text.encode()))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    """Nothing of this machine (owner, time) goes in: equal content gives an equal tar."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry
