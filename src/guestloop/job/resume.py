# SPDX-License-Identifier: GPL-2.0-or-later
"""``scripts/run --resume OUT``: go on with a run that was interrupted, or whose budget was spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from guestloop.cache import Cache
from guestloop.ground.errors import ConfigError, Exit
from guestloop.ground.log import say
from guestloop.ground.words import plural
from guestloop.job.change import change_specs
from guestloop.job.looks import wanted_rounds
from guestloop.job.options import Options, load_kernels
from guestloop.job.prepare import Prepared, find_machine, prepare
from guestloop.job.run import host_facts, measure_and_conclude
from guestloop.job.schedule import all_looks
from guestloop.job.sizing import announce, lay_out_again
from guestloop.job.subjects import find_subjects, fit_kernels
from guestloop.machines.conditions import read_boot_id
from guestloop.machines.layout import Share
from guestloop.results.hold import held
from guestloop.results.plan import PLAN_FILE, Plan, PlannedKernel, read_plan
from guestloop.results.records import read_rounds
from guestloop.results.sittings import describe_end, read_sittings

AGAIN = "start a run of its own, with another --out"

SAME_HOST = ("cpu", "qemu", "kernel", "microcode", "features")
"""Facts of the host without which rounds are not comparable; the last three only bear on nested KVM."""


def read_resumable(out: Path) -> Plan:
    """The plan of a run that can be gone on with. Raises ConfigError for what is no such run."""
    if not (out / PLAN_FILE).is_file():
        raise ConfigError(f"--resume {out}: not a result directory (no {PLAN_FILE})")
    plan = read_plan(out)
    if not plan.arguments:
        raise ConfigError(f"--resume {out}: how its kernels were named was not recorded", hint=AGAIN)
    if not Path(plan.directory).is_dir():
        raise ConfigError(
            f"--resume {out}: {plan.directory}, where the run began, is not there any more",
            hint="its kernels are named from there",
        )
    return plan


def resume(out: Path, plan: Plan, options: Options) -> Exit:
    """Measure what is missing in ``out``, then what is open, and compare all of it.

    ``options`` were made from the words of ``plan.arguments``, of which only the kernels matter: everything
    else is as planned. Their ``rounds`` or ``budget_s`` are the new limit, and ``labs`` only decides how many
    rounds are measured side by side. Raises ConfigError when a kernel, or what it runs on, is not what was
    planned, or when there is no room for the sizes of the plan.
    """
    with held(out):
        plan = limited(plan, options)
        rounds = read_rounds(out)
        say(f"==> resumed: {plural(len(rounds), 'round')} of {out} are there")
        for last in read_sittings(out)[-1:]:
            say(f"==> {describe_end(last, read_boot_id())}")
        if not all_looks(plan, rounds, wanted_rounds(plan, rounds) if rounds else ()):
            say("==> nothing is missing, and no cell is open that may have more rounds")
            return measure_and_conclude(plan, None, out, resumed=True, verbose=options.verbose)
        prepared, shares = _prepare_again(plan, out, options)
        return measure_and_conclude(
            plan, prepared.lab, out, shares, resumed=True, wait=options.wait, verbose=options.verbose
        )


def limited(plan: Plan, options: Options) -> Plan:
    """The plan with the limit of this sitting in place of its own."""
    if options.rounds:
        return replace(plan, looks=(options.rounds,), budget_s=None)
    return replace(plan, budget_s=options.budget_s) if options.budget_s else plan


def _prepare_again(plan: Plan, out: Path, options: Options) -> tuple[Prepared, Sequence[Share]]:
    """What is booted, and where."""
    host, machine = find_machine(plan.accelerator, wait=options.wait)
    cache = Cache()
    specs = change_specs(options.change, cache) if options.change else load_kernels(options.kernels)
    layout = lay_out_again(plan.sizes, len(specs), min(options.labs or 1, len(plan.cells)))
    announce(layout, len(specs))
    specs = fit_kernels(specs, plan.sizes)
    subjects = find_subjects(specs, machine.vendor.module, cache, options.expect)
    prepared = prepare(subjects, machine, out, cache, plan.sizes)
    check_same(plan, prepared, host_facts(host, machine, prepared.qemu))
    return prepared, layout.shares


def check_same(plan: Plan, prepared: Prepared, host: dict[str, str]) -> None:
    """Raise ConfigError unless what would be measured now is what was measured before."""
    differing = [
        *_other_kernels(plan, prepared),
        *(
            f"{name} is {host.get(name)}, it was {plan.host[name]}"
            for name in SAME_HOST
            if name in plan.host and host.get(name) != plan.host[name]
        ),
    ]
    if differing:
        raise ConfigError(
            f"--resume: {differing[0]}",
            hint=f"rounds of different kernels or machines are not mixed: {AGAIN}",
        )


def _other_kernels(plan: Plan, prepared: Prepared) -> Iterator[str]:
    if plan.kernels.names != prepared.kernels.names:
        yield f"kernels are {', '.join(prepared.kernels.names)}, they were {', '.join(plan.kernels.names)}"
        return
    for was, now in zip(plan.kernels, prepared.kernels, strict=True):
        if was.sha256 != now.sha256:
            yield f"kernel {was.name} is another build: {_build(now)}, it was {_build(was)}"
    if plan.l2_kernel and prepared.l2_kernel and plan.l2_kernel.build_id != prepared.l2_kernel.build_id:
        was_id, now_id = plan.l2_kernel.build_id, prepared.l2_kernel.build_id
        yield f"the kernel of L2 is another build: build id {now_id}, it was {was_id}"


def _build(kernel: PlannedKernel) -> str:
    return f"{kernel.release}, sha256 {kernel.sha256[:12]}" if kernel.sha256 else "not to be had"
