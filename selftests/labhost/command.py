# SPDX-License-Identifier: GPL-2.0-or-later
"""``scripts/test --lab-host``: the emulator first, then the same on lab hosts; what came of both."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import Cache
from guestloop.config import load_argument, load_kernel
from guestloop.ground import proc
from guestloop.ground.errors import LabError
from guestloop.ground.isolated import python
from guestloop.ground.log import duration, say
from guestloop.job.calibration import load_calibration
from guestloop.job.run import new_directory
from guestloop.job.subjects import find_subjects
from guestloop.kernels import Kernel, build_kernel
from guestloop.machines.host import Vendor
from guestloop.report.reading import read_result
from guestloop.report.results import Result
from guestloop.report.verdict_json import VERDICT_FILE
from guestloop.results.good_rounds import RunClass
from guestloop.results.plan import read_plan
from labhost.checks import problems
from labhost.environment import CHECKOUT, build_environment
from labhost.host import HostParts, running_host
from labhost.root import LAB, build_root
from labhost.session import Session
from labhost.stage import CACHE, RESULTS, SETTINGS, make_stage
from labhost.table import render_table
from labhost.through_ssh import check_home, run_through_ssh
from labhost.trials import KERNELS, PACKAGE, STAYS, Size, Stay, Trial, profiles
from suite.stages import time_table

EMULATED, NESTED = "emulator", "lab-host"  # below the directory for results
REPORT = "lab-host.txt"
ON_HOST = {"GUESTLOOP_CACHE": f"/{LAB}/{CACHE}", "XDG_CONFIG_HOME": f"/{LAB}/{SETTINGS}"}


@dataclass(frozen=True)
class Ended:
    """How a trial ended: its exit status, what it left, and what of that is not as it should be."""

    trial: Trial
    status: int
    result: Result | None
    seconds: float

    @property
    def problems(self) -> list[str]:
        return problems(self.status, self.result)


class Phases:
    """What took how long, in the order of the beginnings."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Add the time of the body to a phase."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started


def run_lab_host(size: Size, wanted: Path | None = None) -> int:
    """Run it all; returns 0 when everything is as it should be, else 1.

    ``wanted`` is a directory for results, which is named by the time if it is None. Raises GuestloopError
    when something breaks before a run has ended, and then all that was started is gone.
    """
    _require_root()
    course = Course(new_directory(wanted), STAYS[size])
    say(f"==> {size.expected}; results in {course.out}")
    try:
        course.run()
    finally:
        report = "\n".join(course.report())
        (course.out / REPORT).write_text(f"{report}\n")
        say(report)
    return 1 if any(one.problems for one in course.ended) else 0


def _require_root() -> None:
    if os.geteuid() != 0:
        raise LabError(
            f"the root of a lab host can only be made and read as root; this is user {os.geteuid()}",
            hint="run scripts/test --lab-host as root",
        )


