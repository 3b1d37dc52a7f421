# SPDX-License-Identifier: GPL-2.0-or-later
"""Result directories of packaged kernels, as a history is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from samples import L2_KERNEL, SHADOW, TDP, compare, make_round

from guestloop.history.runs import Run, reduce_result
from guestloop.report import read_result, write_verdict
from guestloop.results.cells import Cell, Mmu
from guestloop.results.origin import Origin, OriginKind
from guestloop.results.plan import Kernels, L2Kernel, Plan, PlannedKernel, Reach
from guestloop.results.records import DIGEST, L2_BUILD_ID, Round
from guestloop.results.sittings import Sitting

PATCHED = "0001-KVM.patch"
WAY = Cell("migration", Mmu.TDP, {"load": "mix", "way": "precopy", "vcpus": "2"}, usual=("vcpus",))
HOST = {"cpu": "AMD EPYC", "cpus": "2", "qemu": "7.2.22", "accelerator_reason": "no svm"}


def package(version: str, **more: Any) -> PlannedKernel:
    """A kernel of Debian, ``6.12.117-1``."""
    release = f"{version.partition('-')[0]}+deb13-cloud-amd64"
    name = f"linux-image-{release}"
    origin = Origin(
        OriginKind.PACKAGE,
        f"deb:{version}",
        name,
        version,
        {f"{name}.deb": "d" * 64},
        "sid",
        "Sat, 21 Nov 2026 09:15:44 UTC",
        verified=True,
    )
    sha256 = version.encode().hex().ljust(64, "0")
    kernel = PlannedKernel(version, release, f"{name} {version}", (), sha256, Reach(), origin)
    return replace(kernel, **more)


def ready(cell: Cell, kernel: str, number: int, flushes: int, **more: Any) -> Round:
    """A round with this many flushes on async_page_ready, for 8192 visited pages."""
    work: dict[str, Any] = {"work": {"pages_visited": 8192}, "work_unit": "pages_visited"}
    facts = {L2_BUILD_ID: L2_KERNEL.build_id, f"{DIGEST}l2_initramfs": "f" * 64, "boot.compiler": "gcc"}
    return make_round(cell, kernel, number, flushes, **{**work, "facts": facts, **more})


def plan_for(
    kernels: Sequence[PlannedKernel],
    cells: Sequence[Cell],
    run_id: str,
    rounds: int = 2,
    l2_kernel: L2Kernel = L2_KERNEL,
    **more: Any,
) -> Plan:
    plan = Plan(
        "default",
        "tcg",
        HOST,
        Kernels(kernels[0], tuple(kernels[1:])),
        tuple(cells),
        (rounds,),
        l2_kernel=l2_kernel,
        run_id=run_id,
        started="2026-04-08T09:31:07+00:00",
    )
    return replace(plan, **more)


Flushes = Mapping[PlannedKernel | str, Sequence[int]]


def rounds_for(
    kernels: Sequence[PlannedKernel], cells: Sequence[Cell], flushes: Sequence[Sequence[int]], **more: Any
) -> list[Round]:
    """Rounds of each cell alike: of each kernel one for each figure."""
    return [
        ready(cell, kernel.name, number, seen, **more)
        for cell in cells
        for kernel, own in zip(kernels, flushes, strict=True)
        for number, seen in enumerate(own, 1)
    ]


def write_run(out: Path, plan: Plan, rounds: Sequence[Round], late: Mapping[str, Sequence[str]] = {}) -> Path:
    """A result directory, as scripts/run leaves it."""
    out.mkdir(parents=True, exist_ok=True)
    sittings = [Sitting(1, 0, plan.looks, None, ended="2026-04-08T09:51:07+00:00")]
    write_verdict(out, plan, compare(plan, rounds, late), sittings, replace=True)
    return out


def releases(
    out: Path,
    flushes: Mapping[str, Sequence[int]],
    cells: Sequence[Cell] = (SHADOW, TDP),
    **more: Any,
) -> Path:
    """A run of packaged kernels: by version, the flushes of each round in every cell."""
    kernels = [package(version) for version in flushes]
    most = min(map(len, flushes.values()))
    plan = plan_for(kernels, cells, **{"run_id": out.name, "rounds": most, **more})
    return write_run(out, plan, rounds_for(kernels, cells, list(flushes.values())))


def read_run(out: Path) -> Run:
    return reduce_result(read_result(out))
