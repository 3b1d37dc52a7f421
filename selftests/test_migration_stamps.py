# SPDX-License-Identifier: GPL-2.0-or-later
"""Stamps read from outside the guest, held against the memory of the real payload in C."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import test_images_payload
from test_images_payload import Payload, flip_byte, running, values

from guestloop.ground.units import PAGE
from guestloop.workloads.migration.ledger import Entry, parse_entry
from guestloop.workloads.migration.oracles import Difference, Known, rounds_of
from guestloop.workloads.migration.stamps import (
    MASK,
    SEED_FACTOR,
    Layout,
    Own,
    describe,
    generation_of,
    mix,
    own_words,
    page_of,
    unmix,
    visit_order,
)

payload = test_images_payload.payload

LAYOUT = Layout(gva=0x7F8000000000, pages=16, vcpus=2, seed=5)
WORDS = PAGE // 8
MOST_LINES = 16  # so many wrong words does the payload report


def stamp(layout: Layout, page: int, word: int, generation: int) -> int:
    """What a stamped word must hold, see ``stamp()`` in guest-images/l2/region.c."""
    return mix(layout.seed * SEED_FACTOR + (page << 9 | word) + (generation << 32) & MASK)


def content_of(layout: Layout, page: int, *generations: int) -> bytes:
    """A page whose vCPUs have written so many times; chains are left out, nobody outside reads them."""
    words = array("Q", (stamp(layout, page, word, 0) for word in range(WORDS)))
    words[0] = layout.gva + page * PAGE
    for vcpu, generation in enumerate(generations):
        first = 8 * (1 + vcpu)
        words[first : first + 2] = array("Q", [stamp(layout, page, first, generation), generation])
    return words.tobytes()


# --- arithmetic ------------------------------------------------------------------------------------


def test_mix_is_the_finaliser_of_splitmix64() -> None:
    """The generator's first two outputs from state 0, as its reference implementation gives them."""
    step = 0x9E3779B97F4A7C15
    assert [mix(step), mix(2 * step & MASK)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@pytest.mark.parametrize("value", [0, 1, 1 << 63, MASK, 0x0123456789ABCDEF, 1 << 31, 1 << 32])
def test_unmix_undoes_mix(value: int) -> None:
    assert unmix(mix(value)) == mix(unmix(value)) == value


@pytest.mark.parametrize("generation", [0, 1, 77, (1 << 32) - 1])
@pytest.mark.parametrize("seed", [0, 5, MASK])
def test_a_stamp_tells_its_generation_and_nothing_else_does(seed: int, generation: int) -> None:
    layout = replace(LAYOUT, seed=seed)
    value = stamp(layout, 3, 8, generation)
    assert generation_of(layout, 3, 8, value) == generation
    assert [generation_of(layout, 3 ^ 1 << bit, 8, value) for bit in range(20)] == [None] * 20
    assert generation_of(layout, 3, 16, value) is None
    assert generation_of(replace(layout, seed=seed ^ 1), 3, 8, value) is None
    assert [generation_of(layout, 3, 8, value ^ 1 << bit) for bit in range(64)] == [None] * 64


@pytest.mark.parametrize(
    ("address", "page"),
    [
        (LAYOUT.gva, 0),
        (LAYOUT.gva + 15 * PAGE, 15),
        (LAYOUT.gva + 16 * PAGE, None),
        (LAYOUT.gva - PAGE, None),
        (LAYOUT.gva + PAGE + 8, None),
        (0, None),
    ],
)
def test_a_page_says_which_it_is(address: int, page: int | None) -> None:
    assert page_of(LAYOUT, address.to_bytes(8, "little") + bytes(PAGE - 8)) == page


def test_a_page_in_words() -> None:
    content = bytearray(content_of(LAYOUT, 2, 3, 0))
    assert list(own_words(LAYOUT, 2, bytes(content))) == [Own(3, 3), Own(0, 0)]
    where = "page 2 of the load (0x7f8000002000): "
    assert describe(LAYOUT, bytes(content)) == f"{where}v0 generation 3, v1 generation 0"
    content[72] = 4  # v0's generation, as when the write of one word came and that of the other did not
    content[128] ^= 1  # v1's stamp
    told = "v0 stamp of generation 3 beside generation 4, v1 no stamp of this place beside generation 0"
    assert describe(LAYOUT, bytes(content)) == where + told
    assert describe(LAYOUT, bytes(PAGE)) == "no page of the load"


def test_a_page_in_another_ones_place_is_told_by_its_own_number() -> None:
    assert describe(LAYOUT, content_of(LAYOUT, 9, 1, 1)).startswith("page 9 of the load (0x7f8000009000)")


@pytest.mark.parametrize("seed", [0, 3, MASK])
def test_each_page_is_visited_once_in_an_order_of_the_seed(seed: int) -> None:
    order = visit_order(Layout(0, 512, 1, seed))
    assert sorted(order) == list(range(512))
    assert order not in (sorted(order), visit_order(Layout(0, 512, 1, seed ^ 1)))


# --- the payload in C ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Region:
    """The payload's region, as the payload tells it and as its memory is."""

    payload: Payload
    layout: Layout

    def read(self) -> list[bytes]:
        """All its pages."""
        parent = self.payload.process.pid
        (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        with Path(f"/proc/{child}/mem").open("rb", buffering=0) as memory:
            memory.seek(self.layout.gva)
            content = memory.read(self.layout.pages * PAGE)
        assert len(content) == self.layout.pages * PAGE
        return [content[start : start + PAGE] for start in range(0, len(content), PAGE)]

    def generations(self, vcpu: int) -> list[int]:
        """Each page's, as that vCPU's words tell it; both words must."""
        found = [list(own_words(self.layout, *item))[vcpu] for item in enumerate(self.read())]
        assert all(own.stamped == own.told for own in found)
        return [own.told for own in found]


def load(payload: Payload, name: str, seed: int = 7, more: str = "") -> Region:
    ready = values(payload.ask(f"load name={name} mib=2 seed={seed} {more}"))
    return Region(payload, Layout(int(ready["gva"], 16), int(ready["pages"]), int(ready["vcpus"]), seed))


def run_laps(payload: Payload, laps: int, more: str = "") -> Entry:
    assert payload.ask(f"start laps={laps} {more}") == "running"
    stopped = payload.answer()
    assert stopped.startswith("stopped ")
    return parse_entry(0.0, stopped)


@pytest.mark.parametrize("seed", [0, 7, MASK])
def test_every_word_of_a_fresh_region(payload: Payload, seed: int) -> None:
    region = load(payload, "write-shared", seed)
    layout, pages = region.layout, region.read()
    told = {8 * (1 + vcpu) + 1 for vcpu in range(layout.vcpus)}  # the generations, 0 so far
    for page in (0, 1, 255, layout.pages - 1):
        expected = [0 if word in told else stamp(layout, page, word, 0) for word in range(WORDS)]
        expected[0] = layout.gva + page * PAGE
        assert array("Q", pages[page]).tolist() == expected
    assert [page_of(layout, content) for content in pages] == list(range(layout.pages))


@pytest.mark.parametrize("name", ["sweep", "chain"])
def test_every_lap_of_a_vcpu_is_a_generation(payload: Payload, name: str) -> None:
    region = load(payload, name)
    entry = run_laps(payload, 3)
    assert set(entry.visits) == {3 * region.layout.pages} and entry.bad == 0
    for vcpu in range(region.layout.vcpus):
        assert region.generations(vcpu) == [3] * region.layout.pages
    content = region.read()[10]
    each = ", ".join(f"v{vcpu} generation 3" for vcpu in range(region.layout.vcpus))
    address = region.layout.gva + 10 * PAGE
    assert describe(region.layout, content) == f"page 10 of the load ({address:#x}): {each}"
    assert content[:72] == content_of(region.layout, 10, 3)[:72]


def test_as_many_vcpus_as_a_page_has_lines(program: Path) -> None:
    """The last one has its words behind the address of the page, and is one of 64 in a report."""
    with running(program, "64") as wide:
        region = load(wide, "sweep", more="window=64")
        fresh = region.read()[3]
        assert [own.told for own in own_words(region.layout, 3, fresh)] == [0] * 64
        entry = run_laps(wide, 1)
        assert set(entry.visits) == {region.layout.pages} and len(entry.visits) == 64
        assert region.generations(0) == region.generations(63) == [1] * region.layout.pages
        content = region.read()[3]
        own = [8 * (1 + vcpu) + word for vcpu in range(63) for word in range(3)] + [1, 2, 3]
        same = [word for word in range(WORDS) if content[8 * word :][:8] == fresh[8 * word :][:8]]
        assert sorted(own + same) == list(range(WORDS)), "each vCPU has three words of its own"
        assert wide.ask("check") == "checked pages=512 bad=0"
        flip_byte(wide, program, region.layout.gva + 3 * PAGE + 8)
        assert wide.ask("check") == "checked pages=512 bad=1", "the stamp of the last vCPU"


def test_only_pages_of_the_share_get_a_generation(payload: Payload) -> None:
    region = load(payload, "sweep")
    run_laps(payload, 1, "part=1 parts=4 grain=2")
    assert region.generations(0) == [int(page // 2 % 4 == 1) for page in range(region.layout.pages)]


@pytest.mark.parametrize("seed", [1, MASK])
def test_pages_are_visited_in_the_order_that_is_told(payload: Payload, program: Path, seed: int) -> None:
    """Pages made wrong behind the load's back are reported as it comes by them."""
    region = load(payload, "sweep", seed)
    wrong = range(5, region.layout.pages, region.layout.pages // MOST_LINES)[:MOST_LINES]
    for page in wrong:
        flip_byte(payload, program, region.layout.gva + page * PAGE + 10 * 8)  # v0's chain
    assert run_laps(payload, 1).bad == MOST_LINES
    reported = [int(values(line)["page"]) for line in payload.unasked if line.startswith("bad ")]
    assert reported == [page for page in visit_order(region.layout) if page in wrong]


def test_a_wrong_bit_of_a_stamp_is_told(payload: Payload, program: Path) -> None:
    region = load(payload, "sweep")
    run_laps(payload, 1)
    flip_byte(payload, program, region.layout.gva + 4 * PAGE + 64)
    assert str(next(own_words(region.layout, 4, region.read()[4]))) == (
        "no stamp of this place beside generation 1"
    )


def test_which_visit_wrote_a_page(payload: Payload) -> None:
    """Stopped in the middle of a lap: from order and generation follows which visit it was, to a page."""
    region = load(payload, "sweep", more="pace_us=500 window=256")
    layout, fresh = region.layout, region.read()
    assert payload.ask("start report_ms=25") == "running"
    early = Entry(0.0, (0,), 0, 0)
    while min(early.visits) < 2:  # far less than a lap, which takes a quarter of a second
        early = parse_entry(1.0, next(payload.lines))
    stopped = parse_entry(2.0, payload.ask("stop"))
    assert all(before <= after for before, after in zip(early.visits, stopped.visits, strict=True))

    order, visits = visit_order(layout), stopped.visits[0]
    expected = [
        (visits + layout.pages - 1 - order.index(page)) // layout.pages for page in range(layout.pages)
    ]
    assert region.generations(0) == expected
    # Between two reports lies the very last visit: its page is of the later, the one before of the earlier.
    last_but_one = replace(stopped, at_s=1.0, visits=tuple(count - 1 for count in stopped.visits))
    known = Known(layout, [last_but_one, stopped], {"round-1": 0.5, "round-2": 1.5})
    now = region.read()
    for back, name in ((1, "round-2"), (2, "round-1")):
        page = order[(visits - back) % layout.pages]
        first = next(iter(rounds_of(Difference(page, now[page], fresh[page]), known)))
        assert first == f"v0 wrote it in {name}"
