"""The agent's parts on stand-ins for /sys/module, tracefs, /proc and QEMU's statistics."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from guestloop.agent import modules, trace
from guestloop.agent.counters import read_counters, read_vmstat
from guestloop.agent.memory import MIB, Cgroup, Mapping, find_ram, have_memory_cgroups, have_swap, pick_ram
from guestloop.agent.modules import Kvm, parse_build_id, same_value
from guestloop.agent.trace import LOG_DEFINITION, PROBE, Trace
from guestloop.ground import proc
from guestloop.ground.errors import GuestError
from guestloop.ground.qmp import Qmp

DATA = Path(__file__).parent / "data"
REQUEST = 256

# --- modules ---------------------------------------------------------------------------------------


TDP = {"kvm": {"tdp_mmu": "Y"}, "kvm_amd": {"npt": "Y"}}
DIRECT = {"kvm": {"tdp_mmu": "N"}, "kvm_amd": {"npt": "Y"}}
SHADOW = {"kvm": {"tdp_mmu": "N"}, "kvm_amd": {"npt": "N"}}


@pytest.mark.parametrize(
    ("wanted", "seen", "same"),
    [
        *[("Y", "Y", True), ("Y", "1", True), ("Y", "N", False), ("Y", "0", False)],
        *[("N", "N", True), ("N", "0", True), ("N", "1", False), ("5", "5", True), ("5", "50", False)],
    ],
)
def test_same_value(wanted: str, seen: str, same: bool) -> None:
    assert same_value(wanted, seen) is same


def note(name: bytes, kind: int, data: bytes) -> bytes:
    sizes = b"".join(number.to_bytes(4, "little") for number in (len(name), len(data), kind))
    return sizes + b"".join(part + bytes(-len(part) % 4) for part in (name, data))


def test_build_id() -> None:
    wanted = note(b"GNU\0", 3, bytes(range(20)))
    assert parse_build_id(wanted) == bytes(range(20)).hex()
    others = note(b"Linux\0", 0x101, b"odd") + note(b"GNU\0", 5, b"x" * 16) + note(b"Xen\0", 3, b"y" * 8)
    assert parse_build_id(others + wanted) == bytes(range(20)).hex()
    assert parse_build_id(others) == parse_build_id(b"") == parse_build_id(wanted[:11]) == ""


class Modules:
    """A /sys/module in which insmod and rmmod work as they do on AMD."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.commands = root, list[list[str]]()
        self.stubborn: dict[str, str] = {}
        self.expedited = root / "rcu_expedited"
        self.expedited.write_text("0\n")
        self.patience: list[str] = []
        """What RCU was set to at each command."""
        monkeypatch.setattr(modules, "SYS_MODULE", root)
        monkeypatch.setattr(modules, "RCU_EXPEDITED", self.expedited)
        monkeypatch.setattr(proc, "run", self.run)

    def run(self, argv: list[Any], **_options: object) -> None:
        words = [str(word) for word in argv]
        self.commands.append([Path(word).name for word in words])
        self.patience += [self.expedited.read_text()] if self.expedited.exists() else []
        name = Path(words[1]).stem.replace("-", "_")
        if words[0] == "rmmod":
            for path in sorted((self.root / name).rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            (self.root / name).rmdir()
            return
        assert not (self.root / name).exists(), f"insmod {name}: File exists"
        directory = self.root / name / "parameters"
        directory.mkdir(parents=True)
        (self.root / name / "refcnt").write_text("0\n")
        for word in words[2:]:
            key, value = word.split("=")
            (directory / key).write_text(self.stubborn.get(key, {"Y": "1", "N": "0"}[value]) + "\n")

    def value(self, module: str, key: str) -> str:
        return (self.root / module / "parameters" / key).read_text().strip()


class NoTrace(Trace):
    """Remembers what is armed."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def arm(self, request: int) -> list[str]:
        self.log.append(f"arm {request}")
        return []

    def disarm(self) -> None:
        self.log.append("disarm")


class Failing(NoTrace):
    """Its KVM does not go."""

    def __init__(self, system: Modules) -> None:
        super().__init__()
        self.system = system

    def disarm(self) -> None:
        for module in ("kvm", "kvm_amd"):
            (self.system.root / module / "refcnt").unlink()


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Modules:
    (tmp_path / "sys").mkdir()
    return Modules(tmp_path / "sys", monkeypatch)


def test_load_reads_back_what_it_asked_for(system: Modules, tmp_path: Path) -> None:
    trace = NoTrace()
    facts = Kvm(tmp_path, trace).load("shadow", SHADOW, REQUEST)
    assert facts == {"kvm.tdp_mmu": "0", "kvm_amd.npt": "0", "kvm.build_id": "", "kvm_amd.build_id": ""}
    assert system.commands == [["insmod", "kvm.ko", "tdp_mmu=N"], ["insmod", "kvm-amd.ko", "npt=N"]]
    assert trace.log == ["disarm", f"arm {REQUEST}"]


def test_load_does_nothing_when_nothing_changes(system: Modules, tmp_path: Path) -> None:
    kvm = Kvm(tmp_path, NoTrace())
    first = kvm.load("direct", DIRECT, REQUEST)
    done = len(system.commands)
    assert kvm.load("direct", DIRECT, REQUEST) == first
    assert len(system.commands) == done


def test_load_of_another_mode_reloads(system: Modules, tmp_path: Path) -> None:
    trace = NoTrace()
    kvm = Kvm(tmp_path, trace)
    kvm.load("shadow", SHADOW, REQUEST)
    assert kvm.load("tdp", TDP, REQUEST)["kvm.tdp_mmu"] == "1"
    assert system.commands[2:4] == [["rmmod", "kvm_amd"], ["rmmod", "kvm"]]
    assert trace.log[-2:] == ["disarm", f"arm {REQUEST}"], "a trigger would keep KVM from going"


def test_grace_periods_are_hurried_while_kvm_is_exchanged_and_never_else(
    system: Modules, tmp_path: Path
) -> None:
    Kvm(tmp_path, NoTrace()).load("tdp", TDP, REQUEST)
    assert system.patience == ["1", "1"] and system.expedited.read_text() == "0\n"
    with pytest.raises(AssertionError, match="File exists"):
        Kvm(tmp_path, Failing(system)).load("direct", DIRECT, REQUEST)
    assert system.expedited.read_text() == "0\n", "also when it could not be loaded"


def test_a_kernel_without_that_switch_loads_all_the_same(system: Modules, tmp_path: Path) -> None:
    system.expedited.unlink()
    Kvm(tmp_path, NoTrace()).load("tdp", TDP, REQUEST)
    assert len(system.commands) == 2 and not system.expedited.exists()


def test_a_parameter_of_an_earlier_load_does_not_stay(system: Modules, tmp_path: Path) -> None:
    kvm = Kvm(tmp_path, NoTrace())
    intel = {"kvm": {"tdp_mmu": "Y"}, "kvm_intel": {"ept": "Y"}}
    extra = {**intel, "kvm_intel": {"ept": "Y", "eptad": "N"}}
    assert kvm.load("tdp", extra, REQUEST)["kvm_intel.eptad"] == "0"
    kvm.load("tdp", intel, REQUEST)
    assert not (system.root / "kvm_intel/parameters/eptad").exists(), "still as it was set before"


def test_a_value_that_kvm_did_not_take_is_an_error(system: Modules, tmp_path: Path) -> None:
    system.stubborn["tdp_mmu"] = "N"
    with pytest.raises(GuestError, match=r"MMU mode tdp: kvm\.tdp_mmu: wanted Y, read back N"):
        Kvm(tmp_path, NoTrace()).load("tdp", TDP, REQUEST)


def test_not_loaded_is_a_mismatch_even_where_n_is_wanted(
    system: Modules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proc, "run", lambda *_words, **_options: None)
    with pytest.raises(GuestError, match=r"kvm\.tdp_mmu: wanted N, read back nothing \(not loaded\)"):
        Kvm(tmp_path, NoTrace()).load("shadow", SHADOW, REQUEST)


# --- tracefs ---------------------------------------------------------------------------------------


@pytest.fixture
def tracefs(tmp_path: Path) -> Path:
    for event in (PROBE, "kvm/kvm_async_pf_ready", "kvm/kvm_age_hva"):
        (tmp_path / "events" / event).mkdir(parents=True)
        (tmp_path / "events" / event / "trigger").write_text("")
        (tmp_path / "events" / event / "hist").write_text(f"# histogram of {event}\n")
    (tmp_path / "kprobe_events").write_text("")
    return tmp_path


def told(tracefs: Path, file: str) -> list[str]:
    return (tracefs / file).read_text().splitlines()


def test_arm_and_disarm(tracefs: Path) -> None:
    counting = Trace(tracefs)
    assert counting.arm(REQUEST) == ["kvm_async_pf_ready", "kvm_age_hva"], "only what this kernel has"
    assert told(tracefs, "kprobe_events") == [
        "p:guestloop/request kvm:kvm_make_all_cpus_request+4 req=%si:u32",
        LOG_DEFINITION,
    ]
    stack = f"hist:keys=common_stacktrace,req:size=8192 if req=={REQUEST}"
    assert told(tracefs, f"events/{PROBE}/trigger") == [stack]
    assert counting.read() == {
        "request": f"# histogram of {PROBE}\n",
        "kvm_async_pf_ready": "# histogram of kvm/kvm_async_pf_ready\n",
        "kvm_age_hva": "# histogram of kvm/kvm_age_hva\n",
    }
    counting.disarm()
    assert told(tracefs, f"events/{PROBE}/trigger") == [stack, f"!{stack}"]
    assert told(tracefs, "events/kvm/kvm_age_hva/trigger")[1] == "!hist:keys=common_cpu"
    assert told(tracefs, "kprobe_events")[2:] == [f"-:{PROBE}"]
    assert counting.read() == {}


def test_disarm_when_kvm_is_gone_already(tracefs: Path) -> None:
    counting = Trace(tracefs)
    counting.arm(REQUEST)
    (tracefs / "events/kvm/kvm_age_hva/trigger").unlink()
    counting.disarm()
    assert told(tracefs, "kprobe_events")[2:] == [f"-:{PROBE}"]


def test_probe_at_the_entry_where_no_instruction_begins_behind_it(
    tracefs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = trace.write_control

    def refuse(path: Path, text: str) -> None:
        if "+4" in text:
            raise GuestError(f"tracefs refused {text!r}")
        write(path, text)

    monkeypatch.setattr(trace, "write_control", refuse)
    Trace(tracefs).arm(REQUEST)
    probe = "p:guestloop/request kvm:kvm_make_all_cpus_request req=%si:u32"
    assert told(tracefs, "kprobe_events")[0] == probe


def test_a_refusal_names_text_and_file() -> None:
    with pytest.raises(GuestError, match=r"tracefs refused 'p:x' in full: No space left on device"):
        trace.write_control(Path("/dev/full"), "p:x")


# --- memory ----------------------------------------------------------------------------------------

MAPS = (DATA / "maps-qemu-7.2.txt").read_text()


def test_ram_is_the_smallest_mapping_that_is_large_enough() -> None:
    """On record: 96 MiB of RAM, beside the 1 GiB in which the emulator keeps its code."""
    ram = Mapping(0x7FEC51E00000, 0x7FEC57E00000)
    assert pick_ram(MAPS, 96 * MIB) == pick_ram(MAPS, 90 * MIB) == ram
    assert ram.size == 96 * MIB
    assert pick_ram(MAPS, 2048 * MIB) is None


@pytest.mark.parametrize(
    "line",
    [
        "7f0000000000-7f0010000000 rw-p 00000000 fe:00 77 /memory.img",
        "7f0000000000-7f0010000000 r--p 00000000 00:00 0",
        "7f0000000000-7f0010000000 ---p 00000000 00:00 0",
    ],
)
def test_files_and_what_cannot_be_written_are_no_ram(line: str) -> None:
    assert pick_ram(line, 128 * MIB) is None
    assert pick_ram(line.replace(line.split(" ", 1)[1], "rw-p 00000000 00:00 0"), 128 * MIB)


def test_a_process_without_such_a_mapping_is_named() -> None:
    with pytest.raises(GuestError, match=f"process {os.getpid()} has no anonymous mapping of 1048576 MiB"):
        find_ram(os.getpid(), 1 << 40)


def test_cgroup_of_a_guest(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("")
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    group = Cgroup("storm", tmp_path)
    assert group.name.startswith("l2-storm.")
    files = tmp_path / group.name
    group.add(77)
    assert (files / "cgroup.procs").read_text() == "77"
    (files / "memory.stat").write_text("anon 4096\nswapcached 8192\n")
    assert group.swap_cached() == 8192
    group.reclaim(8192)
    assert (files / "memory.reclaim").read_text() == "8192"
    (files / "memory.stat").write_text("anon 4096\n")
    with pytest.raises(GuestError, match="no 'swapcached'"):
        group.swap_cached()


def test_a_cgroup_is_not_taken_for_one_that_was_removed(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("memory\n")
    first = Cgroup("storm", tmp_path)
    first.remove()
    assert Cgroup("storm", tmp_path).name != first.name


def test_what_a_kernel_lacks(tmp_path: Path) -> None:
    assert not have_swap(tmp_path / "swaps")  # no CONFIG_SWAP
    (tmp_path / "swaps").write_text("Filename Type Size Used Priority\n")
    assert not have_swap(tmp_path / "swaps")
    (tmp_path / "swaps").write_text("Filename Type Size Used Priority\n/dev/vdc partition 1048572 0 -2\n")
    assert have_swap(tmp_path / "swaps")
    (tmp_path / "cgroup.controllers").write_text("cpu io\n")
    assert not have_memory_cgroups(tmp_path)
    group = Cgroup("storm", tmp_path)  # guests run without one
    group.add(77)
    group.remove()
    assert not list(tmp_path.glob("l2-*"))


# --- counters --------------------------------------------------------------------------------------


class Statistics(Qmp):
    """QEMU's answers about one VM with two vCPUs, in the form of qapi/stats.json."""

    def __init__(self, vm: dict[str, int], *vcpus: dict[str, Any]) -> None:
        self.name, self.vm, self.vcpus = "storm", vm, vcpus

    def execute(self, command: str, timeout_s: float = 30.0, **arguments: object) -> Any:
        if command == "query-stats-schemas":
            assert arguments == {"provider": "kvm"}
            types = {
                "pages_4k": "instant",
                "max_mmu_page_hash_collisions": "peak",
                "halt_hist": "log2-histogram",
            }
            names = {"vm": self.vm.keys(), "vcpu": set(itertools.chain(*self.vcpus))}
            return [
                {
                    "target": target,
                    "provider": "kvm",
                    "stats": [{"name": name, "type": types.get(name, "cumulative")} for name in found],
                }
                for target, found in names.items()
            ]
        objects = {"vm": (self.vm,), "vcpu": self.vcpus}[str(arguments["target"])]
        return [
            {"provider": "kvm", "stats": [{"name": key, "value": value} for key, value in one.items()]}
            for one in objects
        ]


def test_counters_of_the_vm_and_sums_over_its_vcpus() -> None:
    vm = {"remote_tlb_flush_requests": 7, "remote_tlb_flush": 5, "pages_4k": 100}
    vcpus = ({"exits": 3, "halt_hist": [1, 2], "remote_tlb_flush": 1}, {"exits": 4, "halt_hist": [3, 4]})
    wanted = {"remote_tlb_flush_requests": 7, "remote_tlb_flush": 5, "exits": 7}
    assert read_counters(Statistics(vm, *vcpus)) == wanted


def test_no_statistics_are_not_zero() -> None:
    with pytest.raises(GuestError, match=r"storm: query-stats has no KVM statistics"):
        read_counters(Statistics({"remote_tlb_flush": 5}, {"exits": 3}))
    with pytest.raises(GuestError, match="no KVM statistics"):
        read_counters(Statistics({"remote_tlb_flush_requests": 7}))


def test_vmstat_has_what_rounds_are_proven_with() -> None:
    assert {"pswpin", "pswpout"} <= read_vmstat().keys()
