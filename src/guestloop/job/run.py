"""``scripts/run``: from options to an exit status."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from guestloop.cache import Cache
from guestloop.compare import Verdict, compare
from guestloop.config import Profile, load_profiles, suggest
from guestloop.ground.errors import ConfigError, Exit
from guestloop.ground.log import say
from guestloop.job.measure import measure
from guestloop.job.prepare import Prepared, load_kernels, prepare
from guestloop.job.session import running_lab
from guestloop.machines.choice import AUTO, Choice, choose
from guestloop.machines.host import Host, read_host
from guestloop.report import render_text, write_verdict
from guestloop.results.plan import PLAN_FILE, Plan, read_plan, write_plan
from guestloop.results.records import read_rounds
from guestloop.workloads.catalog import AXES
from guestloop.workloads.selection import Selection, select


@dataclass(frozen=True)
class Options:
    """What the command line asked for; of the kernels the first is the reference."""

    profile: str = "default"
    kernels: tuple[str, ...] = ("unpatched", "patched")
    tests: tuple[str, ...] = ()
    mmu: tuple[str, ...] = ()
    rounds: int | None = None
    accel: str = AUTO
    out: Path | None = None


def chosen_profile(options: Options) -> Profile:
    """The profile, with ``--rounds`` in place of its own. Raises ConfigError for an unknown one."""
    profiles = load_profiles(AXES)
    if options.profile not in profiles:
        hint = suggest(options.profile, profiles, "profiles")
        raise ConfigError(f"unknown profile {options.profile!r}", hint=hint)
    profile = profiles[options.profile]
    return replace(profile, rounds=options.rounds) if options.rounds else profile


def list_cells(options: Options) -> list[str]:
    """The cells that would run, a line each; touches nothing."""
    kernels = load_kernels(options.kernels)
    profile = chosen_profile(options)
    selection = select(profile, options.tests, options.mmu)
    size = f"x {profile.rounds} rounds x {len(kernels)} kernels"
    lines = [f"{cell.id}  {size}" for cell in selection.cells]
    return lines + [f"left out: {cell}" for cell in selection.left_out]


def run(options: Options) -> Exit:
    """Build, measure, compare, report. Raises GuestloopError when it cannot."""
    started = time.monotonic()
    profile = chosen_profile(options)
    selection = select(profile, options.tests, options.mmu)
    specs = load_kernels(options.kernels)
    host = read_host()
    machine = choose(host, options.accel)
    say(f"==> accelerator: {machine}")
    out = new_directory(options.out)
    prepared = prepare(specs, machine, out, Cache())
    plan = make_plan(profile, selection, prepared, host, machine)
    write_plan(out, plan)
    with running_lab(prepared.lab, out):
        complete = measure(plan, out, fresh_boots=profile.fresh_boots)
    if not complete:
        say(f"interrupted: {len(read_rounds(out))} rounds are in {out}; scripts/compare {out} compares them")
        return Exit.INTERRUPTED
    verdict = conclude(out)
    say(f"==> {time.monotonic() - started:.0f} s in all")
    return verdict.exit_status


def conclude(out: Path, *, replace_old: bool = False) -> Verdict:
    """Compare the rounds of a result directory, write its verdict, and print it."""
    plan = read_plan(out)
    verdict = compare(plan, read_rounds(out))
    write_verdict(out, plan, verdict, replace=replace_old)
    print(render_text(plan, verdict, colour=sys.stdout.isatty(), out=out), flush=True)
    return verdict


def make_plan(
    profile: Profile, selection: Selection, prepared: Prepared, host: Host, machine: Choice
) -> Plan:
    """What this run sets out to do."""
    return Plan(
        profile=profile.name,
        accelerator=machine.kind.name,
        host=host_facts(host, machine, prepared.qemu),
        kernels=prepared.kernels,
        cells=selection.cells,
        rounds=profile.rounds,
        left_out=selection.left_out,
    )


def host_facts(host: Host, machine: Choice, qemu: str) -> dict[str, str]:
    """What a result says of the machine that it comes from."""
    return {
        "cpu": host.model,
        "cpus": str(host.cpus),
        "memory_mib": str(host.memory_mib),
        "qemu": qemu,
        "accelerator_reason": machine.reason,
    }


def new_directory(wanted: Path | None) -> Path:
    """A directory for results that holds none yet. Raises ConfigError rather than mix two runs."""
    out = wanted or Path("results") / time.strftime("%Y%m%d-%H%M%S")
    if wanted and ((out / PLAN_FILE).exists() or (out / "rounds").exists()):
        raise ConfigError(f"--out {out}: there are results in it already", hint="name another directory")
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
