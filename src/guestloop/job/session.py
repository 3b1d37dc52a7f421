# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab process of a run, and the environment by which tests find it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from guestloop.ground import proc
from guestloop.ground.isolated import python
from guestloop.ground.log import say
from guestloop.lab.spec import OUT_VARIABLE, SOCKET_VARIABLE, LabSpec, RunningLab
from guestloop.machines.containment import NOT_CONTAINED, Containment, Limits, contained
from guestloop.machines.host_lock import borrowed
from guestloop.machines.kind import MachineKind
from guestloop.machines.layout import Share, needed_mib
from guestloop.machines.pinning import pin

LAB_END_S = 30.0
TASKS = 128
"""Threads of the lab, or of a QEMU, which has up to 64 for its disks (util/thread-pool.c)."""

ANYWHERE = (Share((), 0),)
"""One lab, on any CPU."""


@contextmanager
def lab_on(
    kind: MachineKind, spec: LabSpec, out: Path, shares: Sequence[Share] = ANYWHERE, *, wait: bool = True
) -> Iterator[tuple[RunningLab, ...]]:
    """A lab on each share of this machine for as long as the body runs; one that is alone is found by tests.

    Those that use the host's KVM have the host for themselves. It is waited for until whoever uses it has
    ended. Raises LabError at once if ``wait`` is not set.
    """
    with ExitStack() as stack:
        inherited: tuple[int, ...] = ()
        if kind.borrows_host:
            inherited = (stack.enter_context(borrowed(wait=wait)),)
        parts = {name: replace(one, inherited=inherited) for name, one in spec.parts.items()}
        specs = [
            replace(spec, parts=parts).one_of(len(shares), number, _own_cpus(share))
            for number, share in enumerate(shares)
        ]
        for number, one in enumerate(specs, 1):
            containment = NOT_CONTAINED
            if kind.borrows_host:
                containment = stack.enter_context(contained(limits_of(one), number=number))
                say(f"==> {containment.text}")
            stack.enter_context(running_lab(one, out, containment, inherited))
        yield tuple(RunningLab(one.socket, one.cpus) for one in specs)


def _own_cpus(share: Share) -> tuple[int, ...]:
    """Those of a lab that is to be kept on them: none where it has all that there are."""
    return share.cpus if set(share.cpus) < os.sched_getaffinity(0) else ()


def limits_of(spec: LabSpec) -> Limits:
    """What a lab and its L1s may use."""
    number = len(spec.parts)
    return Limits(needed_mib(spec.sizes, number), TASKS * (number + 1))


@contextmanager
def running_lab(
    spec: LabSpec,
    out: Path,
    containment: Containment = NOT_CONTAINED,
    inherited: tuple[int, ...] = (),
) -> Iterator[None]:
    """A lab process for as long as the body runs. The L1s begin to boot at once.

    The lab ends when its stdin does: when the body is left, or when this process dies. ``inherited`` are
    descriptors that it keeps open.
    """
    spec.directory.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    command = [*containment.prefix, *python("guestloop.lab.server")]
    variables = {SOCKET_VARIABLE: spec.socket, OUT_VARIABLE: str(out)}
    with (spec.directory / "lab.log").open("ab") as log:
        try:
            with proc.spawn(command, stdin=reading, stdout=log, pass_fds=inherited) as process:
                os.close(reading)
                containment.add(process.pid)  # before it is told what to start
                pin(process.pid, spec.cpus)
                os.write(writing, spec.dump().encode() + b"\n")
                os.environ.update(variables)
                try:
                    yield
                finally:
                    for name in variables:
                        os.environ.pop(name, None)
                    os.close(writing)
                    with suppress(proc.STILL_RUNNING):  # then it is ended with all it started
                        process.wait(LAB_END_S)
        finally:
            log.flush()
