# SPDX-License-Identifier: GPL-2.0-or-later
"""The RAM of two L2 guests, byte by byte, when it lies in files."""

from __future__ import annotations

import mmap
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from guestloop.ground.errors import GuestError
from guestloop.ground.units import MIB, PAGE

PIECE = MIB
# Of so many pages at most both contents are reported; all are counted.
REPORTED_PAGES = 64


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    """A file as memory, read-only (a file of hugetlbfs cannot be read any other way)."""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory,
        memoryview(memory) as view,
    ):
        yield view


def differing_pages(first: memoryview, second: memoryview) -> Iterator[int]:
    """Numbers of the pages whose contents differ. Raises GuestError when the sizes do."""
    if len(first) != len(second):
        raise GuestError(f"RAM files of {len(first)} and {len(second)} bytes cannot be compared")
    for at in range(0, len(first), PIECE):
        ours, theirs = bytes(first[at : at + PIECE]), bytes(second[at : at + PIECE])
        if ours != theirs:
            for start in range(0, len(ours), PAGE):
                if ours[start : start + PAGE] != theirs[start : start + PAGE]:
                    yield (at + start) // PAGE


@dataclass(frozen=True)
class Compared:
    """How many pages were compared, which differ, and both contents (base64) of the first of these."""

    compared: int
    differing: list[int]
    contents: list[tuple[str, str]]


def compare(first: Path, second: Path) -> Compared:
    """Compare two RAM files page by page."""
    with mapped(first) as ours, mapped(second) as theirs:
        pages = list(differing_pages(ours, theirs))
        contents = [(_encoded(ours, page), _encoded(theirs, page)) for page in pages[:REPORTED_PAGES]]
        return Compared(len(ours) // PAGE, pages, contents)


def _encoded(ram: memoryview, page: int) -> str:
    return b64encode(ram[page * PAGE : (page + 1) * PAGE]).decode()
