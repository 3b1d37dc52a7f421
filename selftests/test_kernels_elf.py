# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read of ELF files: notes of kernels and modules, sections, and that half a file is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from elves import BUILD_ID, GNU_NOTE, PVH_NOTE, elf_file, module, note, vmlinux

from guestloop.ground.errors import ConfigError
from guestloop.kernels import elf


def test_a_kernel_has_its_notes_in_a_segment() -> None:
    kernel = elf.parse(vmlinux())
    assert (kernel.kind, kernel.build_id, kernel.has_pvh_entry) == (elf.EXECUTABLE, BUILD_ID.hex(), True)
    assert [(each.owner, each.kind) for each in kernel.notes()] == [("GNU", 3), ("Xen", 18)]


@pytest.mark.parametrize("notes", [b"", GNU_NOTE, note(b"Xen", 17, bytes(8)), note(b"GNU", 18, bytes(8))])
def test_a_kernel_without_the_pvh_note(notes: bytes) -> None:
    assert not elf.parse(vmlinux(notes)).has_pvh_entry


def test_notes_of_odd_lengths_are_padded() -> None:
    kernel = elf.parse(vmlinux(note(b"Linux", 1, b"odd") + note(b"A", 2, b"12345") + GNU_NOTE + PVH_NOTE))
    assert kernel.build_id == BUILD_ID.hex() and kernel.has_pvh_entry


def test_a_module_has_its_notes_in_a_section() -> None:
    found = elf.parse(module("depends=kvm"))
    assert (found.kind, found.build_id) == (elf.RELOCATABLE, BUILD_ID.hex())
    assert found.section(".modinfo") == b"depends=kvm\0"
    assert found.section(".debug_info") == b""


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "begins with nothing, not with the magic of ELF"),
        (b"!<arch>\n", "begins with 21 3c 61 72, not with the magic of ELF"),
        (elf_file(2, b"", {}, machine=183), r"for another architecture \(e_machine 183\), not for x86-64"),
        (vmlinux()[:40], "is cut short: it has only 40 bytes"),
        (vmlinux()[:200], "is cut short: it has only 200 bytes"),
        (vmlinux()[:130], "is cut short: it has only 130 bytes"),
        (vmlinux()[:-10], "is cut short"),
    ],
)
def test_what_is_no_whole_elf_file_for_this_architecture(content: bytes, why: str) -> None:
    with pytest.raises(elf.NotElf, match=why):
        elf.parse(content)


def test_a_build_id_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "kvm.ko"
    file.write_bytes(module())
    assert elf.build_id(file) == BUILD_ID.hex()
    file.write_bytes(module(notes=b""))
    with pytest.raises(ConfigError, match=r"kvm\.ko: no GNU build-id"):
        elf.build_id(file)
    file.write_text("nothing")
    with pytest.raises(ConfigError, match=r"kvm\.ko: begins with 6e 6f 74 68"):
        elf.build_id(file)
