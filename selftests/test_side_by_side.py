# SPDX-License-Identifier: GPL-2.0-or-later
"""Labs side by side: each with CPUs of its own, rounds of its own, and the same verdict as one alone.

The jobs and the processes of labs are real. Stand-ins take the place of L1s and of what tests measure.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fake_l1 import FakeMachine, machines, make_spec
from forked import forked_runners
from processes import at_most, is_running
from samples import CANDIDATE, REFERENCE, A, B, compare, plan_of

from guestloop.ground.errors import LabError
from guestloop.ground.wait import wait_for
from guestloop.job import measure
from guestloop.job.session import lab_on
from guestloop.job.sitting import CurrentSitting
from guestloop.lab.slot import Slot
from guestloop.lab.spec import OUT_VARIABLE, SOCKET_VARIABLE, RunningLab
from guestloop.machines.choice import kind_named
from guestloop.machines.layout import Share, list_cpus
from guestloop.machines.pinning import pin
from guestloop.machines.room import Core
from guestloop.report import describe
from guestloop.results.cells import Mmu
from guestloop.results.findings import FindingKind
from guestloop.results.late import read_late, write_late
from guestloop.results.plan import write_plan
from guestloop.results.records import Round, read_rounds
from guestloop.results.sittings import read_sittings
from guestloop.workloads.catalog import cell_of

__all__ = ["machines"]  # a fixture

CPUS = sorted(os.sched_getaffinity(0))
FIRST, LAST = Share((Core((CPUS[0],)),), 0), Share((Core((CPUS[-1],)),), 0)
LABS = (RunningLab("one", FIRST.cpus), RunningLab("two", LAST.cpus))
CELLS = tuple(cell_of({"asyncpf": None}, mmu) for mmu in (Mmu.TDP, Mmu.DIRECT, Mmu.SHADOW))
PLAN = plan_of(REFERENCE, CANDIDATE, cells=CELLS, rounds=1)

# Writes the round that it stands for, and notes where and when. Beside another lab the first test of each
# waits until both have begun, and where a file says so each waits until it is ended.
TEST = """\
import json, os, time
from pathlib import Path
from avocado import Test
from guestloop.ground.wait import wait_for
from guestloop.results.records import write_round
from guestloop.workloads.catalog import cell_of
from samples import make_round


class Quick(Test):
    \"\"\":avocado: tags=asyncpf,load:read-shared\"\"\"

    def test(self):
        out, get = Path(os.environ["GUESTLOOP_OUT"]), self.params.get
        cell, kernel, number = cell_of(self.tags, get("mmu")), get("kernel"), int(get("round"))
        lab, begun = os.environ.get("GUESTLOOP_LAB", ""), time.monotonic()
        (out / f"began-{lab}").write_text(str(os.getpid()))
        if lab:
            wait_for("the other lab", lambda: len(list(out.glob("began-*"))) > 1 or None, 20, interval=0.01)
        if (out / "endless").exists():
            wait_for("the end", lambda: None, 60, interval=0.01)
        ready = 420 + number if kernel == "unpatched" else number % 2
        write_round(out, make_round(cell, kernel, number, ready))
        note = {"lab": lab, "begun": begun, "ended": time.monotonic()}
        note["cpus"] = sorted(os.sched_getaffinity(0))
        (out / f"note-{cell.mmu}-{kernel}").write_text(json.dumps(note))
