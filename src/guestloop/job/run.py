# SPDX-License-Identifier: GPL-2.0-or-later
"""``scripts/run``: from options to an exit status."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from guestloop.cache import Cache
from guestloop.config import Profile
from guestloop.ground.errors import ConfigError, Exit
from guestloop.ground.log import say
from guestloop.job.change import change_specs
from guestloop.job.changes import keep_reach, with_known_reach
from guestloop.job.conclude import conclude, conclude_interrupted
from guestloop.job.made_by import signed
from guestloop.job.measure import measure
from guestloop.job.options import Options, chosen_profile, load_kernels, wanted_layout
from guestloop.job.prepare import Prepared, find_machine, prepare
from guestloop.job.session import ANYWHERE, lab_on
from guestloop.job.sitting import CurrentSitting, describe_left
from guestloop.job.sizing import announce
from guestloop.job.subjects import find_subjects, fit_kernels, refuse_no_change
from guestloop.lab.spec import LabSpec
from guestloop.machines.choice import Choice, kind_named, labels
from guestloop.machines.host import Host
from guestloop.machines.layout import Share
from guestloop.results.hold import held
from guestloop.results.plan import PLAN_FILE, Plan, write_plan
from guestloop.results.records import read_rounds
from guestloop.results.sittings import Ending, Sitting
from guestloop.workloads.selection import Selection, select


def run(options: Options) -> Exit:
    """Build, measure, compare, report. Raises GuestloopError when it cannot."""
    started = time.monotonic()
    status = _run(options)
    say(f"==> {time.monotonic() - started:.0f} s in all")
    return status


def _run(options: Options) -> Exit:
    profile = chosen_profile(options)
    # Wrong names first, before anything is fetched or built.
    select(profile, options.tests, options.mmu)
    named = () if options.change else load_kernels(options.kernels)
    check_directory(options.out)
    host, machine = find_machine(options.accel, wait=options.wait)
    layout = wanted_layout(options, machine.kind)
    cache = Cache()
    specs = change_specs(options.change, cache) if options.change else named
    announce(layout, len(specs))
    selection = select(profile, options.tests, options.mmu, layout.sizes)
    specs = fit_kernels(specs, layout.sizes)
    subjects = find_subjects(specs, machine.vendor.module, cache, options.expect)
    if options.change:
        refuse_no_change(subjects)
    out = new_directory(options.out)
    with held(out):
        with removed_if_unused(out):
            prepared = prepare(subjects, machine, out, cache, layout.sizes)
        plan = signed(make_plan(options, profile, selection, prepared, host, machine))
        plan = with_known_reach(plan, cache)
        write_plan(out, plan)
        return measure_and_conclude(
            plan, prepared.lab, out, layout.shares, wait=options.wait, verbose=options.verbose
        )


def measure_and_conclude(
    plan: Plan,
    lab: LabSpec | None,
    out: Path,
    shares: Sequence[Share] = ANYWHERE,
    *,
    resumed: bool = False,
    wait: bool = True,
    verbose: bool = False,
) -> Exit:
    """Measure what is due in labs of its own, then compare and report. Without a lab nothing is measured.

    There is a lab on each of the ``shares`` of this machine. ``wait`` for a host that another run has
    borrowed; ``verbose`` prints every figure.
    """
    sitting = _measure(plan, lab, out, shares, wait) if lab else None
    if sitting and sitting.ending is Ending.INTERRUPTED:
        say(f"interrupted: {len(read_rounds(out))} rounds are in {out}; scripts/compare {out} compares them,")
        say(f"  scripts/run --resume {out} goes on")
        conclude_interrupted(out)
        return Exit.INTERRUPTED
    verdict = conclude(out, replace_old=resumed, verbose=verbose)
    for line in describe_left(sitting, out) if sitting else []:
        say(line)
    return verdict.exit_status


def _measure(plan: Plan, lab: LabSpec, out: Path, shares: Sequence[Share], wait: bool) -> Sitting:
    with lab_on(kind_named(plan.accelerator), lab, out, shares, wait=wait) as labs:
        sitting = CurrentSitting(plan, out, labs=labs)
        done = sitting.finish(measure(sitting))
    keep_reach(plan, read_rounds(out), out, Cache())
    return done


@contextmanager
def removed_if_unused(out: Path) -> Iterator[None]:
    """A directory for results, which goes again if the body fails before there are any."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            out.rmdir()
        raise


def make_plan(
    options: Options,
    profile: Profile,
    selection: Selection,
    prepared: Prepared,
    host: Host,
    machine: Choice,
) -> Plan:
    """What this run sets out to do."""
    return Plan(
        profile=profile.name,
        accelerator=machine.kind.name,
        host=host_facts(host, machine, prepared.qemu),
        kernels=prepared.kernels,
        cells=selection.cells,
        looks=profile.looks,
        left_out=selection.left_out,
        l2_kernel=prepared.l2_kernel,
        budget_s=profile.budget_s,
        fresh_boots=profile.fresh_boots,
        correctness_only=profile.correctness_only,
        arguments=options.arguments,
        directory=str(Path.cwd()),
        digests=prepared.digests,
        # A round that probes disturb gives no rate, so there has to be another one.
        probe_changed=profile.looks[-1] > 1,
        sizes=selection.sizes,
    )


def host_facts(host: Host, machine: Choice, qemu: str) -> dict[str, str]:
    """What a result says of the machine that it comes from.

    With nested KVM the kernel of L0 and what it passes on bear on what L1 does.
    """
    hardware = {"kernel": host.kernel, "microcode": host.microcode, "features": ",".join(labels(host))}
    return {
        "cpu": host.model,
        "cpus": str(host.cpus),
        "memory_mib": str(host.memory_mib),
        "qemu": qemu,
        "accelerator_reason": machine.reason,
        **(hardware if machine.kind.borrows_host else {}),
    }


def check_directory(wanted: Path | None) -> None:
    """Raise ConfigError for a place that no results can be written to, before anything is fetched or built.

    Two runs are not mixed, so one that has results already is no such place. Nothing is made.
    """
    out = wanted or Path("results")
    try:
        if wanted and ((out / PLAN_FILE).exists() or (out / "rounds").exists()):
            raise ConfigError(f"--out {out}: there are results in it already", hint="name another directory")
        there = next(path for path in (out, *out.absolute().parents) if path.exists())
    except OSError as error:  # a name that is too long, a directory that may not be entered
        raise ConfigError(f"--out {out}: {error.strerror}") from error
    if not there.is_dir():
        raise ConfigError(f"--out {out}: {there} is not a directory")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"--out {out}: {there} cannot be written", hint="name another directory by --out")


def new_directory(wanted: Path | None) -> Path:
    """A directory for results that holds none yet, see check_directory. Raises ConfigError like that."""
    check_directory(wanted)
    out = wanted or Path("results") / time.strftime("%Y%m%d-%H%M%S")
    try:
        if wanted:
            out.mkdir(parents=True, exist_ok=True)
        else:
            out = next(path for path in _numbered(out) if _made(path))
    except OSError as error:
        raise ConfigError(f"--out {out}: {error.strerror}") from error
    return out.absolute()


def _numbered(base: Path) -> Sequence[Path]:
    return [base, *(base.with_name(f"{base.name}.{number}") for number in range(2, 100))]


def _made(path: Path) -> bool:
    with suppress(FileExistsError):
        path.mkdir(parents=True)
        return True
    return False
