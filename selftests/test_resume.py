# SPDX-License-Identifier: GPL-2.0-or-later
"""``scripts/run --resume OUT``: what is gone on with, with which kernels, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_l1 import make_spec
from recorded import RECORDED
from samples import CANDIDATE, L2_KERNEL, REFERENCE, A, B, failed, make_round
from test_cli import Terminal
from test_lab_slot import machines
from test_layout import room_of

from guestloop.compare import Overall
from guestloop.ground.errors import ConfigError, Exit, LabError
from guestloop.job import resume as resume_module
from guestloop.job import run as run_module
from guestloop.job import sizing
from guestloop.job.options import Options
from guestloop.job.prepare import Prepared, boots
from guestloop.job.resume import check_same, limited
from guestloop.job.sitting import CurrentSitting
from guestloop.lab.slot import Slot
from guestloop.machines.choice import choose
from guestloop.machines.conditions import read_boot_id
from guestloop.machines.host import Host, KvmDevice, Vendor
from guestloop.report import read_result
from guestloop.results.hold import held
from guestloop.results.late import read_late, write_late
from guestloop.results.plan import PLAN_FILE, Kernels, Plan, read_plan
from guestloop.results.records import read_rounds, write_round
from guestloop.results.sittings import Ending, Sitting, describe_end, read_sittings, write_sitting
from guestloop.results.sizes import USUAL, Sizes

__all__ = ["machines"]  # a fixture

KERNELS = Kernels(REFERENCE, (CANDIDATE,))
PROFILE = """\
tiny:
  description: two cells
  looks: [1, 2]
  cells:
    - {test: asyncpf, mmu: [tdp, shadow], load: [read-shared], way: [pageout], vcpus: ["4"], kvmapf: ["on"]}
"""


class Bench:
    """Runs of which all is real but kernels, guests and the job. Ctrl-C comes after ``rounds`` more."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal, self.out = terminal, terminal.cwd / "out"
        self.kernels, self.l2_kernel, self.qemu = KERNELS, L2_KERNEL, "7.2"
        self.rounds, self.labs = 999, 0
        self.named: list[Any] = []
        self.sizes: list[Any] = []
        self.shares: list[int] = []
        (terminal.home / ".config/guestloop").mkdir(parents=True)
        (terminal.home / ".config/guestloop/profiles.yaml").write_text(PROFILE)

    def run(self, *words: str | Path) -> str:
        """A command that must come to a verdict, or be interrupted; returns what it said.

        Whether made-up rounds of an unknown class are settled is not what these tests are about.
        """
        done = self.terminal.run("run", *words)
        assert done.returncode in (Exit.OK, Exit.INCONCLUSIVE, Exit.INTERRUPTED), done.stderr
        return done.stderr

    def start(self, *words: str) -> str:
        return self.run("--profile", "tiny", "--accel", "tcg", "--out", "out", *words)

    def refused(self, *words: str | Path) -> tuple[str, str]:
        """Message and hint of a command that is refused and changes nothing."""
        before = {path: path.read_bytes() for path in self.out.rglob("*") if path.is_file()}
        done = self.terminal.run("run", *words)
        assert done.returncode == Exit.USAGE, done.stderr
        assert before == {path: path.read_bytes() for path in self.out.rglob("*") if path.is_file()}
        message, *hint = [line for line in done.stderr.splitlines() if not line.startswith("==>")]
        return message.removeprefix("guestloop: "), "\n".join(hint)

    # What takes the place of kernels, guests and the job.

    def find_subjects(self, specs: Any, *_: object) -> tuple[()]:
        self.named.append([spec.name for spec in specs])
        return ()

    def prepare(self, *given: object) -> Prepared:
        self.sizes.append(given[-1])
        lab = replace(make_spec(self.out, A), l2_kernel=self.l2_kernel)
        return Prepared(lab, self.qemu, self.kernels)

    @contextmanager
    def lab_on(self, *given: Any, **_: object) -> Iterator[tuple[()]]:
        self.labs += 1
        self.shares.append(len(given[3]))
        yield ()

    def measure(self, sitting: CurrentSitting) -> bool:
        while look := sitting.begin_look():
            for slot in look.slots:
                if not self.rounds:
                    return False
                self.rounds -= 1
                ready = 420 + slot.round if slot.kernel == A else slot.round % 2
                write_round(sitting.out, make_round(slot.cell, slot.kernel, slot.round, ready))
                sitting.end(slot)
        return True


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(Terminal(tmp_path))
    for module in (run_module, resume_module):
        monkeypatch.setattr(module, "find_subjects", made.find_subjects)
        monkeypatch.setattr(module, "prepare", made.prepare)
    monkeypatch.setattr("guestloop.job.prepare.check_semaphores", lambda: None)
    monkeypatch.setattr(run_module, "lab_on", made.lab_on)
    monkeypatch.setattr(run_module, "measure", made.measure)
    return made


