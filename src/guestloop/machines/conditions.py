# SPDX-License-Identifier: GPL-2.0-or-later
"""What surrounds an L1 on this machine: what else uses it, how it is set, and what limits this process.

Read below a root directory, as host.py does. Nothing here decides whether an L1 can run; it decides what a
measurement is worth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from guestloop.machines.cgroups import read_cgroups
from guestloop.machines.host import read_meminfo, read_text

_CHOSEN = re.compile(r"\[([^]]*)\]")
_MIB = 1 << 20
BOOT_ID = Path("proc/sys/kernel/random/boot_id")

CONTAINER_FILES = {".dockerenv": "docker", "run/.containerenv": "podman"}
GUEST_PROGRAMS = ("qemu-system", "qemu-kvm", "kvm", "firecracker", "cloud-hyperviso", "crosvm")
"""How the names of programs begin that run guests; the kernel keeps 15 characters (TASK_COMM_LEN)."""


@dataclass(frozen=True)
class Conditions:
    """Empty, or None, is what the kernel does not say. Memory in MiB.

    ``smt`` is /sys/devices/system/cpu/smt/control, ``governors`` are those of all CPUs, ``thp`` is what is
    chosen of transparent_hugepage/enabled. ``memory_mib`` is what may still be used: available memory, and
    the limits of this process's cgroups. ``cpus`` is how many CPUs this process may run on, ``quota`` the
    time of how many CPUs its cgroups leave it. ``container`` and ``hypervisor`` are what this machine is,
    empty for a bare one. ``kvm_users`` is the reference count of KVM's module: guests, and other users of
    it; None for a KVM that is built in or not there. ``guests`` are the pids of programs that run guests.
    """

    boot_id: str
    smt: str
    governors: tuple[str, ...]
    thp: str
    ksm: bool
    swap_used_mib: int
    memory_mib: int
    cpus: int
    quota: float | None
    load: float
    container: str
    hypervisor: str
    wsl: bool
    kvm_users: int | None
    guests: tuple[int, ...]
    old_microcode: bool


def read_conditions(root: Path = Path("/")) -> Conditions:
    """Look at /proc, /sys and /run below ``root``."""
    memory = read_meminfo(root)
    release = read_text(root / "proc/sys/kernel/osrelease").lower()
    return Conditions(
        boot_id=read_boot_id(root),
        smt=read_text(root / "sys/devices/system/cpu/smt/control"),
        governors=_governors(root),
        thp=_chosen(read_text(root / "sys/kernel/mm/transparent_hugepage/enabled")),
        ksm=read_text(root / "sys/kernel/mm/ksm/run") == "1",
        swap_used_mib=memory.get("SwapTotal", 0) - memory.get("SwapFree", 0),
        memory_mib=available_mib(root),
        cpus=len(allowed_cpus(root)),
        quota=cpu_quota(root),
        load=float((read_text(root / "proc/loadavg").split() or ["0"])[0]),
        container=_container(root),
        hypervisor=_hypervisor(root),
        wsl="microsoft" in release,
        kvm_users=_kvm_users(root),
        guests=tuple(sorted(_guests(root))),
        old_microcode=read_text(root / "sys/devices/system/cpu/vulnerabilities/old_microcode")
        == "Vulnerable",
    )


def read_boot_id(root: Path = Path("/")) -> str:
    """What tells this boot of the machine from every other one (drivers/char/random.c: proc_do_uuid)."""
    return read_text(root / BOOT_ID)


def available_mib(root: Path = Path("/")) -> int:
    """Memory that may still be used, see Conditions."""
    return min([read_meminfo(root).get("MemAvailable", 0), *_memory_limits(root)])


def allowed_cpus(root: Path = Path("/")) -> tuple[int, ...]:
    """The CPUs that this process may run on (sched_setaffinity(2), cpusets)."""
    return parse_cpus(_status(root, "Cpus_allowed_list"))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The time of how many CPUs this process may use, see Conditions."""
    return min(_quotas(root), default=None)


def parse_cpus(text: str) -> tuple[int, ...]:
    """The CPUs in a list such as ``0-3,8`` (lib/bitmap-str.c: bitmap_print_to_pagebuf)."""
    pairs = (part.partition("-") for part in text.split(",") if part)
    return tuple(cpu for first, _, last in pairs for cpu in range(int(first), int(last or first) + 1))


def _chosen(text: str) -> str:
    found = _CHOSEN.search(text)
    return found[1] if found else text


def _governors(root: Path) -> tuple[str, ...]:
    paths = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return tuple(sorted({read_text(path) for path in paths}))


def _status(root: Path, field: str) -> str:
    rows = (line.partition(":") for line in read_text(root / "proc/self/status").splitlines())
    return next((value.strip() for name, _, value in rows if name == field), "")


def _own_groups(root: Path) -> Iterator[Path]:
    """The cgroup of this process and those above it, as far as they can be seen."""
    own = read_cgroups(root).own
    while own is not None and own.is_relative_to(root / "sys/fs/cgroup"):
        yield own
        own = own.parent


def _memory_limits(root: Path) -> Iterator[int]:
    """What each limit of memory leaves (Documentation/admin-guide/cgroup-v2.rst)."""
    for group in _own_groups(root):
        limit, used = read_text(group / "memory.max"), read_text(group / "memory.current")
        if limit.isdigit() and used.isdigit():
            yield max(0, int(limit) - int(used)) // _MIB


def _quotas(root: Path) -> Iterator[float]:
    for group in _own_groups(root):
        quota, _, period = read_text(group / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            yield int(quota) / int(period)


def _container(root: Path) -> str:
    """As systemd-detect-virt finds it: what the manager has written, or the file that it leaves."""
    if named := read_text(root / "run/systemd/container"):
        return named
    return next((name for file, name in CONTAINER_FILES.items() if (root / file).exists()), "")


def _hypervisor(root: Path) -> str:
    """The hypervisor that this machine runs under; ``unknown`` for one that only shows in the CPU's flags."""
    flags = re.search(r"^flags\s*:.*\bhypervisor\b", read_text(root / "proc/cpuinfo"), re.MULTILINE)
    if not flags:
        return ""
    words = (read_text(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name"))
    return " ".join(filter(None, words)) or "unknown"


def _kvm_users(root: Path) -> int | None:
    """kernel/module/main.c: show_refcnt. Each VM holds a reference (virt/kvm/kvm_main.c: kvm_create_vm)."""
    counts = (read_text(root / "sys/module" / name / "refcnt") for name in ("kvm_amd", "kvm_intel"))
    return next((int(count) for count in counts if count.isdigit()), None)


def _guests(root: Path) -> Iterator[int]:
    for path in (root / "proc").glob("[0-9]*/comm"):
        if read_text(path).startswith(GUEST_PROGRAMS):
            yield int(path.parent.name)
