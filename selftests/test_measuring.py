"""A round in the making: what is counted between two readings, and when it proves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from guestloop.counters import FLUSH_REQUESTS
from guestloop.ground.errors import GuestError, LabError
from guestloop.lab.client import L1, L2
from guestloop.results.cells import Cell, Mmu
from guestloop.results.records import Correctness, Outcome, parse_round, read_rounds, write_round
from guestloop.vm.argv import L2Spec
from guestloop.workloads import asyncpf
from guestloop.workloads.measuring import Measuring, Reading

REQUEST = 256
ZERO = {"pages_swapped_out": 0, "huge_pages_split": 0}
CELL = Cell("asyncpf", Mmu.SHADOW, {"load": "read-shared"})
STACKS = {
    "async_page_ready": (
        "mmu_set_spte",
        "direct_map",
        "kvm_arch_async_page_ready",
        "kvm_check_async_pf_completion",
    ),
    "other:some_new_caller": ("some_new_caller", "vcpu_run"),
}


def histogram(stacks: dict[str, int], dropped: int = 0, request: int = REQUEST) -> str:
    """As the kernel prints it, for stacks by the path they are of."""
    entries = "".join(
        "{ common_stacktrace:\n"
        + "".join(
            f"         {frame}+0x5/0xb0 [kvm]\n" for frame in ("kvm_make_all_cpus_request", *STACKS[path])
        )
        + f", req: {request:10}}} hitcount: {hits:10}\n"
        for path, hits in stacks.items()
    )
    totals = f"    Hits: {sum(stacks.values())}\n    Entries: {len(stacks)}\n    Dropped: {dropped}\n"
    return f"# event histogram\n#\n# trigger info: hist:keys=x\n#\n\n{entries}\nTotals:\n{totals}"


def events(hits: int) -> str:
    entry = f"{{ common_cpu:          0 }} hitcount: {hits:10}\n"
    totals = f"    Hits: {hits}\n    Entries: 1\n    Dropped: 0\n"
    return f"# event histogram\n#\n\n{entry}\nTotals:\n{totals}"


class World:
    """What an L1 and the L2 in it would tell; the tests move it on. Is both of them."""

    def __init__(self) -> None:
        self.l1, self.boot, self.request = self, 3, REQUEST
        self.facts = {"release": "6.12.117"}
        self.spec, self.hello, self.start_seconds = L2Spec("storm"), {"kvmapf": "1"}, 4.5
        self.flushes, self.ready, self.swapped, self.dropped = 10, 100, 1000, 0
        self.paths = {"async_page_ready": 10}
        self.bad_reads = self.bad_pages = 0
        self.stands_still = self.silent = self.deaf = False
        self.reads, self.reads_go_on = 77, 0
        self.commands: list[str] = []

    def move(self, ready: int = 0, flushes: int | None = None, **paths: int) -> None:
        """Let events and flushes happen; the counter goes with the paths unless said otherwise."""
        for path, hits in paths.items():
            self.paths[path] = self.paths.get(path, 0) + hits
        self.flushes += sum(paths.values()) if flushes is None else flushes
        self.ready += ready
        self.swapped += 2 * ready

    def call(self, method: str, *_: object, **_params: object) -> Any:
        answers: dict[str, Callable[[], Any]] = {
            "memory.read_vmstat": lambda: {"pswpin": self.swapped, "pswpout": 7, "pgfault": 1},
            "counters": lambda: {FLUSH_REQUESTS: self.flushes, "exits": 10 * self.flushes},
            "trace.read": lambda: {
                "request": histogram(self.paths, self.dropped),
                "kvm_async_pf_ready": events(self.ready),
            },
            "page_out": dict,
        }
        return answers[method]()

    def command(self, line: str, until: str, timeout_s: float = 60.0) -> list[str]:
        self.commands.append(line.split(maxsplit=1)[0])
        if self.deaf and line.startswith("start"):
            raise GuestError(f"L2 storm: waited {timeout_s:g} s for {until!r}")
        return ["bad page=7", f"{until} pages=1024 bad={self.bad_pages}"]

    def listen_for(self, verb: str, timeout_s: float) -> dict[str, str]:
        if self.stands_still:
            if verb == "stopped" or self.silent:
                raise GuestError(f"L2 storm: waited {timeout_s:g} s for {verb!r}")
            self.reads += self.reads_go_on
            return {"reads": str(self.reads)}
        self.move(ready=400, async_page_ready=160)
        return {"reads": "4096", "bad": str(self.bad_reads)}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def this(world: World, tmp_path: Path) -> Measuring:
    return Measuring(CELL, "patched", 2, tmp_path / "evidence", l1=cast(L1, world))


def l2(world: World) -> L2:
    return cast(L2, world)


def test_counts_are_differences(this: Measuring, world: World) -> None:
    with this.counting(l2(world), "storm"):
        world.move(ready=600, async_page_ready=240)
    phase = this.phases["storm"]
    assert phase.counters == {FLUSH_REQUESTS: 240, "exits": 2400}
    assert phase.paths == {"async_page_ready": 240} and phase.seconds >= 0
    assert this.events == {"page_ready": 600, "pages_swapped_in": 1200} | ZERO
    assert this.outcome is Outcome.MEASURED


def test_a_path_first_taken_in_the_round_and_one_not_taken(this: Measuring, world: World) -> None:
    with this.counting(l2(world), "storm"):
        world.move(**{"other:some_new_caller": 5})
    assert this.phases["storm"].paths == {"other:some_new_caller": 5}


def test_finish_sums_over_phases(this: Measuring, world: World) -> None:
    for phase, ready in (("warm", 100), ("storm", 500)):
        with this.counting(l2(world), phase):
            world.move(ready=ready, async_page_ready=ready // 5)
    this.judge(True)
    record = this.finish()
    assert set(record.phases) == {"warm", "storm"}
    assert record.counters == {FLUSH_REQUESTS: 120, "exits": 1200}
    assert record.paths == {"async_page_ready": 120} and record.events["page_ready"] == 600
    assert (record.cell, record.kernel, record.round, record.boot) == (CELL, "patched", 2, 3)
    assert (record.outcome, record.correctness, record.reason) == (Outcome.MEASURED, Correctness.PASS, "")
    assert record.facts["release"] == "6.12.117"


@pytest.mark.parametrize(
    ("counted", "valid"), [(1000, True), (1010, True), (991, True), (1011, False), (989, False)]
)
def test_paths_must_account_for_the_counter(this: Measuring, world: World, counted: int, valid: bool) -> None:
    with this.counting(l2(world), "storm"):
        world.move(flushes=counted, async_page_ready=1000)
    assert (this.outcome is Outcome.MEASURED) is valid
    if not valid:
        (reason,) = this.reasons
        assert (
            reason == f"storm: paths account for 1000 flush requests, KVM counted {counted} (1 % is allowed)"
        )


def test_a_full_histogram_is_invalid(this: Measuring, world: World) -> None:
    world.dropped = 4
    with this.counting(l2(world), "before"):
        world.move(async_page_ready=1000)
    assert this.outcome is Outcome.MEASURED, "dropped before this round"
    with this.counting(l2(world), "storm"):
        world.move(async_page_ready=1000)
        world.dropped = 7
    assert this.reasons == ["storm: the call-path histogram was full: 3 requests were dropped"]


def test_counters_that_go_backwards_are_no_measurement(this: Measuring, world: World) -> None:
    with pytest.raises(LabError, match="counters went backwards"), this.counting(l2(world), "storm"):
        world.flushes = 0


def test_stacks_of_the_interval_are_kept_as_evidence(this: Measuring, world: World, tmp_path: Path) -> None:
    with this.counting(l2(world), "storm"):
        world.move(async_page_ready=3)
    (path,) = this.evidence
    assert path == "evidence/asyncpf/shadow/read-shared/patched.2.storm.stacks.txt"
    first, *frames = (tmp_path / path).read_text().split()
    assert (first, frames[0]) == ("3", "async_page_ready"), "what was there before does not count"
    assert tuple(frames[2:]) == STACKS["async_page_ready"]


def test_require(this: Measuring) -> None:
    this.events["page_ready"] = 500
    this.require("page_ready", 500)
    assert this.outcome is Outcome.MEASURED
    this.require("page_ready", 501)
    this.require("pages_swapped_in", 1)
    record = this.finish()
    assert record.outcome is Outcome.INVALID
    assert record.reason == (
        "page_ready: 500 seen, at least 501 needed; pages_swapped_in: 0 seen, at least 1 needed"
    )


def test_one_wrong_finding_is_enough(this: Measuring) -> None:
    for correct, reason in ((True, "a"), (False, "2 of 9 pages"), (True, "c")):
        this.judge(correct, reason)
    record = this.finish()
    assert (record.correctness, record.reason) == (Correctness.FAIL, "2 of 9 pages")
    assert record.outcome is Outcome.MEASURED


def test_memory_that_was_not_checked_proves_nothing(this: Measuring) -> None:
    record = this.finish()
    assert (record.outcome, record.correctness) == (Outcome.INVALID, Correctness.NOT_RUN)
    assert record.reason == "the guest's memory was not checked"


def test_skipped_stays_skipped(this: Measuring) -> None:
    this.skip("no eptad on AMD")
    record = this.finish()
    assert (record.outcome, record.reason) == (Outcome.SKIPPED, "no eptad on AMD")


def test_a_fault_is_one_line_and_all_of_it_is_kept(this: Measuring, tmp_path: Path) -> None:
    this.fault(GuestError("L1 panicked: Oops\n  console | line", hint="look", traceback="in load"))
    record = this.finish()
    assert (record.outcome, record.reason) == (Outcome.INVALID, "L1 panicked: Oops")
    kept = (tmp_path / record.evidence[0]).read_text()
    assert all(part in kept for part in ("console | line", "hint: look", "in load"))


def test_without_an_l1_there_is_a_round_all_the_same(tmp_path: Path) -> None:
    record = Measuring(CELL, "patched", 1, tmp_path / "evidence").finish()
    assert (record.boot, record.outcome) == (0, Outcome.INVALID)


def test_a_round_survives_being_stored(this: Measuring, world: World, tmp_path: Path) -> None:
    asyncpf.run(this, l2(world), asyncpf.Storm())
    record = this.finish()
    path = write_round(tmp_path, record)
    assert parse_round(json.loads(path.read_text())) == record
    assert read_rounds(tmp_path) == [record]
    with pytest.raises(FileExistsError):
        write_round(tmp_path, record)
    assert [path.name for path in path.parent.iterdir()] == ["patched.2.json"], "no partial file stays"


def test_reading_takes_the_histogram_right_after_the_counter(world: World) -> None:
    order: list[str] = []
    answer = world.call
    world.call = lambda method, *_, **__: order.append(method) or answer(method)  # type: ignore[method-assign]
    Reading.take(l2(world))
    assert order == ["memory.read_vmstat", "counters", "trace.read"]


# --- asyncpf ---------------------------------------------------------------------------------------


def test_storm(this: Measuring, world: World) -> None:
    asyncpf.run(this, l2(world), asyncpf.Storm())
    record = this.finish()
    assert world.commands == ["load", "start", "start", "check"]
    assert (record.outcome, record.correctness) == (Outcome.MEASURED, Correctness.PASS)
    assert record.events["page_ready"] == 800 and record.events["reads"] == 8192
    assert (record.event, record.judged) == ("page_ready", ("async_page_ready",))
    assert record.paths == {"async_page_ready": 320}


@pytest.mark.parametrize(
    ("bad_pages", "bad_reads", "reason"),
    [
        (2, 0, "2 of 1024 pages hold wrong data: bad page=7"),
        (0, 3, "6 reads during the storm saw wrong data"),
    ],
)
def test_storm_with_wrong_contents(
    this: Measuring, world: World, bad_pages: int, bad_reads: int, reason: str
) -> None:
    world.bad_pages, world.bad_reads = bad_pages, bad_reads
    asyncpf.run(this, l2(world), asyncpf.Storm())
    assert (this.finish().correctness, this.reasons) == (Correctness.FAIL, [reason])


def test_storm_without_events_is_invalid(this: Measuring, world: World) -> None:
    asyncpf.run(this, l2(world), asyncpf.Storm(cycles=1))
    assert this.finish().reason == "page_ready: 400 seen, at least 500 needed"


@pytest.mark.parametrize(
    ("silent", "reason"), [(False, "vCPUs stand still after 77 visits"), (True, "L2 says nothing more")]
)
def test_a_vcpu_that_waits_for_ever_is_a_finding(
    this: Measuring, world: World, silent: bool, reason: str
) -> None:
    world.stands_still, world.silent = True, silent
    asyncpf.run(this, l2(world), asyncpf.Storm())
    record = this.finish()
    assert record.correctness is Correctness.FAIL and record.reason.startswith(reason)


def test_a_guest_that_does_not_come_back_is_a_finding(this: Measuring, world: World) -> None:
    world.deaf = True
    asyncpf.run(this, l2(world), asyncpf.Storm())
    record = this.finish()
    assert record.correctness is Correctness.FAIL
    assert record.reason.startswith("L2 does not answer in 60 s: it waits for a page")


def test_a_load_that_is_only_slow_is_no_finding(
    this: Measuring, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.stands_still, world.reads_go_on = True, 5
    monkeypatch.setattr(asyncpf, "LONGEST_LAP_S", 0.05)
    with pytest.raises(GuestError, match="waited 12 s for 'stopped'"):
        asyncpf.run(this, l2(world), asyncpf.Storm())
    assert this.finish().correctness is Correctness.NOT_RUN


def test_paravirtual_faults_must_be_as_asked_for(this: Measuring, world: World) -> None:
    asyncpf.run(this, l2(world), asyncpf.Storm(kvmapf=False))
    assert this.outcome is Outcome.INVALID
    assert this.reasons == ["paravirtual async page faults: 1 in L2, not as asked for"]


@pytest.mark.parametrize(
    ("ended", "correctness"),
    [
        (
            "the guest panicked (Kernel panic - not syncing); QEMU ended; QEMU: exit status 0",
            Correctness.FAIL,
        ),
        ("QEMU ended while 'stopped' was awaited; QEMU: exit status 0", Correctness.FAIL),
        ("QEMU ended while 'stopped' was awaited; QEMU: killed by signal 9", Correctness.NOT_RUN),
    ],
)
def test_a_crash_of_the_guest_is_a_finding_and_a_kill_is_not(
    this: Measuring, ended: str, correctness: Correctness
) -> None:
    this.fault(GuestError(f"L2 storm: {ended}\nconsole"))
    record = this.finish()
    assert (record.outcome, record.correctness) == (Outcome.INVALID, correctness)
