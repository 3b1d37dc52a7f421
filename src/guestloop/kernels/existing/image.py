# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot image: the vmlinux inside a bzImage.

QEMU starts a vmlinux that has a PVH note at once, without the decompression that a bzImage does itself,
which is slow under emulation. One without the note is started as bzImage.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from guestloop.ground import proc
from guestloop.ground.errors import ConfigError
from guestloop.kernels import elf
from guestloop.kernels.decompress import Undecodable, decompress

# Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header". Offsets are from the start of the file.
SETUP_SECTS, HEADER, VERSION = 0x1F1, 0x202, 0x206
PAYLOAD_OFFSET, PAYLOAD_LENGTH = 0x248, 0x24C
HEADER_MAGIC = b"HdrS"
HEADER_END = 0x250
SECTOR = 512
PAYLOAD_SINCE = 0x0208  # the protocol that introduced payload_offset

_GZIP = b"\x1f\x8b"
_SIZE = struct.Struct("<I")


@dataclass(frozen=True)
class BootImage:
    """What QEMU starts, and the build-id of the kernel in it."""

    path: Path
    build_id: str


def make_boot_image(image: Path, into: Path, what: str) -> BootImage:
    """Put the boot image for a bzImage or an ELF vmlinux into a directory.

    ``what`` names the kernel in messages. Raises ConfigError if the file is neither, is for another
    architecture, is cut short, or cannot be identified or started.
    """
    content = image.read_bytes()
    output = into / "vmlinux"
    if content.startswith(elf.MAGIC):
        kernel = _parse_kernel(content, what)
        if not kernel.has_pvh_entry:
            raise ConfigError(
                f"{what}: {image.name} has no PVH note, so QEMU cannot start it",
                hint="set CONFIG_PVH=y, or give the bzImage of this kernel (arch/x86/boot/bzImage)",
            )
        proc.run(["strip", "--strip-all", "-o", output, image])
    else:
        vmlinux = extract_vmlinux(content, into, f"{what}: {image.name}")
        kernel = _parse_kernel(vmlinux, what)
        if not kernel.has_pvh_entry:
            output, vmlinux = into / "bzImage", content
        output.write_bytes(vmlinux)
    if not kernel.build_id:
        raise ConfigError(f"{what}: {image.name} has no GNU build-id, so what has booted cannot be checked")
    return BootImage(output, kernel.build_id)


def extract_vmlinux(content: bytes, scratch: Path, where: str) -> bytes:
    """Return the vmlinux in the content of a bzImage. Raises ConfigError if there is none."""
    payload = find_payload(content, where)
    try:
        # Behind the payload kbuild writes the size of its content. That of gzip has it in its own format.
        vmlinux = decompress(payload if payload.startswith(_GZIP) else payload[: -_SIZE.size], scratch)
    except Undecodable as error:
        raise ConfigError(f"{where}: the kernel in it cannot be decompressed: {error}") from error
    (wanted,) = _SIZE.unpack(payload[-_SIZE.size :])
    if len(vmlinux) != wanted:
        raise ConfigError(f"{where}: the kernel in it has {len(vmlinux)} bytes, its header says {wanted}")
    return vmlinux


def find_payload(content: bytes, where: str) -> bytes:
    """Return the compressed kernel in the content of a bzImage, with the size behind it (pure).

    Raises ConfigError if it is no bzImage of boot protocol 2.08 or later, or is cut short.
    """
    if len(content) < HEADER_END or content[HEADER : HEADER + 4] != HEADER_MAGIC:
        raise ConfigError(
            f"{where}: neither a bzImage (no {HEADER_MAGIC.decode()} at {HEADER:#x}) nor an ELF file",
            hint="a kernel for x86-64 is wanted; was the file downloaded completely?",
        )
    (version,) = struct.unpack_from("<H", content, VERSION)
    if version < PAYLOAD_SINCE:
        raise ConfigError(
            f"{where}: boot protocol {version >> 8}.{version & 0xFF:02} is too old, wanted 2.08 or later"
        )
    offset, length = struct.unpack_from("<II", content, PAYLOAD_OFFSET)
    start = ((content[SETUP_SECTS] or 4) + 1) * SECTOR + offset
    if length < _SIZE.size or start + length > len(content):
        raise ConfigError(
            f"{where}: the file is cut short: the kernel in it ends at byte {start + length},"
            f" the file at {len(content)}"
        )
    return content[start : start + length]


def _parse_kernel(vmlinux: bytes, what: str) -> elf.Elf:
    try:
        kernel = elf.parse(vmlinux)
    except elf.NotElf as error:
        raise ConfigError(f"{what}: its vmlinux {error}") from error
    if kernel.kind not in {elf.EXECUTABLE, elf.SHARED}:
        raise ConfigError(f"{what}: its vmlinux is an object file, not a linked kernel")
    return kernel
