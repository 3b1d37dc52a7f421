# SPDX-License-Identifier: GPL-2.0-or-later
"""The cpio writer, against the cpio program where there is one and against the format in any case."""

import shutil
import stat
import subprocess

import pytest

from guestloop.images import cpio

CONSOLE = cpio.character_device("dev/console", 5, 1)
MEMBERS = [cpio.directory("dev"), CONSOLE, cpio.program("init", b"\x7fELF!")]


def test_header_has_the_fields_of_newc() -> None:
    data = cpio.archive([cpio.program("init", b"12345")])
    assert data[:6] == b"070701"
    fields = [int(data[6 + 8 * i : 14 + 8 * i], 16) for i in range(13)]
    assert fields[1] == stat.S_IFREG | 0o755
    assert fields[6] == 5
    assert fields[11] == len("init") + 1
    assert data[110:115] == b"init\0"
    assert data[116:121] == b"12345"


def test_everything_is_aligned_and_ends_with_the_trailer() -> None:
    data = cpio.archive(MEMBERS)
    assert len(data) % 4 == 0
    assert data.rstrip(b"\0").endswith(b"TRAILER!!!")


def test_same_members_same_bytes() -> None:
    assert cpio.archive(MEMBERS) == cpio.archive(MEMBERS)


@pytest.mark.skipif(not shutil.which("cpio"), reason="cpio is not installed")
def test_cpio_lists_what_was_written() -> None:
    listing = subprocess.run(
        ["cpio", "--list", "--verbose", "--quiet"],
        input=cpio.archive(MEMBERS),
        capture_output=True,
        check=True,
    )
    lines = listing.stdout.decode().splitlines()
    assert [line.split()[-1] for line in lines] == ["dev", "dev/console", "init"]
    assert lines[1].startswith("crw-------") and "5,   1" in lines[1]