# --- going on --------------------------------------------------------------------------------------


def test_an_interrupted_run_is_gone_on_with(bench: Bench) -> None:
    bench.rounds = 3
    said = bench.start()
    assert "interrupted: 3 rounds are in" in said and f"scripts/run --resume {bench.out} goes on" in said
    result = read_result(bench.out)
    assert (result.verdict, result.course.interrupted) == (Overall.INCONCLUSIVE, True)
    assert "interrupted; inconclusive: " in (bench.out / "mail.txt").read_text()
    plan, before = (bench.out / PLAN_FILE).read_bytes(), read_rounds(bench.out)
    bench.rounds = 999
    said = bench.run("--resume", "out")
    assert f"==> resumed: 3 rounds of {bench.out} are there" in said
    rounds = read_rounds(bench.out)
    assert len(rounds) >= 4 and all(item in rounds for item in before)
    assert (bench.out / PLAN_FILE).read_bytes() == plan
    result = read_result(bench.out)
    assert (result.verdict, result.course.interrupted) == (Overall.NO_REGRESSION, False)
    assert str(result.course.command) == "scripts/run --profile tiny --accel tcg"
    assert "interrupted" not in (bench.out / "mail.txt").read_text()
    first, second = read_sittings(bench.out)
    assert (first.ending, first.rounds_before) == (Ending.INTERRUPTED, 0)
    assert (second.ending, second.rounds_before) == (Ending.COMPLETE, 3)


@pytest.mark.parametrize(
    ("boot_id", "killed", "said"),
    [
        ("other", True, "the host was rebooted in the middle of sitting 1: what was measured is there"),
        ("other", False, "sitting 1 was interrupted; the host was rebooted since"),
        ("", True, "sitting 1 was killed"),
        ("", False, "sitting 1 was interrupted"),
    ],
)
def test_a_reboot_of_the_host_is_seen_as_what_it_is(
    bench: Bench, boot_id: str, killed: bool, said: str
) -> None:
    bench.rounds = 3
    bench.start()
    (first,) = read_sittings(bench.out)
    assert first.boot_id == read_boot_id() != ""
    write_sitting(
        bench.out,
        replace(first, boot_id=boot_id or first.boot_id, ending=None if killed else first.ending),
    )
    bench.rounds = 999
    told = bench.run("--resume", "out").splitlines()
    assert f"==> {said}" in told
    assert len(read_rounds(bench.out)) >= 4, "nothing was lost, and nothing is refused"
    assert read_sittings(bench.out)[1].boot_id == read_boot_id()


@pytest.mark.parametrize(
    ("ending", "how"), [(Ending.BUDGET, "has spent its budget"), (Ending.COMPLETE, "is complete")]
)
def test_how_a_sitting_ended(ending: Ending, how: str) -> None:
    done = Sitting(2, 0, (1,), None, ending=ending, boot_id="a")
    assert describe_end(done, "a") == f"sitting 2 {how}"
    assert describe_end(done, "b") == f"sitting 2 {how}; the host was rebooted since"
    assert describe_end(replace(done, boot_id=""), "b") == f"sitting 2 {how}", "of an older guestloop"
    assert describe_end(replace(done, ending=None), "") == "sitting 2 was killed"


def test_interrupted_results_that_cannot_be_judged_end_as_interrupted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LabError("rounds of two runs")

    monkeypatch.setattr("guestloop.job.conclude.compare", fail)
    bench.rounds = 3
    said = bench.start()
    assert "==> there is no verdict on what was measured: rounds of two runs\n" in said
    assert len(read_rounds(bench.out)) == 3 and not (bench.out / "verdict.json").exists()