"""


@dataclass(frozen=True)
class Done:
    """A job that is over: whether it came to its end, its rounds, and a note of each test."""

    complete: bool
    rounds: list[Round]
    notes: dict[tuple[str, str], dict[str, Any]]

    def of(self, lab: str) -> list[tuple[str, str]]:
        """Mode and kernel of the tests of a lab, in the order in which they ran."""
        own = [(note["begun"], name) for name, note in self.notes.items() if note["lab"] == lab]
        return [name for _, name in sorted(own)]


def run(out: Path, labs: Sequence[RunningLab]) -> Done:
    (out / "tests").mkdir()
    (out / "tests/quick.py").write_text(TEST)
    write_plan(out, PLAN)
    found = measure.find_tests(out / "tests")
    with pytest.MonkeyPatch.context() as patch, forked_runners(), at_most(60):
        patch.setenv(OUT_VARIABLE, str(out))
        patch.delenv(SOCKET_VARIABLE, raising=False)
        patch.setattr(measure, "find_tests", lambda: found)
        sitting = CurrentSitting(PLAN, out, labs=labs)
        complete = measure.measure(sitting)
        sitting.finish(complete)
    notes = {}
    for path in out.glob("note-*"):
        _, mode, kernel = path.name.split("-")
        notes[mode, kernel] = json.loads(path.read_text())
    return Done(complete, read_rounds(out), notes)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Done]:
    """The same plan in one lab, and in two side by side."""
    return run(tmp_path_factory.mktemp("alone"), ()), run(tmp_path_factory.mktemp("beside"), LABS)


# --- the job ---------------------------------------------------------------------------------------


def test_the_verdict_is_that_of_one_lab(both: tuple[Done, Done]) -> None:
    alone, beside = both
    assert alone.complete and beside.complete
    assert len(alone.rounds) == 6 and beside.rounds == alone.rounds
    verdicts = [describe(PLAN, compare(PLAN, one.rounds)) for one in both]
    assert verdicts[0] == verdicts[1] and verdicts[0]["verdict"] == "no-regression"


def test_each_lab_has_cells_of_its_own_and_kernels_follow_one_another(both: tuple[Done, Done]) -> None:
    _, beside = both
    labs = {lab.socket: beside.of(lab.socket) for lab in LABS}
    assert {len(tests) for tests in labs.values()} == {2, 4}, "three cells on two labs"
    cells = [{mode for mode, _ in tests} for tests in labs.values()]
    assert not cells[0] & cells[1]
    for tests in labs.values():
        for first, second in zip(tests[::2], tests[1::2], strict=True):
            assert first[0] == second[0] and {first[1], second[1]} == {A, B}


def test_a_lab_measures_one_round_at_a_time_and_several_labs_do_so_at_once(both: tuple[Done, Done]) -> None:
    _, beside = both
    for lab in LABS:
        spans = [beside.notes[name] for name in beside.of(lab.socket)]
        assert all(early["ended"] <= late["begun"] for early, late in pairwise(spans))
    first, second = (beside.notes[beside.of(lab.socket)[0]] for lab in LABS)
    assert first["begun"] < second["ended"] and second["begun"] < first["ended"]


def test_tests_run_on_the_cpus_of_their_lab(both: tuple[Done, Done]) -> None:
    alone, beside = both
    assert {tuple(note["cpus"]) for note in alone.notes.values()} == {tuple(CPUS)}
    for lab in LABS:
        assert {tuple(beside.notes[name]["cpus"]) for name in beside.of(lab.socket)} == {lab.cpus}


def test_how_many_labs_there_were_is_kept(tmp_path: Path) -> None:
    CurrentSitting(PLAN, tmp_path, labs=LABS).finish(complete=True)
    CurrentSitting(PLAN, tmp_path).finish(complete=True)
    assert [one.labs for one in read_sittings(tmp_path)] == [2, 1]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """As the command line has it: a shell has SIGINT ignored for what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_ends_the_rounds_of_all_labs_and_begins_no_other(tmp_path: Path) -> None:
    (tmp_path / "endless").touch()

    def interrupt() -> None:
        wait_for("both labs", lambda: len(list(tmp_path.glob("began-*"))) > 1 or None, 20)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    done = run(tmp_path, LABS)
    assert not done.complete and not done.notes
    assert len(done.rounds) == 2, "those that ran"
    assert {finding.kind for item in done.rounds for finding in item.findings} == {FindingKind.INTERRUPTED}
    for path in tmp_path.glob("began-*"):
        assert not is_running(int(path.read_text()))


