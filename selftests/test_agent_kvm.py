# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM loaded with the parameters of an MMU mode, on a stand-in for /sys/module."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from guestloop.agent import kvm as module
from guestloop.agent import rcu
from guestloop.agent.changed import Probes, Watched
from guestloop.agent.kernel_log import kernel_log
from guestloop.agent.kvm import ORDER, Kvm, build_id, parse_build_id, same_value
from guestloop.agent.trace import Trace
from guestloop.ground import proc
from guestloop.ground.errors import GuestError, Lacking, ProcessError

FUNCTION = "kvm_make_all_cpus_request"
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


def test_build_ids_of_the_kernel_and_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SYS_MODULE", tmp_path)
    monkeypatch.setattr(module, "KERNEL_NOTES", tmp_path / "notes")
    assert build_id("vmlinux") == build_id("kvm") == "", "one that has none, or is not loaded"
    (tmp_path / "notes").write_bytes(note(b"GNU\0", 3, b"\x01" * 20))
    (tmp_path / "kvm/notes").mkdir(parents=True)
    (tmp_path / "kvm/notes/.note.gnu.build-id").write_bytes(note(b"GNU\0", 3, b"\x02" * 20))
    assert (build_id("vmlinux"), build_id("kvm")) == ("01" * 20, "02" * 20)