def test_its_kernels_are_found_from_where_it_began(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the words of its command line, which may be paths."""
    kernel = "like: unpatched\n"
    (bench.terminal.cwd / "mine.yaml").write_text(kernel)
    bench.rounds = 1
    bench.start("--kernels", "unpatched,./mine.yaml")
    bench.rounds, began = 999, bench.terminal.cwd
    bench.terminal.cwd = bench.terminal.home
    bench.run("--resume", bench.out)
    assert bench.named == [["unpatched", "mine"]] * 2
    assert read_plan(bench.out).directory == str(began)


def test_when_nothing_is_missing_nothing_is_built_or_booted(bench: Bench) -> None:
    bench.start()
    labs, named = bench.labs, len(bench.named)
    said = bench.run("--resume", "out")
    assert "==> nothing is missing, and no cell is open that may have more rounds" in said
    assert (bench.labs, len(bench.named)) == (labs, named)


def test_more_rounds_than_planned_are_measured_when_asked_for(bench: Bench) -> None:
    bench.start("--rounds", "1")
    assert len(read_rounds(bench.out)) == 4
    bench.run("--resume", "out", "--rounds", "3")
    assert len(read_rounds(bench.out)) == 12
    assert read_plan(bench.out).looks == (1,), "what was planned stands"
    assert [one.looks for one in read_sittings(bench.out)] == [(1,), (3,)]


def test_a_run_goes_on_with_its_sizes_or_not_at_all(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "read_room", lambda: room_of([8]))
    bench.rounds = 1
    said = bench.start()
    assert "==> sizes: L1s of 2 vCPUs and 2048 MiB, L2s of up to 4 vCPUs; there is room for 4 " in said
    plan = json.loads((bench.out / PLAN_FILE).read_text())
    (bench.out / PLAN_FILE).write_text(json.dumps(plan | {"sizes": vars(Sizes.of(4))}))
    said = bench.run("--resume", "out")
    assert "==> sizes: L1s of 8 vCPUs and 8192 MiB, L2s of up to 16 vCPUs; " in said
    assert bench.sizes == [USUAL, Sizes.of(4)]
    monkeypatch.setattr(sizing, "read_room", lambda: room_of([4]))
    message, hint = bench.refused("--resume", "out", "--rounds", "9")
    assert message.endswith("the lab would have 4 cores, 8 are needed") and "room for 2 labs" in hint


def test_so_many_labs_as_are_asked_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be resumed with another number: they decide how fast it goes, and nothing else."""
    monkeypatch.setattr(sizing, "read_room", lambda: room_of([4, 4]))
    bench.rounds = 1
    said = bench.start("--labs", "2")
    assert "lab 1: CPUs 0-3 of node 0; lab 2: CPUs 4-7 of node 1" in said
    bench.run("--resume", "out")
    bench.run("--resume", "out", "--labs", "9")
    assert bench.shares == [2, 2, 2], "there are two cells"
    monkeypatch.setattr(sizing, "read_room", lambda: room_of([2]))
    message, hint = bench.refused("--resume", "out", "--rounds", "9")
    assert message.startswith("--labs 2: there is no room for L1s of 2 vCPUs") and "room for 1 lab" in hint
    bench.run("--resume", "out", "--rounds", "9", "--labs", "1")
    assert bench.shares == [2, 2, 2, 1]


def test_the_new_limit_of_a_resumed_run() -> None:
    plan = Plan("default", "tcg", {}, KERNELS, (), (1, 2, 4), budget_s=60.0)
    assert limited(plan, Options()) == plan, "the same budget again"
    assert limited(plan, Options(budget_s=90.0)) == replace(plan, budget_s=90.0)
    assert limited(plan, Options(rounds=5)) == replace(plan, looks=(5,), budget_s=None)


# --- what is refused -------------------------------------------------------------------------------

Change = Callable[[Bench], None]


def another_build(bench: Bench) -> None:
    bench.kernels = Kernels(REFERENCE, (replace(CANDIDATE, sha256="c" * 64),))


def not_to_be_had(bench: Bench) -> None:
    bench.kernels = Kernels(REFERENCE, (failed(name=B),))


def another_l2(bench: Bench) -> None:
    bench.l2_kernel = replace(L2_KERNEL, build_id="ff" * 20)


def another_qemu(bench: Bench) -> None:
    bench.qemu = "9.1"


def more_kernels(bench: Bench) -> None:
    bench.kernels = Kernels(REFERENCE, (CANDIDATE, replace(CANDIDATE, name="third")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            another_build,
            f"kernel {B} is another build: 6.12.117, sha256 cccccccccccc, it was 6.12.117, sha256 b",
        ),
        (not_to_be_had, f"kernel {B} is another build: not to be had, it was 6.12.117, sha256 bbbb"),
        (another_l2, f"the kernel of L2 is another build: build id {'ff' * 20}, it was {L2_KERNEL.build_id}"),
        (another_qemu, "qemu is 9.1, it was 7.2"),
        (more_kernels, f"kernels are {A}, {B}, third, they were {A}, {B}"),
    ],
)
def test_other_kernels_or_machines_are_refused(bench: Bench, change: Change, message: str) -> None:
    bench.rounds = 3
    bench.start()
    change(bench)
    told, hint = bench.refused("--resume", "out")
    assert told.startswith(f"--resume: {message}") and "are not mixed" in hint
    assert bench.labs == 1


def test_the_same_is_not_refused() -> None:
    plan = Plan("default", "tcg", {"cpu": "x", "cpus": "2", "qemu": "7.2"}, KERNELS, (), (1,))
    check_same(plan, Prepared(None, "7.2", KERNELS), {"cpu": "x", "cpus": "8", "qemu": "7.2"})
    with pytest.raises(ConfigError, match="--resume: cpu is y, it was x"):
        check_same(plan, Prepared(None, "7.2", KERNELS), {"cpu": "y", "qemu": "7.2"})