class Course:
    """One ``scripts/test --lab-host``, with what it has come to so far."""

    def __init__(self, out: Path, stays: Sequence[Stay]) -> None:
        self.out, self._stays = out, stays
        self.ended: list[Ended] = []
        self._emulated: list[Result] = []
        self._cache, self._phases = Cache(), Phases()
        self._total = sum(len(stay.trials) for stay in stays)

    def run(self) -> None:
        """The emulator first, which takes less time to show that something is amiss."""
        with tempfile.TemporaryDirectory(prefix="stage-", dir=self.out) as scratch:
            stage = Path(scratch) / LAB
            with self._phases.timing("prepare"):
                root = build_root(self._cache)
                make_stage(stage, root, build_environment(self._cache, root), KERNELS, self._cache)
            for profile in profiles(self._stays):
                self._emulate(profile, stage / SETTINGS)
            for stay in self._stays:
                kernel = find_host_kernel(stay.kernel, self._cache)
                self._stay(stay.trials, HostParts(kernel, root, stage))

    def _emulate(self, profile: str, settings: Path) -> None:
        """The same profile on the emulator, which the counts of the lab host are shown beside."""
        say(f"==> profile {profile} on the emulator")
        out = self.out / EMULATED / profile
        command = [*python("guestloop.cli"), *_run_words("tcg", profile, str(out))]
        with self._phases.timing("emulator"):
            proc.run(command, env={"XDG_CONFIG_HOME": str(settings)}, on_line=_show)
        self._emulated.append(read_result(out))

    def _stay(self, trials: Sequence[Trial], parts: HostParts) -> None:
        console = self.out / NESTED / f"host-on-{parts.kernel.name}"
        with ExitStack() as stack:
            with self._phases.timing("boot"):
                session = stack.enter_context(running_host(parts, console, self._cache))
            for trial in trials:
                number = f"{len(self.ended) + 1} of {self._total}"
                say(f"==> {number}: profile {trial.profile} on a lab host with {parts.kernel.release}")
                with self._phases.timing(trial.name):
                    self.ended.append(self._try(trial, session))

    def _try(self, trial: Trial, session: Session) -> Ended:
        """One run on the host, whose results are brought home however it ended."""
        if trial.through_ssh:
            return self._through_ssh(trial, session)
        words = _run_words("kvm", trial.profile, f"/{LAB}/{RESULTS}/{trial.name}")
        started = time.monotonic()
        status = session.run([f"/{LAB}/{CHECKOUT}/scripts/{words[0]}", *words[1:]], ON_HOST, _show)
        seconds = time.monotonic() - started
        # With those of the runs before it: a run that breaks at once leaves no directory of its own.
        session.fetch(f"/{LAB}/{RESULTS}", self.out / NESTED)
        home = self.out / NESTED / trial.name
        result = read_result(home) if (home / VERDICT_FILE).exists() else None
        return Ended(trial, status, result, seconds)

    def _through_ssh(self, trial: Trial, session: Session) -> Ended:
        """One that brings its results home itself. The host lacks the kernels, which are copied."""
        home = self.out / NESTED / trial.name
        status = session.run(["rm", "-r", f"/{LAB}/{CACHE}/kernel"], {}, _show)
        assert status == 0, "the stage has kernels"
        started = time.monotonic()
        status = run_through_ssh(_run_words("kvm", trial.profile, str(home)), session, self.out, _show)
        seconds = time.monotonic() - started
        check_home(home, session, self.out)
        return Ended(trial, status, read_result(home), seconds)

    def report(self) -> list[str]:
        """Lines: the table of counts, how each run ended, and where the time went."""
        return [*self._table(), *_endings(self.ended), *time_table(self._phases.seconds)]

    def _table(self) -> list[str]:
        nested = [one.result for one in self.ended if one.result]
        if not self._emulated or not nested:
            return []
        # All runs on the emulator are of one class.
        plan = read_plan(self.out / EMULATED / self._emulated[0].profile)
        calibration = load_calibration(RunClass.of(plan))
        return render_table(self._emulated, nested, calibration)


def find_host_kernel(name: str, cache: Cache) -> Kernel:
    """The kernel that a lab host runs itself: one of ours, or a packaged one."""
    if name == PACKAGE:
        (subject,) = find_subjects((load_argument(name),), Vendor.AMD.module, cache)
        return subject.obtain(cache)
    return build_kernel(load_kernel(name), cache)


def _run_words(accelerator: str, profile: str, out: str) -> list[str]:
    kernels = ",".join(KERNELS)
    return ["run", "--accel", accelerator, "--profile", profile, "--kernels", kernels, "--out", out]


def _show(line: str) -> None:
    say(f"    | {line}")


def _endings(ended: Sequence[Ended]) -> Iterator[str]:
    for one in ended:
        how = "NOT AS IT SHOULD BE" if one.problems else "as it should be"
        yield f"==> {one.trial.name}: exit status {one.status} in {duration(one.seconds)}, {how}"
        yield from (f"      {problem}" for problem in one.problems)
