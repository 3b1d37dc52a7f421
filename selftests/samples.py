# SPDX-License-Identifier: GPL-2.0-or-later
"""Plans and rounds of asyncpf for the tests of what compares them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from guestloop import compare as comparing
from guestloop.compare import Calibration, Verdict
from guestloop.compare.calibration import Known
from guestloop.counters import FLUSH_REQUESTS
from guestloop.ground.errors import Kind
from guestloop.results.cells import Cell, Mmu
from guestloop.results.origin import Origin, OriginKind
from guestloop.results.plan import Kernels, L2Kernel, Plan, PlannedKernel, Reach
from guestloop.results.provenance import Failure
from guestloop.results.records import L2_BUILD_ID, Correctness, Outcome, Round
from guestloop.stats.samples import Scatter

SHADOW = Cell("asyncpf", Mmu.SHADOW, {"load": "read-shared"})
TDP = Cell("asyncpf", Mmu.TDP, {"load": "read-shared"})
BECAUSE = "the TDP MMU does not call mmu_spte_update()"
REACH = Reach((Mmu.SHADOW, Mmu.DIRECT), BECAUSE)
A, B = "unpatched", "patched"
BUILT = Origin(OriginKind.BUILT, A, "linux-source-6.12", "6.12.117")
REFERENCE = PlannedKernel(A, "6.12.117", "linux-source-6.12", (), "a" * 64, Reach(), BUILT)
CANDIDATE = replace(REFERENCE, name=B, series=("0001.patch",), sha256="b" * 64, reach=REACH)

DIGESTS = {"qemu": "d1" * 32, "agent": "d2" * 32}

L2_KERNEL = L2Kernel("6.12.117", "linux-source-6.12 6.12.117-1", "c" * 64, "gcc 12.2.0", "12cd" * 10)


class Steady(Calibration):
    """Good kernels whose rounds scatter by ``CV`` in all that is counted."""

    CV = 0.04

    def scatter(self, cell: str, test: str, statement: str, mean_count: float) -> Known:
        return Known(Scatter(self.CV**2, 30), calibrated=True)


def compare(plan: Plan, rounds: Sequence[Round], late: Mapping[str, Sequence[str]] | None = None) -> Verdict:
    """Compare with a scatter that is known, as it is in a run on a machine of a known class."""
    return comparing.compare(plan, rounds, late, Steady())


def plan_of(*kernels: PlannedKernel, cells: tuple[Cell, ...] = (SHADOW,), rounds: int = 2) -> Plan:
    """A plan for these kernels, the reference first."""
    reference, *candidates = kernels
    both = Kernels(reference, tuple(candidates))
    return Plan("default", "tcg", {"cpus": "2"}, both, cells, (rounds,), l2_kernel=L2_KERNEL)


def make_round(cell: Cell, kernel: str, number: int, ready: int, events: int = 1000, **more: Any) -> Round:
    """A measured round with this many flushes on async_page_ready; ``more`` are fields of the round."""
    paths = more.pop("paths", {"async_page_ready": ready, "mmu_notifier_unmap": events // 10})
    fields: dict[str, Any] = {
        "outcome": Outcome.MEASURED,
        "correctness": Correctness.PASS,
        "event": "page_ready",
        "events": {"page_ready": events},
        "counters": {FLUSH_REQUESTS: sum(paths.values())},
        "paths": paths,
        "judged": ("async_page_ready",),
        "seconds": 15.0,
        "facts": {L2_BUILD_ID: L2_KERNEL.build_id},
    }
    return Round(cell, kernel, number, number, **{**fields, **more})


def rounds_of(ready: Mapping[str, tuple[int, ...]], cell: Cell = SHADOW) -> list[Round]:
    """Rounds of a cell: for each kernel its flushes on async_page_ready, a figure per round."""
    return [
        make_round(cell, kernel, number, seen)
        for number, one_each in enumerate(itertools.zip_longest(*ready.values()), 1)
        for kernel, seen in zip(ready, one_each, strict=True)
        if seen is not None
    ]


def failed(kind: Kind = Kind.NOT_BUILT, name: str = "broken") -> PlannedKernel:
    """A candidate that could not be had."""
    reason = {
        Kind.NOT_APPLIED: "0001.patch: hunk 1 of mmu.c does not match",
        Kind.NOT_BUILT: "does not build: arch/x86/kvm/mmu/mmu.c:6:3: error: 'x' undeclared",
        Kind.CONFIG: "the series removes CONFIG_KVM_AMD",
    }[kind]
    failure = Failure(kind, reason, ("    6 |   x = 1;", "      |   ^"))
    return replace(CANDIDATE, name=name, release="", sha256="", failure=failure)
