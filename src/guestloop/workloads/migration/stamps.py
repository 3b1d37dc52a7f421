# SPDX-License-Identifier: GPL-2.0-or-later
"""What a page of the payload's region says about itself, read from outside the guest (pure).

The inverse of ``stamp()`` in guest-images/l2/region.c: word 0 of a page is its own address, cache line
1 + v belongs to vCPU v and begins with a hash of seed, page, word and generation, and the generation. What
would be line 64 is behind the address.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from guestloop.ground.units import PAGE

LINE_WORDS, LINES = 8, 64
MASK = (1 << 64) - 1
SEED_FACTOR = 0x9E3779B97F4A7C15
FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


@dataclass(frozen=True)
class Layout:
    """The region, as the payload's ``ready`` tells it: guest virtual address, pages, vCPUs, seed."""

    gva: int
    pages: int
    vcpus: int
    seed: int


@dataclass(frozen=True)
class Own:
    """A vCPU's words in a page: the generation that the stamp tells (None: it is no stamp of this place),
    and the one beside it."""

    stamped: int | None
    told: int

    def __str__(self) -> str:
        if self.stamped == self.told:
            return f"generation {self.told}"
        stamped = "no stamp of this place" if self.stamped is None else f"stamp of generation {self.stamped}"
        return f"{stamped} beside generation {self.told}"


def mix(value: int) -> int:
    """splitmix64's finaliser, as in region.c."""
    value = (value ^ value >> 30) * FACTORS[0] & MASK
    value = (value ^ value >> 27) * FACTORS[1] & MASK
    return value ^ value >> 31


def unmix(value: int) -> int:
    """The inverse of ``mix``."""
    value ^= value >> 31 ^ value >> 62
    value = value * pow(FACTORS[1], -1, 1 << 64) & MASK
    value ^= value >> 27 ^ value >> 54
    value = value * pow(FACTORS[0], -1, 1 << 64) & MASK
    return value ^ value >> 30 ^ value >> 60


def generation_of(layout: Layout, page: int, word: int, value: int) -> int | None:
    """The generation of a stamp; None when it is not one of this page and word."""
    rest = unmix(value) - layout.seed * SEED_FACTOR - (page << 9 | word) & MASK
    return rest >> 32 if rest & 0xFFFFFFFF == 0 else None


def page_of(layout: Layout, content: bytes) -> int | None:
    """Which page of the region this says it is; None when it is none of them."""
    (address,) = struct.unpack_from("<Q", content)
    page, rest = divmod(address - layout.gva, PAGE)
    return page if rest == 0 and 0 <= page < layout.pages else None


def own_words(layout: Layout, page: int, content: bytes) -> Iterator[Own]:
    """Each vCPU's words in a page."""
    for vcpu in range(layout.vcpus):
        word = (1 + vcpu) * LINE_WORDS if 1 + vcpu < LINES else 1
        value, told = struct.unpack_from("<2Q", content, word * 8)
        yield Own(generation_of(layout, page, word, value), told)


def describe(layout: Layout, content: bytes) -> str:
    """A page's content in words."""
    page = page_of(layout, content)
    if page is None:
        return "no page of the load"
    told = (f"v{vcpu} {own}" for vcpu, own in enumerate(own_words(layout, page, content)))
    return f"page {page} of the load ({layout.gva + page * PAGE:#x}): {', '.join(told)}"


def visit_order(layout: Layout) -> list[int]:
    """The order in which a load visits the pages, as ``shuffle()`` in region.c makes it."""
    order = list(range(layout.pages))
    for index in range(layout.pages - 1, 0, -1):
        other = mix(layout.seed + index & MASK) % (index + 1)
        order[index], order[other] = order[other], order[index]
    return order
