# SPDX-License-Identifier: GPL-2.0-or-later
"""The service that watches an L2's pages by DAMON, on a directory that stands in for its sysfs."""

from __future__ import annotations

import errno
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from guestloop.agent import damon
from guestloop.agent.damon import LARGEST, Damon
from guestloop.agent.regions import Atlas
from guestloop.ground.errors import GuestError
from guestloop.ground.units import PAGE

PID = 99


class Kernel:
    """Room for three pages. The directories that writing a count makes in the kernel are there already."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.context = root, root / "0/contexts/0"
        monkeypatch.setattr(damon, "ADMIN", root)
        for name in ("start", "finish_aggregation", "read", "state", "stop"):
            function = getattr(damon, name)
            given = inspect.signature(function).parameters["root"]
            assert given.default == Path("/sys/kernel/mm/damon/admin/kdamonds")
            monkeypatch.setattr(function, "__defaults__", (root,))
        self.context.mkdir(parents=True)
        (self.context / "avail_operations").write_text("vaddr\nfvaddr\npaddr\n")
        for number in range(3):
            (self.context / f"targets/{number}/regions/0").mkdir(parents=True)
        for name in ("monitoring_attrs/intervals", "monitoring_attrs/nr_regions", "schemes/0/tried_regions"):
            (self.context / name).mkdir(parents=True)
        for name in ("sz", "nr_accesses", "age"):
            (self.context / "schemes/0/access_pattern" / name).mkdir(parents=True)

    def value(self, name: str) -> str:
        return (self.context / name).read_text()

    def saw(self, *accesses: tuple[int, int]) -> None:
        for number, (address, seen) in enumerate(accesses):
            region = self.context / f"schemes/0/tried_regions/{number}"
            region.mkdir()
            (region / "start").write_text(f"{address}\n")
            (region / "nr_accesses").write_text(f"{seen}\n")
        (self.context / "schemes/0/tried_regions/total_bytes").write_text("0\n")


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path / "kdamonds", monkeypatch)


@pytest.fixture
def service() -> Damon:
    guest = SimpleNamespace(vcpu_threads=lambda: [71, 72])
    region = SimpleNamespace(pid=PID, addresses=[number * PAGE for number in range(8, 16)], guest=guest)
    atlas = Atlas()
    known: dict[str, Any] = atlas.known
    known["aging"] = region
    return Damon(atlas)


def test_the_first_pages_are_watched_each_for_itself(kernel: Kernel, service: Damon) -> None:
    assert service.start("aging", 3, 200_000, 1_000_000) == 3
    assert kernel.value("targets/nr_targets") == "3" and kernel.value("operations") == "fvaddr"
    assert kernel.value("targets/2/pid_target") == f"{PID}"
    edges = [kernel.value(f"targets/2/regions/0/{name}") for name in ("start", "end")]
    assert edges == [f"{10 * PAGE}", f"{11 * PAGE}"]
    intervals = [kernel.value(f"monitoring_attrs/intervals/{name}_us") for name in ("sample", "aggr")]
    assert intervals == ["200000", "1000000"]
    assert kernel.value("schemes/0/access_pattern/sz/max") == f"{LARGEST}"
    assert (kernel.root / "0/state").read_text() == "on"


def test_what_was_seen_is_in_the_order_of_the_pages(kernel: Kernel, service: Damon) -> None:
    service.start("aging", 3, 1, 2)
    kernel.saw((10 * PAGE, 5), (8 * PAGE, 0))
    assert service.seen() == [0, -1, 5], "of the page between nothing was reported"


def test_aggregations_are_finished_while_the_vcpus_move(
    kernel: Kernel, service: Damon, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[object] = []

    @contextmanager
    def moving(threads: Sequence[int], every_s: float) -> Iterator[None]:
        log.append((list(threads), every_s))
        yield
        log.append("at rest")

    monkeypatch.setattr(damon, "moving", moving)
    monkeypatch.setattr(damon, "finish_aggregation", lambda: log.append("aggregation"))
    service.watch("aging", 2, 0.5)
    assert log == [([71, 72], 0.5), "aggregation", "aggregation", "at rest"]


def test_the_end_of_an_aggregation_is_asked_for(kernel: Kernel) -> None:
    damon.finish_aggregation()
    assert (kernel.root / "0/state").read_text() == "update_schemes_tried_regions"


def test_stop_turns_it_off_and_forgets(kernel: Kernel, service: Damon) -> None:
    service.start("aging", 3, 1, 2)
    service.stop()
    assert ((kernel.root / "0/state").read_text(), (kernel.root / "nr_kdamonds").read_text()) == ("off", "0")


def test_a_kernel_without_it(kernel: Kernel, service: Damon, monkeypatch: pytest.MonkeyPatch) -> None:
    assert service.lacks() == ""
    monkeypatch.setattr(damon, "ADMIN", kernel.root / "none")
    assert service.lacks() == "L1's kernel has no CONFIG_DAMON_SYSFS"


def test_a_kernel_that_watches_physical_memory_only(kernel: Kernel, service: Damon) -> None:
    (kernel.context / "avail_operations").write_text("paddr\n")
    assert service.lacks() == "L1's kernel has no CONFIG_DAMON_VADDR"
    assert (kernel.root / "nr_kdamonds").read_text() == "0"


def test_a_kernel_before_6_2(kernel: Kernel, service: Damon) -> None:
    (kernel.context / "schemes/0/tried_regions").rmdir()
    assert "tried_regions" in service.lacks()


@pytest.mark.parametrize(
    ("enabled", "told"),
    [({"damon_stat": "Y", "damon_reclaim": "N"}, "damon_stat"), ({}, "something that is not told")],
)
def test_another_user_of_damon_is_named(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enabled: dict[str, str], told: str
) -> None:
    for module, value in enabled.items():
        (tmp_path / module / "parameters").mkdir(parents=True)
        (tmp_path / module / "parameters/enabled").write_text(f"{value}\n")
    monkeypatch.setattr(damon.running_users, "__defaults__", (tmp_path,))

    def busy(path: Path, text: str) -> int:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "write_text", busy)
    with pytest.raises(GuestError, match=f"resource busy; another user of DAMON runs: {told}") as caught:
        damon.finish_aggregation()
    assert "/sys/module/damon_" in caught.value.hint


def test_a_refusal_names_value_and_file(kernel: Kernel, service: Damon) -> None:
    (kernel.context / "operations").mkdir()
    with pytest.raises(GuestError, match=r"^DAMON refused fvaddr in .*/operations: Is a directory$"):
        service.start("aging", 3, 1, 2)
    with pytest.raises(GuestError, match="the region of L2 'none' is not known; known: \\['aging'\\]"):
        service.watch("none", 1, 1.0)
