# SPDX-License-Identifier: GPL-2.0-or-later
"""Build, or find in the cache, everything that a run needs."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from guestloop.cache import Cache
from guestloop.cache.digests import remembered_digest
from guestloop.ground.log import say
from guestloop.images import L1Image, build_l1, build_l2
from guestloop.job.changes import watched_by, with_changes
from guestloop.job.obtain import obtain_kernels, plan_kernels
from guestloop.job.spawner import check_semaphores
from guestloop.job.subjects import Subject
from guestloop.kernels import Kernel, build_l2_kernel, describe_l2_kernel
from guestloop.lab.spec import LabSpec
from guestloop.machines.choice import AUTO, Choice, choose
from guestloop.machines.host import Host, read_host
from guestloop.machines.host_lock import refuse_if_taken
from guestloop.machines.kind import Qemu
from guestloop.results.late import LAB_DIRECTORY
from guestloop.results.plan import Kernels, L2Kernel
from guestloop.results.sizes import USUAL, Sizes
from guestloop.vm.parts import Keys, L1Parts
from guestloop.vm.payload import agent_digest, build_payload


@dataclass(frozen=True)
class Prepared:
    """What to boot, the QEMU that runs it, and the kernels of L1 as the plan names them.

    ``lab`` is None when nothing is left to be measured: no candidate compiles.
    """

    lab: LabSpec | None
    qemu: str
    kernels: Kernels

    @property
    def l2_kernel(self) -> L2Kernel | None:
        return self.lab.l2_kernel if self.lab else None

    @property
    def digests(self) -> Mapping[str, str]:
        """SHA-256 of what all rounds run with beside the kernels, as the plan has them."""
        return self.lab.digests if self.lab else {}


def find_machine(accel: str = AUTO, *, wait: bool = True) -> tuple[Host, Choice]:
    """This host, and the kind of machine that runs its L1s, which is printed.

    Raises LabError when the wanted one cannot be had here, or when no job can run. Without ``wait`` also when
    another run uses this host now: nothing is built then.
    """
    check_semaphores()
    host = read_host()
    machine = choose(host, accel)
    say(f"==> accelerator: {machine}")
    if machine.kind.borrows_host and not wait:
        refuse_if_taken()
    return host, machine


def prepare(
    subjects: Sequence[Subject], machine: Choice, out: Path, cache: Cache, sizes: Sizes = USUAL
) -> Prepared:
    """Build the kernels and images that are not cached. L2 runs the same kernel under all kernels.

    Raises what ``obtain_kernels`` does, and LabError for what this machine lacks.
    """
    with cache.disk_errors():
        cache.sweep()
    qemu = machine.kind.find_qemu(cache)
    # Images first: they take seconds, and show at once when root or a package source is missing.
    root = build_l1(cache)
    build_l2(cache)
    # Before L2's kernel: a series that does not compile is shown without waiting for it.
    found = obtain_kernels(subjects, machine.vendor.module, cache)
    planned = with_changes(plan_kernels(found), found, cache)
    named = {one.subject.name: one.kernel for one in found if one.kernel}
    left = len(planned.measured) > 1
    lab = _make_lab(named, root, qemu, machine, out, cache, sizes) if left else None
    if lab:
        lab = replace(lab, watched=watched_by(planned))
    return Prepared(lab, qemu.description, planned)


def _make_lab(
    kernels: Mapping[str, Kernel],
    root: L1Image,
    qemu: Qemu,
    machine: Choice,
    out: Path,
    cache: Cache,
    sizes: Sizes,
) -> LabSpec:
    """What the lab boots: an L1 for each kernel, and what all L2s run."""
    l2, l2_kernel = build_l2(cache), build_l2_kernel(cache, cpus=sizes.most_l2_cpus)
    words = machine.kind.kernel_words()
    return LabSpec(
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
                sizes=sizes,
            )
            for name, kernel in kernels.items()
        },
        requests={name: kernel.tlb_flush_request for name, kernel in kernels.items()},
        l2_kernel=describe_l2_kernel(l2_kernel),
        boots={name: boots(out, name) for name in kernels},
        digests={
            "qemu": remembered_digest(qemu.program, cache),
            "l1_root": root.sha256,
            "agent": agent_digest(),
            "l2_initramfs": l2.sha256,
        },
    )


def boots(out: Path, kernel: str) -> int:
    """How often the L1 of a kernel was booted in a result directory: each boot has a directory of its own."""
    found = (path.name.removeprefix(f"{kernel}.") for path in (out / LAB_DIRECTORY).glob(f"{kernel}.*"))
    return max((int(number) for number in found if number.isdecimal()), default=0)