def test_another_l0_is_another_machine_where_l1_runs_on_it() -> None:
    host = Host(
        "x", 2, 4096, Vendor.AMD, KvmDevice.USABLE, frozenset({"svm", "npt"}), {"kvm_amd.nested": "1"}
    )
    before = run_module.host_facts(replace(host, kernel="6.1", microcode="0x1"), choose(host), "7.2")
    assert (before["kernel"], before["microcode"], before["features"]) == ("6.1", "0x1", "svm,npt")
    plan = Plan("default", "kvm", before, KERNELS, (), (1,))
    prepared = Prepared(None, "7.2", KERNELS)
    check_same(plan, prepared, before)
    after = run_module.host_facts(replace(host, kernel="6.12", microcode="0x1"), choose(host), "7.2")
    with pytest.raises(ConfigError, match=r"--resume: kernel is 6.12, it was 6.1"):
        check_same(plan, prepared, after)
    assert "kernel" not in run_module.host_facts(host, choose(host, "tcg"), "7.2"), "the emulator has its own"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--kernels", "unpatched,patched"), "--kernels"),
        (("--profile", "default"), "--profile"),
        (("--tests", "asyncpf"), "--tests"),
        (("--mmu", "tdp"), "--mmu"),
        (("--accel", "auto"), "--accel"),
        (("--out", "elsewhere"), "--out"),
        (("--expect", "zap:fewer"), "--expect"),
        (("--git", "linux"), "--git"),
        (("--3way",), "--3way"),
        (("--list",), "--list"),
        (("fix.patch",), "fix.patch"),
    ],
)
def test_what_was_decided_then_is_not_given_again(bench: Bench, words: tuple[str, ...], named: str) -> None:
    message, hint = bench.refused("--resume", "out", *words)
    assert message == f"--resume out: {named} does not go with it" and "--budget" in hint


def test_rounds_and_budget_exclude_each_other(bench: Bench) -> None:
    done = bench.terminal.run("run", "--rounds", "2", "--budget", "20m")
    assert done.returncode == Exit.USAGE
    assert "argument --budget: not allowed with argument --rounds" in done.stderr


@pytest.mark.parametrize("words", [(), ("--resume", "out")])
def test_a_budget_has_a_unit(bench: Bench, words: tuple[str, ...]) -> None:
    message, hint = bench.refused(*words, "--budget", "20")
    assert message == "--budget: a time with its unit was wanted, seen: '20'" and "20m" in hint


def test_what_is_no_run_that_can_be_gone_on_with(bench: Bench, tmp_path: Path) -> None:
    message, _ = bench.refused("--resume", "out")
    assert message == f"--resume {bench.out}: not a result directory (no plan.json)"
    message, hint = bench.refused("--resume", RECORDED)
    assert message == f"--resume {RECORDED}: how its kernels were named was not recorded"
    assert "--out" in hint
    bench.rounds = 1
    bench.start()
    plan = json.loads((bench.out / PLAN_FILE).read_text())
    (bench.out / PLAN_FILE).write_text(json.dumps(plan | {"directory": f"{tmp_path}/gone"}))
    message, _ = bench.refused("--resume", "out")
    assert message.endswith(f"{tmp_path}/gone, where the run began, is not there any more")


def test_a_run_that_still_runs_is_not_resumed(bench: Bench) -> None:
    bench.rounds = 1
    bench.start()
    with held(bench.out):
        message, hint = bench.refused("--resume", "out")
    assert message == f"{bench.out}: another run is measuring into it" and "wait" in hint


# --- what the labs of several sittings leave -------------------------------------------------------


def test_boots_are_counted_on(tmp_path: Path, machines: list[Any]) -> None:
    """A boot of a later sitting is another one, and its console another file."""
    for name in (f"{A}.1", f"{A}.2", f"{A}.10", f"{A}.2.3", "lab.log", f"{B}.x"):
        (tmp_path / "lab" / name).mkdir(parents=True)
    assert [boots(tmp_path, name) for name in (A, f"{A}.2", B, "other")] == [10, 3, 0, 0]
    slot = Slot(replace(make_spec(tmp_path / "lab", A), boots={A: 10}), A)
    assert slot.acquire().boot == 11
    assert slot.acquire().console.parent == tmp_path / "lab" / f"{A}.11"


def test_complaints_of_an_earlier_lab_are_kept(tmp_path: Path) -> None:
    write_late(tmp_path / "lab", {A: ["one"], B: ["two"]})
    write_late(tmp_path / "lab", {})
    write_late(tmp_path / "lab", {B: ["three"], "c": ["four"]})
    assert read_late(tmp_path) == {A: ("one",), B: ("two", "three"), "c": ("four",)}
