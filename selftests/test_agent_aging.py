# SPDX-License-Identifier: GPL-2.0-or-later
"""MGLRU and DAMON as the agent works them, on files that look like the kernel's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from guestloop.agent import damon, mglru
from guestloop.agent.damon import Damon
from guestloop.agent.guest import Guest
from guestloop.agent.guests import Roster
from guestloop.agent.mglru import Mglru
from guestloop.agent.pages import Run
from guestloop.agent.regions import Atlas, Region
from guestloop.ground.errors import GuestError

DATA = Path(__file__).parent / "data"

# --- MGLRU -----------------------------------------------------------------------------------------


def test_generations_of_a_cgroup() -> None:
    text = (DATA / "lru_gen-6.12.txt").read_text()
    found = mglru.parse_generations(text, "/l2-aging")
    assert found == mglru.Generations(14, {4: 2, 5: 2445, 6: 518, 7: 0})
    assert found and found.youngest == 7
    assert mglru.parse_generations(text, "/l2-none") is None


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written to MGLRU's file, which reads as one of 6.12."""
    written: list[str] = []
    monkeypatch.setattr(mglru, "CONTROL", DATA / "lru_gen-6.12.txt")
    monkeypatch.setattr(mglru, "_write", written.append)
    return written


def service_of(cgroup: str) -> Mglru:
    roster = Roster()
    roster.running["l2"] = cast(Guest, SimpleNamespace(cgroup=SimpleNamespace(name=cgroup)))
    return Mglru(roster)


def test_a_cgroup_that_mglru_does_not_know(commands: list[str]) -> None:
    with pytest.raises(LookupError, match="knows no cgroup /l2-none"):
        service_of("l2-none").evict("l2")
    with pytest.raises(GuestError, match="no L2 is called 'other'"):
        service_of("l2-aging").age("other")
    assert commands == []


def test_a_kernel_without_mglru_lacks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mglru, "CONTROL", tmp_path / "none")
    assert "CONFIG_LRU_GEN" in Mglru(Roster()).lacks()
    monkeypatch.setattr(mglru, "CONTROL", tmp_path)
    assert Mglru(Roster()).lacks() == ""


# --- DAMON -----------------------------------------------------------------------------------------


def fake_damon(root: Path, targets: int) -> Path:
    """DAMON's sysfs as far as it is written to; files appear as the counts are written in the kernel."""
    context = root / "0/contexts/0"
    for number in range(targets):
        (context / f"targets/{number}/regions/0").mkdir(parents=True)
    for name in ("monitoring_attrs/intervals", "monitoring_attrs/nr_regions", "schemes/0/tried_regions"):
        (context / name).mkdir(parents=True)
    (context / "avail_operations").write_text("vaddr\nfvaddr\n")
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
    context = root / "0/contexts/0"
    assert (root / "nr_kdamonds").read_text() == (root / "0/contexts/nr_contexts").read_text() == "1"
    assert (context / "operations").read_text() == "fvaddr"
    intervals = {
        file.name: int(file.read_text()) for file in (context / "monitoring_attrs/intervals").iterdir()
    }
    assert (intervals["sample_us"], intervals["aggr_us"]) == (200_000, 1_000_000)
    assert intervals["update_us"] > 1 << 60, "there is nothing to update: the regions are given"
    assert (context / "monitoring_attrs/nr_regions/max").read_text() == "20"
    assert damon.state(root) == "on"
    damon.stop(root)
    assert (damon.state(root), (root / "nr_kdamonds").read_text()) == ("off", "0")


def test_the_scheme_takes_every_region_and_does_nothing(tmp_path: Path) -> None:
    """Its tried regions are where DAMON's results are read."""
    damon.start(99, [0x2000], 200_000, 1_000_000, fake_damon(tmp_path, 1))
    schemes = tmp_path / "0/contexts/0/schemes"
    assert (schemes / "nr_schemes").read_text() == "1" and (schemes / "0/action").read_text() == "stat"
    most = {file.parent.name: int(file.read_text()) for file in schemes.glob("0/access_pattern/*/max")}
    assert most == {"sz": (1 << 64) - 1, "nr_accesses": 1 << 30, "age": 1 << 30}


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


class Watching:
    """DAMON's functions, as the service calls them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[tuple[object, ...]] = []
        self.seen: dict[int, int] = {}
        for name in ("start", "finish_aggregation", "stop"):
            monkeypatch.setattr(damon, name, lambda *args, name=name: self.done.append((name, *args)))
        monkeypatch.setattr(damon, "read", lambda: self.seen)
        monkeypatch.setattr(damon, "moving", self.moving)

    @contextmanager
    def moving(self, threads: Sequence[int], every_s: float) -> Iterator[None]:
        self.done.append(("moving", *threads, every_s))
        yield
        self.done.append(("still",))


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Watching:
    return Watching(monkeypatch)


@pytest.fixture
def service() -> Damon:
    guest = SimpleNamespace(process=SimpleNamespace(pid=99), vcpu_threads=lambda: [11, 12])
    atlas = Atlas()
    atlas.known["l2"] = Region(cast(Guest, guest), (Run(0x4000, 2), Run(0x9000, 1)))
    return Damon(atlas)


def test_the_first_pages_of_the_region_are_watched(service: Damon, watching: Watching) -> None:
    assert service.start("l2", 2, 200_000, 1_000_000) == 2
    assert watching.done == [("start", 99, [0x4000, 0x5000], 200_000, 1_000_000)]
    assert service.start("l2", 9, 1, 2) == 3, "as many as there are"


def test_vcpus_move_while_aggregations_end(service: Damon, watching: Watching) -> None:
    service.watch("l2", aggregations=2, move_every_s=0.05)
    assert watching.done == [
        ("moving", 11, 12, 0.05),
        ("finish_aggregation",),
        ("finish_aggregation",),
        ("still",),
    ]


def test_a_page_that_damon_does_not_report_is_unknown(service: Damon, watching: Watching) -> None:
    service.start("l2", 9, 1, 2)
    watching.seen = {0x5000: 4, 0x9000: 0, 0xF000: 7}
    assert service.seen() == [-1, 4, 0]


def test_a_region_that_is_not_known_cannot_be_watched(service: Damon, watching: Watching) -> None:
    with pytest.raises(GuestError, match="the region of L2 'other' is not known"):
        service.start("other", 9, 1, 2)
    with pytest.raises(GuestError, match="the region of L2 'other' is not known"):
        service.watch("other", 2, 0.05)
    service.stop()
    assert watching.done == [("stop",)]


def test_a_kernel_without_damon_lacks_it(
    service: Damon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damon, "ADMIN", tmp_path / "none")
    assert "CONFIG_DAMON_SYSFS" in service.lacks()
    monkeypatch.setattr(damon, "ADMIN", fake_damon(tmp_path, 1))
    assert service.lacks() == ""
