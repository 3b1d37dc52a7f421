# SPDX-License-Identifier: GPL-2.0-or-later
"""What of this machine a run may use: cores, memory, and which are near each other.

Read below a root directory, as host.py does. How a run is laid out in it is for layout.py to say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from guestloop.machines.conditions import allowed_cpus, available_mib, cpu_quota, parse_cpus
from guestloop.machines.host import read_text

CPU, NODE = Path("sys/devices/system/cpu"), Path("sys/devices/system/node")


@dataclass(frozen=True)
class Core:
    """A core: those of its CPUs that this process may run on, and the NUMA node that it is on."""

    cpus: tuple[int, ...]
    node: int = 0


@dataclass(frozen=True)
class Room:
    """Cores in the order of their first CPUs; none where the kernel does not say.

    ``memory_mib`` is what may still be used, by node. ``quota`` is the time of how many CPUs the cgroups of
    this process leave it; None without a limit.
    """

    cores: tuple[Core, ...]
    memory_mib: Mapping[int, int]
    quota: float | None = None

    @property
    def cpus(self) -> tuple[int, ...]:
        """All CPUs that this process may run on."""
        return tuple(sorted(cpu for core in self.cores for cpu in core.cpus))


def read_room(root: Path = Path("/")) -> Room:
    """Look at /proc and /sys below ``root``."""
    cores = tuple(_cores(root, _nodes(root)))
    return Room(cores, _memory(root, {core.node for core in cores}), cpu_quota(root))


def _nodes(root: Path) -> dict[int, int]:
    """The node of each CPU that this process may run on (drivers/base/node.c: cpulist_read)."""
    allowed, online = set(allowed_cpus(root)), set(parse_cpus(read_text(root / CPU / "online")))
    usable = allowed & online if online else allowed
    found = {
        cpu: number
        for number, path in _numbered(root / NODE, "node")
        for cpu in parse_cpus(read_text(path / "cpulist"))
    }
    return {cpu: found.get(cpu, 0) for cpu in sorted(usable)}


def _numbered(directory: Path, prefix: str) -> Iterator[tuple[int, Path]]:
    for path in directory.glob(f"{prefix}[0-9]*"):
        if (number := path.name.removeprefix(prefix)).isdigit():
            yield int(number), path


def _cores(root: Path, nodes: Mapping[int, int]) -> Iterator[Core]:
    """The CPUs that have a node, by the cores that they are of."""
    seen: set[int] = set()
    for cpu, node in nodes.items():
        if cpu not in seen:
            together = nodes.keys() & {cpu, *_siblings(root, cpu)}
            seen |= together
            yield Core(tuple(sorted(together)), node)


def _siblings(root: Path, cpu: int) -> Iterable[int]:
    """The CPUs of a core; the older name of the file is the only one before 5.3 (cputopology.rst)."""
    topology = root / CPU / f"cpu{cpu}/topology"
    names = ("core_cpus_list", "thread_siblings_list")
    return parse_cpus(next(filter(None, (read_text(topology / name) for name in names)), ""))


def _memory(root: Path, used: Collection[int]) -> dict[int, int]:
    """What is available, divided as the nodes have memory: what is free on one says nothing of its caches."""
    totals = {number: _node_mib(path) for number, path in _numbered(root / NODE, "node")}
    available, whole = available_mib(root), sum(totals.values())
    if not whole or not used:
        return dict.fromkeys(used or (0,), available)
    return {number: available * totals.get(number, 0) // whole for number in used}


def _node_mib(path: Path) -> int:
    """drivers/base/node.c: node_read_meminfo prints ``Node 0 MemTotal:       65712345 kB``."""
    rows = (line.split() for line in read_text(path / "meminfo").splitlines())
    return next((int(row[3]) // 1024 for row in rows if row[2:3] == ["MemTotal:"]), 0)
