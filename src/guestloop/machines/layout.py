# SPDX-License-Identifier: GPL-2.0-or-later
"""How a run is laid out on this machine: how large its L1s are, and which CPUs each of its labs has (pure).

A lab measures on one L1 at a time, but the L1s of all its kernels are there. Each lab has whole cores of one
NUMA node for itself: hyperthreads of one core share its TLB, and memory is taken from the node of the CPU
that touches it first (Documentation/admin-guide/mm/numa_memory_policy.rst).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from guestloop.ground.errors import ConfigError
from guestloop.ground.words import plural
from guestloop.machines.room import Core, Room
from guestloop.results.sizes import SCALES, USUAL, Sizes

LAB_MIB = 256
"""The lab process itself."""

QEMU_MIB = 512
"""QEMU itself, beside the RAM of its L1."""


def needed_mib(sizes: Sizes, kernels: int) -> int:
    """Memory of a lab with an L1 for each kernel. Its swap disk is in L0's page cache."""
    return LAB_MIB + kernels * (sizes.l1_memory_mib + sizes.l1_swap_mib + QEMU_MIB)


@dataclass(frozen=True)
class Share:
    """What a lab has for itself. Memory in MiB."""

    cores: tuple[Core, ...]
    memory_mib: int

    @property
    def cpus(self) -> tuple[int, ...]:
        """Its CPUs, in order; none where it may run on any."""
        return tuple(sorted(cpu for core in self.cores for cpu in core.cpus))

    def __str__(self) -> str:
        return f"CPUs {list_cpus(self.cpus)} of node {self.cores[0].node}" if self.cores else "any CPU"


@dataclass(frozen=True)
class Layout:
    """The sizes of a run, and the share of each of its labs."""

    sizes: Sizes
    shares: tuple[Share, ...]

    def __str__(self) -> str:
        if len(self.shares) == 1:
            return str(self.sizes)
        labs = (f"lab {number}: {share}" for number, share in enumerate(self.shares, 1))
        return f"{self.sizes}; {'; '.join(labs)}"


def list_cpus(cpus: Iterable[int]) -> str:
    """``0-3,8``, as the kernel writes it."""
    ordered = sorted(cpus)
    ends = [at for at, (cpu, after) in enumerate(pairwise(ordered)) if after != cpu + 1]
    starts = [0, *(at + 1 for at in ends)] if ordered else []
    ends += [len(ordered) - 1] if ordered else []
    runs = [(ordered[first], ordered[last]) for first, last in zip(starts, ends, strict=True)]
    return ",".join(f"{first}-{last}" if first != last else f"{first}" for first, last in runs)


def lay_out(room: Room, kernels: int, labs: int = 1, sizes: Sizes | None = USUAL) -> Layout:
    """Give each of so many labs a share of the machine, all of the same number of cores.

    ``sizes`` None: as large as the shares permit. One lab of the usual sizes is taken on any machine, however
    small. Raises ConfigError for what it has no room for.
    """
    shares = divide(room, labs)
    wanted = sizes or _largest(room, shares, kernels)
    if (labs > 1 or wanted != USUAL) and (lacks := _lacking(room, shares, kernels, wanted)):
        option, each = (f"--labs {labs}: ", "each lab") if labs > 1 else ("", "the lab")
        raise ConfigError(
            f"{option}there is no room for {wanted}: {each} would have {lacks}",
            hint=f"this process has room for {plural(most_labs(room, kernels), 'lab')} of the usual sizes;"
            " what it may use is narrowed by its CPU affinity and its cgroups",
        )
    return Layout(wanted, shares)


def most_labs(room: Room, kernels: int) -> int:
    """How many labs of the usual sizes there is room for side by side; at least 1."""
    for labs in range(len(room.cores) // USUAL.l1_cpus, 1, -1):
        if not _lacking(room, divide(room, labs), kernels, USUAL):
            return labs
    return 1


def divide(room: Room, labs: int) -> tuple[Share, ...]:
    """The shares of so many labs. Without enough cores each has none."""
    left = {node: [core for core in room.cores if core.node == node] for node in room.memory_mib}
    each = _cores_each([len(cores) for cores in left.values()], labs)
    taken: list[tuple[int, tuple[Core, ...]]] = []
    for _ in range(labs):
        node = max(left, key=lambda one: (len(left[one]), -one))
        taken.append((node, tuple(left[node][:each])))
        left[node] = left[node][each:]
    nodes = [node for node, _ in taken]
    return tuple(Share(cores, room.memory_mib[node] // nodes.count(node)) for node, cores in taken)


def _cores_each(nodes: Sequence[int], labs: int) -> int:
    """The most cores that each of so many labs can have, if none has cores of two nodes."""
    most = max(nodes, default=0)
    return next((each for each in range(most, 0, -1) if sum(own // each for own in nodes) >= labs), 0)


def _largest(room: Room, shares: Sequence[Share], kernels: int) -> Sizes:
    fitting = (
        sizes for sizes in map(Sizes.of, reversed(SCALES)) if not _lacking(room, shares, kernels, sizes)
    )
    return next(fitting, USUAL)


def _lacking(room: Room, shares: Sequence[Share], kernels: int, sizes: Sizes) -> str:
    """What the shares are too small in; empty if they are large enough."""
    cores, memory_mib = min(len(one.cores) for one in shares), min(one.memory_mib for one in shares)
    if cores < sizes.l1_cpus:
        return f"{plural(cores, 'core')}, {sizes.l1_cpus} are needed"
    if room.quota is not None and (time := room.quota / len(shares)) < sizes.l1_cpus:
        return f"the time of {time:g} CPUs (cpu.max), {sizes.l1_cpus} are needed"
    if memory_mib < (needed := needed_mib(sizes, kernels)):
        return f"{memory_mib} MiB of memory, {needed} are needed for {kernels} kernels"
    return ""