class Modules:
    """A /sys/module in which insmod and rmmod work as they do on AMD."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.commands = root, list[list[str]]()
        self.stubborn: dict[str, str] = {}
        self.expedited = root / "rcu_expedited"
        self.expedited.write_text("0\n")
        self.hurried: list[str] = []
        """What RCU was set to at each command."""
        self.refused = ""
        """The module that the kernel refuses, and what it says then."""
        self.says = ""
        self.log = root.parent / "kmsg"
        self.log.write_text("6,1186,91230176,-;of an earlier load\n")
        self.looks = 0
        """How often the kernel's symbols were read."""
        self.cpuinfo = root.parent / "cpuinfo of the host"
        self.cpuinfo.write_text("processor\t: 0\nflags\t\t: svm npt\n\nprocessor\t: 1\nflags\t\t: ept_ad\n")
        monkeypatch.setattr(module, "CPUINFO", self.cpuinfo)
        monkeypatch.setattr(module, "kernel_log", partial(kernel_log, self.log))
        monkeypatch.setattr(module, "SYS_MODULE", root)
        monkeypatch.setattr(module, "read_functions", self.read_functions)
        monkeypatch.setattr(rcu, "RCU_EXPEDITED", self.expedited)
        monkeypatch.setattr(proc, "run", self.run)

    def read_functions(self) -> frozenset[str]:
        self.looks += 1
        return frozenset({FUNCTION} if (self.root / "kvm").exists() else ())

    def run(self, argv: list[Any], **_options: object) -> None:
        words = [str(word) for word in argv]
        self.commands.append([Path(word).name for word in words])
        self.hurried += [self.expedited.read_text()] if self.expedited.exists() else []
        name = Path(words[1]).stem.replace("-", "_")
        if words[0] == "rmmod":
            for path in sorted((self.root / name).rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            (self.root / name).rmdir()
            return
        if name == self.refused:
            with self.log.open("a") as log:
                log.write(self.says)
            raise ProcessError(words, 95, "Not supported")
        assert not (self.root / name).exists(), f"insmod {name}: File exists"
        directory = self.root / name / "parameters"
        directory.mkdir(parents=True)
        (self.root / name / "refcnt").write_text("0\n")
        for word in words[2:]:
            key, value = word.split("=")
            (directory / key).write_text(self.stubborn.get(key, {"Y": "1", "N": "0"}[value]) + "\n")


class NoTrace(Trace):
    """Remembers what is armed."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def arm(self, functions: Collection[str]) -> list[str]:
        self.log.append(f"arm {','.join(functions)}")
        return []

    def disarm(self) -> None:
        self.log.append("disarm")


class Failing(NoTrace):
    """Its KVM does not go."""

    def __init__(self, system: Modules) -> None:
        super().__init__()
        self.system = system

    def disarm(self) -> None:
        for name in ("kvm", "kvm_amd"):
            (self.system.root / name / "refcnt").unlink()


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Modules:
    (tmp_path / "sys").mkdir()
    (tmp_path / ORDER).write_text("kvm\nkvm-amd\nkvm-intel\n")
    return Modules(tmp_path / "sys", monkeypatch)


def test_load_reads_back_what_it_asked_for(system: Modules, tmp_path: Path) -> None:
    trace = NoTrace()
    facts = Kvm(tmp_path, trace).load("shadow", SHADOW)
    assert facts == {"kvm.tdp_mmu": "0", "kvm_amd.npt": "0", "kvm.build_id": "", "kvm_amd.build_id": ""}
    assert system.commands == [["insmod", "kvm.ko", "tdp_mmu=N"], ["insmod", "kvm-amd.ko", "npt=N"]]
    assert trace.log == ["disarm", f"arm {FUNCTION}"]


def test_load_does_nothing_when_nothing_changes(system: Modules, tmp_path: Path) -> None:
    kvm = Kvm(tmp_path, NoTrace())
    first = kvm.load("direct", DIRECT)
    done = len(system.commands)
    assert kvm.load("direct", DIRECT) == first
    assert len(system.commands) == done


def test_load_of_another_mode_reloads(system: Modules, tmp_path: Path) -> None:
    trace = NoTrace()
    kvm = Kvm(tmp_path, trace)
    kvm.load("shadow", SHADOW)
    assert kvm.load("tdp", TDP)["kvm.tdp_mmu"] == "1"
    assert system.commands[2:4] == [["rmmod", "kvm_amd"], ["rmmod", "kvm"]]
    assert trace.log[-2:] == ["disarm", f"arm {FUNCTION}"], "a trigger would keep KVM from going"


def test_grace_periods_are_hurried_while_kvm_is_exchanged_and_never_else(
    system: Modules, tmp_path: Path
) -> None:
    Kvm(tmp_path, NoTrace()).load("tdp", TDP)
    assert system.hurried == ["1", "1"] and system.expedited.read_text() == "0\n"
    with pytest.raises(AssertionError, match="File exists"):
        Kvm(tmp_path, Failing(system)).load("direct", DIRECT)
    assert system.expedited.read_text() == "0\n", "also when it could not be loaded"


def test_a_kernel_without_that_switch_loads_all_the_same(system: Modules, tmp_path: Path) -> None:
    system.expedited.unlink()
    Kvm(tmp_path, NoTrace()).load("tdp", TDP)
    assert len(system.commands) == 2 and not system.expedited.exists()


def test_functions_are_read_once_in_a_boot(system: Modules, tmp_path: Path) -> None:
    kvm = Kvm(tmp_path, NoTrace())
    kvm.load("shadow", SHADOW)
    kvm.load("tdp", TDP)
    assert kvm.functions(["kvm_mmu_load", FUNCTION]) == [FUNCTION] and system.looks == 1


def test_a_parameter_of_an_earlier_load_does_not_stay(system: Modules, tmp_path: Path) -> None:
    kvm = Kvm(tmp_path, NoTrace())
    intel = {"kvm": {"tdp_mmu": "Y"}, "kvm_intel": {"ept": "Y"}}
    extra = {**intel, "kvm_intel": {"ept": "Y", "eptad": "N"}}
    assert kvm.load("tdp", extra)["kvm_intel.eptad"] == "0"
    kvm.load("tdp", intel)
    assert not (system.root / "kvm_intel/parameters/eptad").exists(), "still as it was set before"


def test_a_value_that_kvm_did_not_take_is_an_error(system: Modules, tmp_path: Path) -> None:
    system.stubborn["tdp_mmu"] = "N"
    with pytest.raises(GuestError, match=r"MMU mode tdp: kvm\.tdp_mmu: wanted Y, read back N"):
        Kvm(tmp_path, NoTrace()).load("tdp", TDP)


def test_not_loaded_is_a_mismatch_even_where_n_is_wanted(
    system: Modules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proc, "run", lambda *_words, **_options: None)
    with pytest.raises(GuestError, match=r"kvm\.tdp_mmu: wanted N, read back nothing \(not loaded\)"):
        Kvm(tmp_path, NoTrace()).load("shadow", SHADOW)


def test_what_kvm_needs_is_loaded_before_it_once(system: Modules, tmp_path: Path) -> None:
    (tmp_path / ORDER).write_text("irqbypass\nkvm\nccp\nvirt-dma\nkvm-amd\nkvm-intel\n")
    (system.root / "virt_dma").mkdir()  # built in, or loaded by the initramfs
    kvm = Kvm(tmp_path, NoTrace())
    kvm.load("tdp", TDP)
    assert [command[1] for command in system.commands] == ["irqbypass.ko", "kvm.ko", "ccp.ko", "kvm-amd.ko"]
    kvm.load("shadow", SHADOW)
    assert [command[1] for command in system.commands[-2:]] == ["kvm.ko", "kvm-amd.ko"]
    assert len(system.commands) == 8, "what KVM needs stays when KVM goes"


def test_a_load_that_broke_off_is_done_again_from_the_beginning(system: Modules, tmp_path: Path) -> None:
    kvm = Kvm(tmp_path, NoTrace())
    system.refused = "kvm_amd"
    system.says = "6,1187,91230177,-;kvm: RT requires X86_FEATURE_CONSTANT_TSC\n SUBSYSTEM=x\n"
    with pytest.raises(GuestError) as raised:
        kvm.load("tdp", TDP)
    assert str(raised.value).splitlines() == [
        "kvm-amd does not load: kvm: RT requires X86_FEATURE_CONSTANT_TSC (insmod: exit status 95)",
        "  kernel | kvm: RT requires X86_FEATURE_CONSTANT_TSC",
        "insmod: exit status 95",
        "  | Not supported",
    ]
    assert system.expedited.read_text() == "0\n"
    system.refused = ""
    system.commands.clear()
    assert kvm.load("tdp", TDP)["kvm_amd.npt"] == "1"
    assert [command[:2] for command in system.commands] == [
        ["rmmod", "kvm"],
        ["insmod", "kvm.ko"],
        ["insmod", "kvm-amd.ko"],
    ]


def test_a_kernel_that_refuses_without_a_word(system: Modules, tmp_path: Path) -> None:
    system.refused = "kvm"
    with pytest.raises(GuestError, match=r"^kvm does not load: the kernel does not say why \(insmod: exit"):
        Kvm(tmp_path, NoTrace()).load("tdp", TDP)


@pytest.mark.parametrize(("flag", "vendor"), [("svm", "kvm-amd.ko"), ("vmx", "kvm-intel.ko")])
def test_kvm_is_tried_out_as_it_comes(
    system: Modules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, vendor: str
) -> None:
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu lm {flag} npt\n\nprocessor\t: 1\n")
    kvm = Kvm(tmp_path, NoTrace())
    kvm.try_out()
    assert system.commands == [["insmod", "kvm.ko"], ["insmod", vendor]]
    kvm.try_out()
    assert len(system.commands) == 2, "what is there already is accepted"
    kvm.load("tdp", TDP)
    assert system.commands[-1] == ["insmod", "kvm-amd.ko", "npt=Y"], "loaded anew for a mode"


def test_a_cpu_without_virtualization_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: Modules
) -> None:
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")
    for text in ("flags\t\t: fpu lm\n", ""):
        (tmp_path / "cpuinfo").write_text(text)
        with pytest.raises(GuestError, match="shows neither svm nor vmx"):
            Kvm(tmp_path, NoTrace()).try_out()


def test_parameters_that_nobody_asked_for_are_told_too(system: Modules, tmp_path: Path) -> None:
    kvm = Kvm(tmp_path, NoTrace())
    kvm.load("tdp", TDP)
    (system.root / "kvm/parameters/halt_poll_ns").write_text("200000\n")
    (system.root / "kvm/parameters/write_only").mkdir()
    facts = kvm.load("tdp", TDP)
    assert facts["kvm.halt_poll_ns"] == "200000" and "kvm.write_only" not in facts


class CountingProbes(Probes):
    """Remembers what is armed, and when."""

    def __init__(self, system: Modules) -> None:
        super().__init__()
        self.system, self.log = system, list[str]()

    def arm(self, watched: tuple[Watched, ...]) -> None:
        self.watched = watched
        self.log.append(f"arm {len(watched)}, RCU {self.system.expedited.read_text().strip()}")

    @contextmanager
    def loading(self) -> Iterator[None]:
        self.log.append("loading")
        yield

    def begin(self) -> None:
        self.log.append("begin")


def test_what_is_watched_is_watched_from_a_load_on(system: Modules, tmp_path: Path) -> None:
    probes, watched = CountingProbes(system), (Watched("kvm:zap", ("kvm:zap",)),)
    kvm = Kvm(tmp_path, NoTrace(), probes)
    kvm.load("tdp", TDP)
    kvm.watch(watched)
    kvm.load("tdp", TDP)
    assert probes.log == ["loading", "begin", "arm 1, RCU 1", "loading", "begin"]
    assert system.commands[-2:] == [["insmod", "kvm.ko", "tdp_mmu=Y"], ["insmod", "kvm-amd.ko", "npt=Y"]]
    done = len(system.commands)
    kvm.watch(watched)
    kvm.load("tdp", TDP)
    kvm.watch(())
    kvm.load("tdp", TDP)
    assert probes.log[5:] == ["begin", "arm 0, RCU 1", "begin"], "KVM stays when nothing is watched any more"
    assert len(system.commands) == done


# --- features of hardware --------------------------------------------------------------------------

PML = {"kvm": {"tdp_mmu": "Y"}, "kvm_intel": {"ept": "Y", "eptad": "Y", "pml": "Y"}}
INTEL = "flags\t\t: vmx ept ept_ad\nvmx flags\t: ept_ad pml\n"


@pytest.mark.parametrize(
    ("cpuinfo", "off", "said"),
    [
        ("flags\t\t: vmx\n", ("ept", "eptad", "pml"), "EPT: L1's CPU does not show ept"),
        ("flags\t\t: vmx ept\n", ("eptad", "pml"), "EPT A/D bits: L1's CPU does not show ept_ad"),
        ("flags\t\t: vmx ept ept_ad\nvmx flags\t: ept_ad\n", ("pml",), "PML: L1's CPU does not show pml"),
    ],
)
def test_what_the_cpu_does_not_show_is_lacking(
    system: Modules, tmp_path: Path, cpuinfo: str, off: tuple[str, ...], said: str
) -> None:
    system.cpuinfo.write_text(cpuinfo)
    system.stubborn = dict.fromkeys(off, "0")
    with pytest.raises(Lacking) as raised:
        Kvm(tmp_path, NoTrace()).load("tdp-pml", PML)
    assert str(raised.value) == said


def test_what_the_cpu_shows_and_kvm_does_not_take_is_a_fault_of_kvm(system: Modules, tmp_path: Path) -> None:
    """Of the kernel under test, maybe: it must not be skipped."""
    system.cpuinfo.write_text(INTEL)
    system.stubborn = {"pml": "0"}
    with pytest.raises(GuestError, match=r"MMU mode tdp-pml: kvm_intel.pml: wanted Y, read back 0"):
        Kvm(tmp_path, NoTrace()).load("tdp-pml", PML)


def test_a_feature_that_is_not_wanted_is_not_lacking(system: Modules, tmp_path: Path) -> None:
    system.cpuinfo.write_text("flags\t\t: vmx ept\n")
    without = {"kvm": {"tdp_mmu": "Y"}, "kvm_intel": {"ept": "Y", "eptad": "N", "pml": "N"}}
    assert Kvm(tmp_path, NoTrace()).load("tdp-no-eptad", without)["kvm_intel.eptad"] == "0"


def test_on_amd_nested_paging_may_be_lacking(system: Modules, tmp_path: Path) -> None:
    system.cpuinfo.write_text("flags\t\t: svm\n")
    system.stubborn = {"npt": "0"}
    with pytest.raises(Lacking, match="NPT: L1's CPU does not show npt"):
        Kvm(tmp_path, NoTrace()).load("tdp", TDP)