# --- the labs --------------------------------------------------------------------------------------

# It plays the QEMU of an L1: it says where it may run, and ends.
QEMU = "#!/bin/sh\ngrep Cpus_allowed_list /proc/self/status >{into}/.$$\nmv {into}/.$$ {into}/$$\nexit 3\n"


def test_a_lab_and_its_l1s_run_on_cpus_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SOCKET_VARIABLE, raising=False)
    (tmp_path / "seen").mkdir()
    program = tmp_path / "qemu"
    program.write_text(QEMU.format(into=tmp_path / "seen"))
    program.chmod(0o755)
    spec = make_spec(tmp_path / "lab", A)
    spec = replace(spec, parts={A: replace(spec.parts[A], program=program)})
    with at_most(60), lab_on(kind_named("tcg"), spec, tmp_path, (FIRST, LAST)) as labs:
        assert len({lab.socket for lab in labs}) == 2
        seen = wait_for("both L1s", lambda: _seen(tmp_path / "seen"), 30)
        assert set(seen) == {list_cpus(one.cpus) for one in (FIRST, LAST)}
        assert {path.name for path in (tmp_path / "lab").glob(f"{A}.*")} == {f"{A}.1", f"{A}.2"}
    assert SOCKET_VARIABLE not in os.environ


def _seen(directory: Path) -> list[str] | None:
    """The CPUs of each QEMU, once both have said it."""
    found = [path.read_text().split()[1] for path in directory.glob("[0-9]*")]
    return found if len(found) == 2 else None


def test_one_lab_on_the_whole_machine_is_left_where_it_is(tmp_path: Path) -> None:
    whole = Share(tuple(Core((cpu,)) for cpu in CPUS), 0)
    for share in (whole, Share((), 0)):
        spec = make_spec(tmp_path / "lab")
        with lab_on(kind_named("tcg"), spec, tmp_path, (share,)) as labs:
            assert labs == (RunningLab(spec.socket),) and os.environ[SOCKET_VARIABLE] == spec.socket


def test_boots_of_labs_side_by_side_have_numbers_of_their_own(
    tmp_path: Path, machines: list[FakeMachine]
) -> None:
    """Of them, of fresh ones, and of those of the sitting before."""
    spec = replace(make_spec(tmp_path, A), boots={A: 3})
    one, two = (Slot(spec.one_of(2, number, (number,)), A) for number in (0, 1))
    numbers = [slot.acquire().boot for slot in (one, two)]
    for slot in (one, two):
        slot.call("guests.stop_all", {}, 1.0)
        numbers.append(slot.acquire(fresh=True).boot)
    assert numbers == [4, 5, 6, 7]
    assert {path.name for path in tmp_path.iterdir()} == {f"{A}.{number}" for number in numbers}
    assert [slot.acquire().cpus for slot in (one, two)] == [(0,), (1,)]
    alone = spec.one_of(1, 0, ())
    assert (alone.socket, alone.boots, alone.boot_step) == (spec.socket, {A: 3}, 1)


def test_complaints_of_labs_that_end_together_are_all_kept(tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=write_late, args=(tmp_path / "lab", {A: [f"{number}"]}))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read_late(tmp_path)[A], key=int) == [f"{number}" for number in range(16)]


# --- CPUs ------------------------------------------------------------------------------------------


def test_a_process_that_is_gone_needs_no_cpu() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    pin(pid, CPUS)


def test_a_cpu_that_is_not_there_is_said() -> None:
    with pytest.raises(LabError, match=rf"process {os.getpid()} cannot run on CPUs 1023: Invalid argument"):
        pin(os.getpid(), (1023,))
    pin(os.getpid(), ())
    assert sorted(os.sched_getaffinity(0)) == CPUS
