# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot image of an existing kernel: vmlinux out of a bzImage, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from elves import BUILD_ID, GNU_NOTE, bzimage, elf_file, module, sized, vmlinux

from guestloop.ground import surroundings
from guestloop.ground.errors import ConfigError, LabError
from guestloop.kernels.decompress import Undecodable, decompress
from guestloop.kernels.existing.image import extract_vmlinux, make_boot_image

KERNEL = vmlinux()


def tool(*argv: str) -> Callable[[bytes], bytes]:
    return lambda data: subprocess.run(argv, input=data, capture_output=True, check=True).stdout


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "xz-as-kbuild": lambda data: lzma.compress(
        data,
        check=lzma.CHECK_CRC32,
        filters=[{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 25}],
    ),
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "zstd": tool("zstd", "-q", "-c"),
    "lz4": tool("lz4", "-q", "-l", "-c"),
}


@pytest.mark.parametrize("name", PACKERS)
def test_each_compression_of_kbuild(name: str, tmp_path: Path) -> None:
    packed = PACKERS[name](KERNEL)
    image = bzimage(packed if name == "gzip" else sized(packed, KERNEL))
    assert extract_vmlinux(image, tmp_path, "x") == KERNEL
    assert list(tmp_path.iterdir()) == [], "no files of a tool are left"


def test_a_kernel_with_the_pvh_note_is_started_as_elf(tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz-6.12"
    image.write_bytes(bzimage(sized(lzma.compress(KERNEL), KERNEL)))
    boot = make_boot_image(image, tmp_path, "deb:x")
    assert (boot.path, boot.build_id) == (tmp_path / "vmlinux", BUILD_ID.hex())
    assert boot.path.read_bytes() == KERNEL


def test_a_kernel_without_it_is_started_as_bzimage(tmp_path: Path) -> None:
    kernel = vmlinux(GNU_NOTE)
    image = tmp_path / "vmlinuz"
    image.write_bytes(bzimage(gzip.compress(kernel)))
    boot = make_boot_image(image, tmp_path, "deb:x")
    assert (boot.path, boot.build_id) == (tmp_path / "bzImage", BUILD_ID.hex())
    assert boot.path.read_bytes() == image.read_bytes()


SOURCE = """
asm(".pushsection .note.Xen,\\"a\\",@note; .long 4, 8, 18; .asciz \\"Xen\\"; .quad 0; .popsection");
void start(void) {}
"""


def test_a_vmlinux_is_taken_without_its_symbols(tmp_path: Path) -> None:
    image = tmp_path / "built-vmlinux"
    flags = ["-nostdlib", "-static", "-g", "-Wl,--build-id=sha1,-e,start"]
    subprocess.run(["gcc", *flags, "-x", "c", "-o", image, "-"], input=SOURCE.encode(), check=True)
    boot = make_boot_image(image, tmp_path, "x")
    assert boot.path == tmp_path / "vmlinux" and len(boot.build_id) == 40
    assert boot.path.stat().st_size < image.stat().st_size


XZ = sized(lzma.compress(KERNEL), KERNEL)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "vmlinuz: neither a bzImage"),
        (b"MZ" + bytes(4000), r"vmlinuz: neither a bzImage \(no HdrS at 0x202\) nor an ELF file"),
        (bzimage(XZ, version=0x0207), r"boot protocol 2\.07 is too old, wanted 2\.08 or later"),
        (bzimage(XZ)[:2300], "the file is cut short: the kernel in it ends at byte .*, the file at 2300"),
        (
            bzimage(b"odd" * 9),
            "the kernel in it cannot be decompressed: no known compression begins with 6f 64",
        ),
        (bzimage(sized(lzma.compress(KERNEL)[:-30], KERNEL)), "cannot be decompressed: damaged xz data"),
        (bzimage(sized(lzma.compress(KERNEL), b"")), "the kernel in it has .* bytes, its header says 0"),
        (bzimage(sized(lzma.compress(b"text"), b"text")), "its vmlinux begins with 74 65 78 74"),
        (bzimage(gzip.compress(vmlinux(b""), mtime=0)), "has no GNU build-id"),
        (vmlinux(GNU_NOTE), "vmlinuz has no PVH note, so QEMU cannot start it"),
        (elf_file(2, GNU_NOTE, {}, machine=183), r"for another architecture \(e_machine 183\)"),
        (module(), "its vmlinux is an object file"),
    ],
)
def test_what_cannot_be_booted_is_refused_with_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^deb:x: .*{why}"):
        make_boot_image(image, tmp_path, "deb:x")


@pytest.mark.parametrize("name", ["zstd", "lz4"])
def test_damaged_data_of_a_tool(tmp_path: Path, name: str) -> None:
    with pytest.raises(Undecodable, match=f"damaged {name} data: "):
        decompress(PACKERS[name](KERNEL)[:40], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_tool_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = PACKERS["zstd"](KERNEL)
    monkeypatch.setattr(surroundings, "search_path", lambda: "/nonexistent")
    with pytest.raises(LabError, match="program not found: zstd"):
        decompress(packed, tmp_path)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_half_a_stream_is_damaged(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Undecodable, match="damaged"):
        decompress(pack(KERNEL)[:-9], tmp_path)
