"""The agent's reading of pagemap, idle bitmap, MGLRU and DAMON, on files that look like the kernel's."""

from __future__ import annotations

import os
from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from guestloop.agent import damon, mglru, pages
from guestloop.agent.aging import Region, prove_addresses
from guestloop.ground.errors import GuestError

DATA = Path(__file__).parent / "data"


def words_file(path: Path, words: list[int]) -> Path:
    path.write_bytes(array("Q", words).tobytes())
    return path


def test_frames_in_order() -> None:
    lines = ["frames at=0 runs=5fe8+1,10+3", "frames at=4 runs=a+2"]
    assert pages.parse_frames(lines) == [(0x5FE8, 1), (0x10, 3), (10, 2)]


def test_a_lost_line_is_noticed() -> None:
    with pytest.raises(ValueError, match="page 1 was wanted next, seen: frames at=4"):
        pages.parse_frames(["frames at=0 runs=5+1", "frames at=4 runs=a+2"])


def test_pagemap_entries() -> None:
    here, gone = pages.PRESENT | 1 << 55 | 0x1234, pages.SWAPPED | 0x99
    assert [pages.frame_of(entry) for entry in (here, gone, 0)] == [0x1234, 0, 0]
    assert pages.swapped([here, gone, 0]) == "010"


def test_own_pagemap_has_a_page_that_is_here() -> None:
    held = array("Q", range(1000))
    entries = pages.read_pagemap(os.getpid(), [pages.Run(held.buffer_info()[0], 1)])
    assert entries[0] & pages.PRESENT


def test_idle_bitmap(tmp_path: Path) -> None:
    bitmap = words_file(tmp_path / "bitmap", [0, 0, 0, 0])
    pages.mark_idle([1, 65, 64, 0, 200], bitmap)
    assert list(array("Q", bitmap.read_bytes())) == [0b10, 0b11, 0, 1 << 8]
    assert pages.read_idle([1, 2, 0, 65, 200], bitmap) == "10-11"


def test_a_short_file_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="2 words from 3 were wanted, 8 bytes came"):
        pages.read_words(words_file(tmp_path / "flags", [0] * 4), [(3, 2)])


def test_flags_of_pages(tmp_path: Path) -> None:
    flags = words_file(tmp_path / "flags", [0, pages.KPF_THP, 0, pages.KPF_THP | pages.KPF_REFERENCED])
    assert pages.read_flags([1, 2, 3, 0], pages.KPF_THP, flags) == "101-"
    assert pages.read_flags([1, 3], pages.KPF_REFERENCED, flags) == "01"


def test_runs_of_numbers() -> None:
    assert pages.consecutive([7, 3, 2, 9, 8]) == [(2, 2), (7, 3)]
    assert pages.consecutive([]) == []


def test_generations_of_a_cgroup() -> None:
    text = (DATA / "lru_gen-6.12.txt").read_text()
    found = mglru.parse_generations(text, "/l2-aging")
    assert found == mglru.Generations(14, {4: 2, 5: 2445, 6: 518, 7: 0})
    assert found and found.youngest == 7
    assert mglru.parse_generations(text, "/l2-none") is None


def fake_damon(root: Path, targets: int) -> Path:
    """DAMON's sysfs as far as it is written to; files appear as the counts are written in the kernel."""
    context = root / "0/contexts/0"
    for number in range(targets):
        (context / f"targets/{number}/regions/0").mkdir(parents=True)
    for name in ("monitoring_attrs/intervals", "monitoring_attrs/nr_regions", "schemes/0/tried_regions"):
        (context / name).mkdir(parents=True)
    for name in ("sz", "nr_accesses", "age"):
        (context / "schemes/0/access_pattern" / name).mkdir(parents=True)
    return root


def test_damon_gets_a_target_for_each_page(tmp_path: Path) -> None:
    root = fake_damon(tmp_path, 2)
    damon.start(99, [0x2000, 0x8000], 200_000, 1_000_000, root)
    targets = root / "0/contexts/0/targets"
    assert (targets / "nr_targets").read_text() == "2"
    assert (targets / "1/pid_target").read_text() == "99"
    assert [(targets / "1/regions/0" / name).read_text() for name in ("start", "end")] == ["32768", "36864"]
    assert damon.state(root) == "on"
    damon.stop(root)
    assert (damon.state(root), (root / "nr_kdamonds").read_text()) == ("off", "0")


def test_what_damon_saw(tmp_path: Path) -> None:
    root = fake_damon(tmp_path, 1)
    for number, (start, seen) in enumerate([(0x2000, 5), (0x8000, 0)]):
        region = root / f"0/contexts/0/schemes/0/tried_regions/{number}"
        region.mkdir()
        (region / "start").write_text(f"{start}\n")
        (region / "nr_accesses").write_text(f"{seen}\n")
    damon.finish_aggregation(root)
    assert (root / "0/state").read_text() == "update_schemes_tried_regions"
    assert damon.read(root) == {0x2000: 5, 0x8000: 0}


def test_a_refusal_of_damon_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match=r"DAMON refused 1 in .*nr_kdamonds: No such file"):
        damon.start(99, [0x2000], 1, 2, tmp_path / "none")


def test_stop_without_damon(tmp_path: Path) -> None:
    damon.stop(tmp_path / "none")


def test_addresses_are_proven_by_what_is_there() -> None:
    """Word 0 of a page of the payload's is its own address; here this process plays the guest."""
    size, gva = 2 * pages.PAGE // 8, 0x7F0000000000
    held = array("Q", bytes(8 * (size + 512)))
    start = -(-held.buffer_info()[0] // pages.PAGE) * pages.PAGE
    first = (start - held.buffer_info()[0]) // 8
    held[first], held[first + 512] = gva, gva + pages.PAGE
    region = Region(os.getpid(), (pages.Run(start, 2),))
    assert region.addresses == [start, start + pages.PAGE]
    prove_addresses(region, gva)
    held[first + 512] = 1
    with pytest.raises(GuestError, match="page 1 of the region is not at"):
        prove_addresses(region, gva)


def test_of_pages_that_age_as_one_the_first_is_looked_at() -> None:
    runs = (pages.Run(0x40000, 3), pages.Run(0x80000, 3))
    assert Region(1, runs, unit=2).addresses == [0x40000, 0x42000, 0x81000]
    held = array("Q", bytes(pages.PAGE))
    start = held.buffer_info()[0] // pages.PAGE * pages.PAGE
    region = Region(os.getpid(), (pages.Run(start, 2),))
    assert len(region.read_pagemap()) == 2
    assert list(replace(region, unit=2).read_pagemap()) == list(region.read_pagemap())[:1]
