# SPDX-License-Identifier: GPL-2.0-or-later
"""What of a machine a run may use, and how it is laid out in it: from 2 cores to many on several nodes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path

import hosts
import pytest

from guestloop.ground.errors import ConfigError
from guestloop.machines.conditions import parse_cpus
from guestloop.machines.layout import Share, divide, lay_out, list_cpus, most_labs, needed_mib
from guestloop.machines.room import Core, Room, read_room
from guestloop.results.sizes import SCALES, USUAL, Sizes, scale_vcpus

GIB = 1024
AMPLE = 4096 * GIB

STATUS = "Name:\tcat\nCpus_allowed_list:\t{allowed}\n"
MEMINFO = "MemTotal:       {kib} kB\nMemAvailable:   {kib} kB\n"
NODE_MEMINFO = "Node {node} MemTotal:       {kib} kB\nNode {node} MemFree:        1024 kB\n"


def lay_machine(
    root: Path, nodes: Mapping[int, str], threads: Mapping[str, str], allowed: str, gib: int = 64
) -> Path:
    """/proc and /sys of a machine (fs/proc, drivers/base/node.c, drivers/base/topology.c).

    ``nodes`` have lists of CPUs, ``threads`` those of the core that a CPU is of.
    """
    hosts.put(root / "proc/self/status", STATUS.format(allowed=allowed))
    hosts.put(root / "proc/meminfo", MEMINFO.format(kib=gib * GIB * GIB))
    for node, cpus in nodes.items():
        hosts.put(root / f"sys/devices/system/node/node{node}/cpulist", f"{cpus}\n")
        part = NODE_MEMINFO.format(node=node, kib=gib * GIB * GIB // len(nodes))
        hosts.put(root / f"sys/devices/system/node/node{node}/meminfo", part)
    for cpu, siblings in threads.items():
        path = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        hosts.put(path, f"{siblings}\n")
    return root


def room_of(nodes: Iterable[int], memory_mib: int = AMPLE, quota: float | None = None) -> Room:
    """A machine without hyperthreads with so many cores on each node, and memory on each."""
    cores, first, sizes = list[Core](), 0, list(nodes)
    for node, number in enumerate(sizes):
        cores += [Core((cpu,), node) for cpu in range(first, first + number)]
        first += number
    return Room(tuple(cores), dict.fromkeys(range(len(sizes)), memory_mib), quota)


# --- what is read ----------------------------------------------------------------------------------


def test_the_machine_that_guestloop_was_written_on(tmp_path: Path) -> None:
    room = read_room(hosts.lay("vm-without", tmp_path))
    assert room == Room((Core((0,)), Core((1,))), {0: 21134})
    assert room.cpus == (0, 1)


def test_a_host_without_hyperthreads(tmp_path: Path) -> None:
    room = read_room(hosts.lay("amd", tmp_path))
    assert [core.cpus for core in room.cores] == [(cpu,) for cpu in range(8)]
    assert room.memory_mib == {0: 125004} and room.quota is None


def test_limits_of_a_container_are_part_of_it(tmp_path: Path) -> None:
    room = read_room(hosts.lay("container", tmp_path))
    assert room.quota == 1.5 and sum(room.memory_mib.values()) < 2 * GIB


def test_hyperthreads_are_of_one_core(tmp_path: Path) -> None:
    threads = {f"{cpu}": f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)}
    root = lay_machine(tmp_path, {0: "0-7"}, threads, "0-7")
    assert [core.cpus for core in read_room(root).cores] == [(0, 4), (1, 5), (2, 6), (3, 7)]
    hosts.put(root / "proc/self/status", STATUS.format(allowed="0-2,7"))
    assert [core.cpus for core in read_room(root).cores] == [(0,), (1,), (2,), (7,)], (
        "as far as they are ours"
    )


def test_cores_and_memory_are_of_their_nodes(tmp_path: Path) -> None:
    root = lay_machine(tmp_path, {0: "0-1,4-5", 1: "2-3,6-7"}, {}, "0-7", gib=32)
    room = read_room(root)
    assert [core.node for core in room.cores] == [0, 0, 1, 1, 0, 0, 1, 1]
    assert room.memory_mib == {0: 16 * GIB, 1: 16 * GIB}
    hosts.put(root / "proc/self/status", STATUS.format(allowed="2-3"))
    assert read_room(root) == Room((Core((2,), 1), Core((3,), 1)), {1: 16 * GIB}), "a node without our CPUs"


def test_a_cpu_that_is_offline_is_none(tmp_path: Path) -> None:
    """The mask of a process may still have it."""
    root = lay_machine(tmp_path, {0: "0-3"}, {}, "0-3")
    hosts.put(root / "sys/devices/system/cpu/online", "0,2-3\n")
    assert read_room(root).cpus == (0, 2, 3)


def test_a_kernel_that_says_nothing(tmp_path: Path) -> None:
    assert read_room(tmp_path) == Room((), {0: 0})
    assert lay_out(read_room(tmp_path), 2).sizes == USUAL


# --- two cores -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [USUAL, None])
@pytest.mark.parametrize("memory_mib", [0, 2 * GIB, AMPLE])
@pytest.mark.parametrize("cores", [0, 1, 2, 3])
def test_small_machines_have_the_usual_sizes_and_all_cpus(
    cores: int, memory_mib: int, sizes: Sizes | None
) -> None:
    layout = lay_out(room_of([cores], memory_mib), 2, sizes=sizes)
    assert layout.sizes == USUAL == Sizes(1, 2, 2048, 1024)
    assert [share.cpus for share in layout.shares] == [tuple(range(cores))]
    assert most_labs(room_of([cores], memory_mib), 2) == 1


# --- larger ones -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "gib", "scale"),
    [
        ([4], 64, 2),
        ([7], 64, 2),
        ([8], 128, 4),
        ([16], 256, 8),
        ([16, 16], 256, 8),  # its CPUs are of one node
        ([32], 256, 16),
        ([128], 1024, 16),  # 64 vCPUs are the most that the load of an L2 uses
        ([8], 13, 1),  # the memory of four CPUs' L1s is not there
        ([8], 14, 2),
        ([8], 25, 2),
        ([8], 26, 4),
    ],
)
def test_sizes_follow_cores_and_memory(nodes: list[int], gib: int, scale: int) -> None:
    layout = lay_out(room_of(nodes, gib * GIB), 2, sizes=None)
    assert layout.sizes == Sizes.of(scale)
    assert layout.sizes.l1_cpus == 2 * scale and layout.sizes.most_l2_cpus == 4 * scale <= 64
    assert needed_mib(layout.sizes, 2) <= gib * GIB or scale == 1


def test_more_kernels_need_more_memory() -> None:
    room = room_of([8], 26 * GIB)
    assert [lay_out(room, kernels, sizes=None).sizes.scale for kernels in (2, 3, 4, 8)] == [4, 2, 1, 1]


def test_hyperthreads_are_no_cores() -> None:
    cores = tuple(Core((cpu, cpu + 8)) for cpu in range(8))
    layout = lay_out(Room(cores, {0: AMPLE}), 2, sizes=None)
    assert layout.sizes.l1_cpus == 8 and layout.shares[0].cpus == tuple(range(16))


def test_a_limit_of_cpu_time_counts() -> None:
    assert lay_out(room_of([16], quota=5.5), 2, sizes=None).sizes.l1_cpus == 4
    assert most_labs(room_of([16], quota=5.5), 2) == 2


def test_labs_side_by_side_have_cpus_and_a_node_of_their_own() -> None:
    layout = lay_out(room_of([4, 4]), 2, labs=2)
    assert [share.cpus for share in layout.shares] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert layout.sizes == USUAL
    assert str(layout) == (
        "L1s of 2 vCPUs and 2048 MiB, L2s of up to 4 vCPUs; "
        "lab 1: CPUs 0-3 of node 0; lab 2: CPUs 4-7 of node 1"
    )
    assert [share.cpus for share in lay_out(room_of([4]), 2, labs=2).shares] == [(0, 1), (2, 3)]


def test_labs_that_follow_the_host_share_it() -> None:
    room = room_of([16, 16])
    cpus = {labs: lay_out(room, 2, labs, None).sizes.l1_cpus for labs in (1, 2, 3, 4, 5, 16)}
    assert cpus == {1: 16, 2: 16, 3: 8, 4: 8, 5: 4, 16: 2}
    short = room_of([16], 60 * GIB)
    assert lay_out(short, 2, 2, None).sizes.l1_cpus == 8
    assert lay_out(short, 2, 4, None).sizes.l1_cpus == 4, "and its memory"


@pytest.mark.parametrize("seed", range(20))
def test_shares_never_meet(seed: int) -> None:
    """On any machine: whole cores, as many for each lab, of one node, and no more memory than there is."""
    chance = random.Random(seed)
    cores, cpu = list[Core](), 0
    nodes = chance.randint(1, 4)
    for _ in range(chance.randint(2, 64)):
        threads = chance.randint(1, 2)
        cores.append(Core(tuple(range(cpu, cpu + threads)), chance.randrange(nodes)))
        cpu += threads
    room = Room(tuple(cores), {node: chance.randint(8, 512) * GIB for node in range(nodes)})
    labs = most_labs(room, 2)
    shares = lay_out(room, 2, labs).shares
    assert len(shares) == labs and len({len(share.cores) for share in shares}) == 1
    taken = [one for share in shares for one in share.cpus]
    assert len(taken) == len(set(taken)) and set(taken) <= set(room.cpus)
    for share in shares:
        assert len({core.node for core in share.cores}) == 1
    for node, memory_mib in room.memory_mib.items():
        assert sum(one.memory_mib for one in shares if one.cores[0].node == node) <= memory_mib
    with pytest.raises(ConfigError):
        lay_out(room, 2, len(room.cores) // 2 + 1)


@pytest.mark.parametrize(
    ("room", "labs", "sizes", "said"),
    [
        (
            room_of([2]),
            2,
            USUAL,
            "--labs 2: there is no room for L1s of 2 vCPUs and 2048 MiB, L2s of up to 4 vCPUs: "
            "each lab would have 1 core, 2 are needed",
        ),
        (room_of([1]), 3, USUAL, "each lab would have 0 cores, 2 are needed"),
        (room_of([3, 3]), 3, USUAL, "each lab would have 1 core, 2 are needed"),
        (room_of([8], quota=3.0), 2, USUAL, "would have the time of 1.5 CPUs (cpu.max), 2 are needed"),
        (
            room_of([8], 10 * GIB),
            2,
            None,
            "each lab would have 5120 MiB of memory, 7424 are needed for 2 kernels",
        ),
        (
            room_of([4]),
            1,
            Sizes.of(4),
            "there is no room for L1s of 8 vCPUs and 8192 MiB, L2s of up to 16 vCPUs: "
            "the lab would have 4 cores, 8 are needed",
        ),
    ],
)
def test_what_there_is_no_room_for(room: Room, labs: int, sizes: Sizes | None, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        lay_out(room, 2, labs, sizes)
    assert raised.value.first_line.endswith(said)
    most = most_labs(room, 2)
    assert f"room for {most} lab" in raised.value.hint
    assert lay_out(room, 2, most).sizes == USUAL, "the hint is right"


# --- arithmetic ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "0", "0-3", "0-3,8", "1,3,5-6,64-127"])
def test_lists_of_cpus(text: str) -> None:
    assert list_cpus(parse_cpus(text)) == text


def test_a_share_without_cores_may_run_anywhere() -> None:
    assert str(Share((), 0)) == "any CPU"
    assert divide(Room((), {0: 0}), 1) == (Share((), 0),)


def test_a_scale_is_one_of_a_few() -> None:
    assert [Sizes.of(scale).most_l2_cpus for scale in SCALES] == [4, 8, 16, 32, 64]
    assert Sizes.of(1) == USUAL
    for wrong in (0, 3, 32):
        with pytest.raises(ValueError, match="a scale is one of 1, 2, 4, 8, 16, seen: "):
            Sizes.of(wrong)


def test_a_guest_of_one_vcpu_stays_one() -> None:
    assert [scale_vcpus(number, 8) for number in (1, 2, 4)] == [1, 16, 32]
