# SPDX-License-Identifier: GPL-2.0-or-later
"""Build the kernels of a run. A candidate that cannot be built does not stop the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guestloop.cache import Cache
from guestloop.ground.errors import ConfigError, GuestloopError, NotBuilt
from guestloop.ground.log import say
from guestloop.job.subjects import Subject, refuse_if_none_is_left
from guestloop.kernels import Kernel, unnamed_callers
from guestloop.kernels.options import telling_options
from guestloop.results.plan import Kernels, PlannedKernel
from guestloop.results.provenance import Failure


@dataclass(frozen=True)
class Obtained:
    """A kernel of the run, or why there is none: ``error`` is set where ``kernel`` is not."""

    subject: Subject
    kernel: Kernel | None = None
    error: GuestloopError | None = None


def obtain_kernels(subjects: Sequence[Subject], module: str, cache: Cache) -> tuple[Obtained, ...]:
    """Build the kernels, the reference first. ``module`` is KVM's for the CPU that L1 sees.

    Raises what the reference raises; what a candidate raises that says nothing about its series, such as a
    full disk; and ConfigError if no candidate is left and none of them was refused by the compiler.
    """
    reference, *candidates = subjects
    found = [
        Obtained(reference, _obtain(reference, module, cache)),
        *(_try(candidate, module, cache) for candidate in candidates),
    ]
    refuse_if_none_is_left([one.error for one in found[1:]])
    return tuple(found)


def _obtain(subject: Subject, module: str, cache: Cache) -> Kernel:
    kernel = subject.obtain(cache)
    kernel.require_module(module)
    return kernel


def _try(subject: Subject, module: str, cache: Cache) -> Obtained:
    try:
        return Obtained(subject, _obtain(subject, module, cache))
    except (ConfigError, NotBuilt) as error:
        say(f"==> {subject.name} is not measured: {error.render().removeprefix(f'{subject.name}: ')}")
        return Obtained(subject, error=error)


def plan_kernels(found: Sequence[Obtained]) -> Kernels:
    """The kernels as the plan has them."""
    reference, *candidates = map(_plan_kernel, found)
    return Kernels(reference, tuple(candidates))


def _plan_kernel(found: Obtained) -> PlannedKernel:
    """Describe a kernel for the plan, and say which of its flushes will have no named path."""
    subject, kernel = found.subject, found.kernel
    if kernel is None:
        assert found.error is not None
        return subject.plan_without(Failure.of(found.error, subject.name))
    unnamed = unnamed_callers(kernel.flush_callers)
    if unnamed:
        say(f"==> {subject.name}: flushes that may be counted as other: {', '.join(unnamed)}")
    return PlannedKernel(
        name=subject.name,
        release=kernel.release,
        base=kernel.base,
        series=kernel.series,
        sha256=kernel.sha256,
        reach=subject.reach,
        origin=subject.origin(kernel),
        unnamed_callers=unnamed,
        options=telling_options(kernel.config),
        provenance=subject.provenance,
        expect=subject.expect,
        build_ids=kernel.build_ids,
    )
