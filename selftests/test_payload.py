# SPDX-License-Identifier: GPL-2.0-or-later
"""The payload disk: what L1 finds in it, and that equal content makes an equal disk."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from guestloop.cache import Cache
from guestloop.ground import proc
from guestloop.vm import payload
from guestloop.vm.argv import AGENT_PORT, L1_PAYLOAD


class Parts:
    """Stand-ins for what is built, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.modules = {name: directory / f"{name}.ko" for name in ("kvm", "kvm-amd")}
        self.l2_kernel, self.l2_initramfs = directory / "vmlinux", directory / "initramfs"
        for path in (*self.modules.values(), self.l2_kernel, self.l2_initramfs):
            path.write_bytes(b"content of " + path.name.encode())

    def build(self, cache: Cache) -> Path:
        return payload.build_payload(cache, self.modules, self.l2_kernel, self.l2_initramfs)


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path / "parts")


def test_what_is_in_it(parts: Parts, tmp_path: Path) -> None:
    with tarfile.open(parts.build(Cache(tmp_path / "cache"))) as tar:
        files = {entry.name: tar.extractfile(entry) for entry in tar}
        content = {name: file.read() for name, file in files.items() if file}
        start = tar.getmember("start")
    assert content["modules/kvm-amd.ko"] == b"content of kvm-amd.ko"
    assert content["modules/order"] == b"kvm\nkvm-amd\n"
    assert content["l2/vmlinux"] == b"content of vmlinux"
    assert content["l2/initramfs.cpio"] == b"content of initramfs"
    assert content["lib/guestloop/ground/proc.py"] == Path(payload.PACKAGE / "ground/proc.py").read_bytes()
    assert {"lib/guestloop/agent/__main__.py", "lib/qemu/qmp/__init__.py"} <= content.keys()
    assert start.mode == 0o755 and content["start"].startswith(b"#!/bin/sh\n")
    assert f"guestloop.agent {AGENT_PORT} {L1_PAYLOAD}\n".encode() in content["start"]


def test_the_agent_in_it_can_be_imported_without_anything_else(parts: Parts, tmp_path: Path) -> None:
    """On L1 there is nothing but the standard library."""
    with tarfile.open(parts.build(Cache(tmp_path / "cache"))) as tar:
        tar.extractall(tmp_path / "l1")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'l1/lib')!r}); import guestloop.agent.__main__ as m"
    )
    done = proc.run(["/usr/bin/python3", "-I", "-S", "-c", f"{program}; print(m.__file__)"])
    assert done.output == str(tmp_path / "l1/lib/guestloop/agent/__main__.py")


def test_equal_content_is_an_equal_disk(parts: Parts, tmp_path: Path) -> None:
    other = Parts(tmp_path / "elsewhere" / "parts")
    for path in other.modules.values():
        os.utime(path, (1, 1))
        path.chmod(0o600)
    first, second = parts.build(Cache(tmp_path / "a")), other.build(Cache(tmp_path / "b"))
    assert first.parent.name == second.parent.name
    assert first.read_bytes() == second.read_bytes()


def test_the_digest_of_the_agent_is_of_nothing_else(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = payload.agent_digest()
    assert len(before) == 64 and payload.agent_digest() == before
    package = tmp_path / "guestloop"
    for name in ("__init__.py", "agent/__main__.py", "lab/client.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(f"# {name}\n")
    monkeypatch.setattr(payload, "PACKAGE", package)
    seen = [before, payload.agent_digest()]
    (package / "lab/client.py").write_text("# changed\n")
    assert payload.agent_digest() == seen[-1], "it is not carried"
    (package / "agent/__main__.py").write_text("# changed\n")
    seen.append(payload.agent_digest())
    assert len(set(seen)) == 3


def test_any_change_is_another_disk(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path / "cache")
    seen = [parts.build(cache)]
    parts.modules["kvm"].write_bytes(b"another kvm")
    seen.append(parts.build(cache))
    monkeypatch.setattr(payload, "START", "#!/bin/sh\n")
    seen.append(parts.build(cache))
    assert len(set(seen)) == 3
