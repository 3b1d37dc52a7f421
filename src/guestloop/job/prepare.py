# SPDX-License-Identifier: GPL-2.0-or-later
"""Build, or find in the cache, everything that a run needs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import Cache
from guestloop.ground.log import say
from guestloop.images import build_l1, build_l2
from guestloop.job.subjects import Subject
from guestloop.kernels import Kernel, build_l2_kernel, describe_l2_kernel, unnamed_callers
from guestloop.kernels.options import telling_options
from guestloop.lab.spec import LabSpec
from guestloop.machines.choice import Choice
from guestloop.results.late import LAB_DIRECTORY
from guestloop.results.plan import Kernels, L2Kernel, PlannedKernel
from guestloop.vm.parts import Keys, L1Parts
from guestloop.vm.payload import build_payload


@dataclass(frozen=True)
class Prepared:
    """What to boot, the QEMU that runs it, and the kernels of L1 and of L2 as the plan names them."""

    lab: LabSpec
    qemu: str
    kernels: Kernels
    l2_kernel: L2Kernel


def prepare(subjects: Sequence[Subject], machine: Choice, out: Path, cache: Cache) -> Prepared:
    """Build the kernels and images that are not cached. L2 runs the same kernel under all kernels."""
    with cache.disk_errors():
        cache.sweep()
    qemu = machine.kind.find_qemu(cache)
    # Images first: they take seconds, and show at once when root or a package source is missing.
    root = build_l1(cache)
    l2 = build_l2(cache)
    # Before L2's kernel: a patch that does not apply is shown without waiting for it.
    kernels = [subject.obtain(cache) for subject in subjects]
    for kernel in kernels:
        kernel.require_module(machine.vendor.module)
    l2_kernel = build_l2_kernel(cache)
    words = machine.kind.kernel_words()
    named = {subject.name: kernel for subject, kernel in zip(subjects, kernels, strict=True)}
    lab = LabSpec(
        socket=f"guestloop-{secrets.token_hex(8)}",
        directory=out / LAB_DIRECTORY,
        vendor=machine.vendor,
        parts={
            name: L1Parts(
                name=name,
                program=qemu.program,
                cpu_argv=machine.kind.cpu_argv,
                kernel_words=words,
                machine_faults=machine.kind.faults,
                kernel=kernel.image,
                initramfs=kernel.initramfs,
                build_id=kernel.build_ids["vmlinux"],
                root=root.disk,
                payload=build_payload(cache, kernel.modules, l2_kernel.image, l2.initramfs),
                keys=Keys(root.client_key, root.host_key),
            )
            for name, kernel in named.items()
        },
        requests={name: kernel.tlb_flush_request for name, kernel in named.items()},
        l2_kernel=describe_l2_kernel(l2_kernel),
    )
    reference, *candidates = (
        _plan_kernel(subject, kernel) for subject, kernel in zip(subjects, kernels, strict=True)
    )
    return Prepared(lab, qemu.description, Kernels(reference, tuple(candidates)), lab.l2_kernel)


def _plan_kernel(subject: Subject, kernel: Kernel) -> PlannedKernel:
    """Describe a kernel for the plan, and say which of its flushes will have no named path."""
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
    )
