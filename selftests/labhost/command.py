# SPDX-License-Identifier: GPL-2.0-or-later
"""``scripts/test --lab-host``: the emulator first, then the same on lab hosts; what came of both."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import Cache
from guestloop.config import load_argument, load_kernel
from guestloop.ground import proc
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
from guestloop.results.plan import read_plan
from labhost.checks import problems
from labhost.environment import CHECKOUT, build_environment
from labhost.host import HostParts, running_host
from labhost.root import LAB, LabRoot, build_root
from labhost.session import Session
from labhost.stage import CACHE, RESULTS, SETTINGS, make_stage
from labhost.table import render_table
from labhost.trials import KERNELS, PACKAGE, STAYS, Size, Stay, Trial, profiles
from suite.stages import time_table

EMULATED, NESTED = "emulator", "lab-host"  # below the directory for results
REPORT = "lab-host.txt"


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
    out, cache, phases = new_directory(wanted), Cache(), Phases()
    say(f"==> results in {out}")
    emulated: list[Result] = []
    ended: list[Ended] = []
    try:
        with tempfile.TemporaryDirectory(prefix="stage-", dir=out) as scratch:
            with phases.timing("prepare"):
                root = build_root(cache)
                stage = Path(scratch) / LAB
                make_stage(stage, root, build_environment(cache, root), KERNELS, cache)
            emulated += _run_emulator(STAYS[size], stage / SETTINGS, out / EMULATED, phases)
            for stay in STAYS[size]:
                ended += _stay(stay, root, stage, out / NESTED, cache, phases)
    finally:
        lines = [*_table(out, emulated, ended), *_endings(ended), *time_table(phases.seconds)]
        report = "\n".join(lines)
        (out / REPORT).write_text(f"{report}\n")
        say(report)
    return 1 if any(one.problems for one in ended) else 0


def _run_emulator(stays: Sequence[Stay], settings: Path, out: Path, phases: Phases) -> Iterator[Result]:
    """The same profiles on the emulator, which the counts of the lab host are shown beside."""
    for profile in profiles(stays):
        say(f"==> {profile} on the emulator")
        command = [*python("guestloop.cli"), *_run_words("tcg", profile, str(out / profile))]
        with phases.timing("emulator"):
            proc.run(command, env={"XDG_CONFIG_HOME": str(settings)}, on_line=_show)
        yield read_result(out / profile)


def _stay(stay: Stay, root: LabRoot, stage: Path, out: Path, cache: Cache, phases: Phases) -> Iterator[Ended]:
    kernel = find_host_kernel(stay.kernel, cache)
    console = out / f"host-on-{kernel.name}"
    with ExitStack() as stack:
        with phases.timing("boot"):
            session = stack.enter_context(running_host(HostParts(kernel, root, stage), console, cache))
        for trial in stay.trials:
            say(f"==> {trial.name}: profile {trial.profile} on a lab host with {kernel.release}")
            with phases.timing(trial.name):
                yield _try(trial, session, out)


def find_host_kernel(name: str, cache: Cache) -> Kernel:
    """The kernel that a lab host runs itself: one of ours, or a packaged one."""
    if name == PACKAGE:
        (subject,) = find_subjects((load_argument(name),), Vendor.AMD.module, cache)
        return subject.obtain(cache)
    return build_kernel(load_kernel(name), cache)


def _try(trial: Trial, session: Session, out: Path) -> Ended:
    """One run on the host, whose results are brought home however it ended."""
    results = f"/{LAB}/{RESULTS}/{trial.name}"
    command = [f"/{LAB}/{CHECKOUT}/scripts/run", *_run_words("kvm", trial.profile, results)[1:]]
    environment = {"GUESTLOOP_CACHE": f"/{LAB}/{CACHE}", "XDG_CONFIG_HOME": f"/{LAB}/{SETTINGS}"}
    started = time.monotonic()
    status = session.run(command, environment, _show)
    seconds = time.monotonic() - started
    session.fetch(results, out / trial.name)
    left = (out / trial.name / VERDICT_FILE).exists()
    return Ended(trial, status, read_result(out / trial.name) if left else None, seconds)


def _run_words(accelerator: str, profile: str, out: str) -> list[str]:
    kernels = ",".join(KERNELS)
    return ["run", "--accel", accelerator, "--profile", profile, "--kernels", kernels, "--out", out]


def _show(line: str) -> None:
    say(f"    | {line}")


def _table(out: Path, emulated: Sequence[Result], ended: Sequence[Ended]) -> list[str]:
    nested = [one.result for one in ended if one.result]
    if not emulated or not nested:
        return []
    # All runs on the emulator are of one class.
    calibration = load_calibration(read_plan(out / EMULATED / emulated[0].profile))
    return render_table(emulated, nested, calibration)


def _endings(ended: Sequence[Ended]) -> Iterator[str]:
    for one in ended:
        how = "NOT AS IT SHOULD BE" if one.problems else "as it should be"
        yield f"==> {one.trial.name}: exit status {one.status} in {duration(one.seconds)}, {how}"
        yield from (f"      {problem}" for problem in one.problems)
