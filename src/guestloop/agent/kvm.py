# SPDX-License-Identifier: GPL-2.0-or-later
"""Load KVM with the parameters of an MMU mode, and read back what it made of them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from guestloop.agent.changed import Probes, Watched
from guestloop.agent.dirty_ring import RingLimits, read_ring_limits
from guestloop.agent.kernel_log import kernel_log
from guestloop.agent.rcu import expedited_grace_periods
from guestloop.agent.symbols import read_functions
from guestloop.agent.trace import Trace
from guestloop.ground import proc
from guestloop.ground.errors import GuestError, Lacking, ProcessError, describe_status

SYS_MODULE = Path("/sys/module")
KERNEL_NOTES = Path("/sys/kernel/notes")
CPUINFO = Path("/proc/cpuinfo")
FLAGS = ("flags", "vmx flags")
TRUE = frozenset({"Y", "1"})
SUBJECTS = ("kvm_amd", "kvm_intel", "kvm")  # in the order of their removal
ORDER = "order"  # beside the modules: their names in load order (vm/payload.py)
INSMOD_S = 60.0


class Feature(NamedTuple):
    """What a parameter of KVM needs of the CPU, and how /proc/cpuinfo shows it."""

    name: str
    flag: str


# KVM switches these off by itself where the CPU has not what they need (arch/x86/kvm/vmx/vmx.c:
# hardware_setup, svm/svm.c: svm_hardware_setup).
FEATURES = {
    "kvm_amd.npt": Feature("NPT", "npt"),
    "kvm_intel.ept": Feature("EPT", "ept"),
    "kvm_intel.eptad": Feature("EPT A/D bits", "ept_ad"),
    "kvm_intel.pml": Feature("PML", "pml"),
}


def same_value(wanted: str, seen: str) -> bool:
    """Kernel parameters print booleans as Y/N or 1/0, whichever they were set with."""
    if wanted in {"Y", "N"}:
        return (seen in TRUE) == (wanted in TRUE)
    return wanted == seen


class Kvm:
    """Service: the KVM modules of L1, and the counting of what they do while they are loaded."""

    def __init__(self, modules: Path, trace: Trace, probes: Probes | None = None) -> None:
        self._directory, self._trace, self._probes = modules, trace, probes or Probes()
        self._loaded: dict[str, dict[str, str]] = {}
        self._functions: frozenset[str] = frozenset()

    def load(self, mmu: str, parameters: dict[str, dict[str, str]]) -> dict[str, str]:
        """Have KVM loaded with these parameters by module, and counted; reloads only when something differs.

        ``mmu`` names the mode in messages. Returns all parameters of the modules as they read back
        (``kvm.tdp_mmu``: ``N``), those that were not asked for included, and each module's build id. Raises
        GuestError when KVM took another value than the one asked for, or does not load, and Lacking when it
        refused a feature that the CPU does not show.
        """
        # A parameter of an earlier load that is not wanted now must go back to its default.
        if parameters != self._loaded or self._mismatch(parameters):
            with expedited_grace_periods():
                self.unload()
                with self._probes.loading():
                    self._insert_all(parameters)
                self._trace.arm(self._read_functions())
            self._loaded = parameters
        if lacks := self._find_lacking(parameters):
            raise Lacking(lacks)
        if wrong := self._mismatch(parameters):
            raise GuestError(f"MMU mode {mmu}: {wrong}")
        self._probes.begin()
        facts = {f"{module}.{key}": value for module in parameters for key, value in read_all(module).items()}
        return facts | {f"{module}.build_id": build_id(module) for module in parameters}

    def watch(self, watched: tuple[Watched, ...]) -> None:
        """Have calls of these functions counted from the next load of KVM on, and of no others.

        Where others were watched before, or some no longer are, the next ``load`` loads KVM in any case. KVM
        must be loaded already: what it refuses to have probed is found out now.
        """
        if watched == self._probes.watched and self._probes.are_whole:
            return
        with expedited_grace_periods():
            self._probes.arm(watched)
        if watched:
            self._loaded = {}

    def try_out(self) -> None:
        """Load KVM as it comes, and leave it loaded: does this kernel's KVM accept this machine?

        Raises GuestError with the kernel's own words when it does not.
        """
        wanted = ("kvm", find_vendor_module())
        self._insert_all({module: {} for module in wanted if not (SYS_MODULE / module).exists()})

    def functions(self, names: list[str]) -> list[str]:
        """Those of these functions that KVM has in this kernel; it must have been loaded before."""
        return [name for name in names if name in self._functions]

    def ring_limits(self) -> RingLimits:
        """How large dirty rings may be; KVM must have been loaded before."""
        return read_ring_limits(pml=read_parameter("kvm_intel", "pml") in TRUE)

    def _read_functions(self) -> frozenset[str]:
        """Read once in a boot: the modules are the same whenever they are loaded."""
        self._functions = self._functions or read_functions()
        return self._functions

    def unload(self) -> None:
        """Remove the KVM modules; raises ProcessError when a guest still uses them."""
        self._loaded = {}
        self._trace.disarm()
        for module in SUBJECTS:
            if (SYS_MODULE / module / "refcnt").exists():
                proc.run(["rmmod", module], timeout_s=30)

    def _insert_all(self, parameters: dict[str, dict[str, str]]) -> None:
        """Insert KVM's modules of this vendor, and before them what they need and is not there already."""
        for name in (self._directory / ORDER).read_text().split():
            module = name.replace("-", "_")
            wanted = module in parameters if module in SUBJECTS else not (SYS_MODULE / module).exists()
            if wanted:
                values = [f"{key}={value}" for key, value in parameters.get(module, {}).items()]
                insert(self._directory / f"{name}.ko", *values)

    def _find_lacking(self, wanted: dict[str, dict[str, str]]) -> str:
        """A feature that was asked for, and that KVM has switched off as the CPU does not show it.

        On a CPU that shows it KVM is at fault, or the parameter: that is no lack of hardware.
        """
        shown = cpu_flags()
        for module, values in wanted.items():
            for key, value in values.items():
                feature = FEATURES.get(f"{module}.{key}")
                refused = value in TRUE and read_parameter(module, key) not in TRUE
                if feature and refused and feature.flag not in shown:
                    return f"{feature.name}: L1's CPU does not show {feature.flag}"
        return ""

    def _mismatch(self, wanted: dict[str, dict[str, str]]) -> str:
        for module, values in wanted.items():
            for key, value in values.items():
                seen = read_parameter(module, key)
                if not seen or not same_value(value, seen):
                    return f"{module}.{key}: wanted {value}, read back {seen or 'nothing (not loaded)'}"
        return ""


def insert(module: Path, *parameters: str) -> None:
    """Load a module. Raises GuestError with what the kernel said when it refuses."""
    with kernel_log() as log:
        try:
            proc.run(["insmod", module, *parameters], timeout_s=INSMOD_S)
        except ProcessError as error:
            said = log.lines()
            reason = said[-1] if said else "the kernel does not say why"
            what = f"{module.stem} does not load: {reason} (insmod: {describe_status(error.status)})"
            lines = [what, *(f"  kernel | {line}" for line in said), str(error)]
            raise GuestError("\n".join(lines)) from error


def find_vendor_module() -> str:
    """The module for the virtualization extension of this CPU. Raises GuestError when it shows none."""
    flags = cpu_flags()
    for flag, module in (("svm", "kvm_amd"), ("vmx", "kvm_intel")):
        if flag in flags:
            return module
    raise GuestError("L1's CPU shows neither svm nor vmx", hint="see machines/ for the CPU that L1 is given")


def cpu_flags() -> frozenset[str]:
    """The features of L1's first CPU, those of VMX too (arch/x86/kernel/cpu/proc.c: show_cpuinfo)."""
    first = CPUINFO.read_text().partition("\n\n")[0]
    rows = (line.partition(":") for line in first.splitlines())
    return frozenset(flag for name, _, flags in rows if name.strip() in FLAGS for flag in flags.split())


def read_parameter(module: str, key: str) -> str:
    """Value of a module parameter, empty when the module is not loaded."""
    path = SYS_MODULE / module / "parameters" / key
    return path.read_text().strip() if path.exists() else ""


def read_all(module: str) -> dict[str, str]:
    """Every parameter of a loaded module that can be read, by name."""
    values = {}
    for path in sorted((SYS_MODULE / module / "parameters").glob("*")):
        with suppress(OSError):  # one that is only written
            values[path.name] = path.read_text().strip()
    return values


def build_id(module: str) -> str:
    """GNU build id of a loaded module (or of the kernel, ``vmlinux``) in hex.

    An ELF note: 4-byte sizes of name and descriptor, 4-byte type, name padded to 4, descriptor.
    """
    path = KERNEL_NOTES
    if module != "vmlinux":
        path = SYS_MODULE / module / "notes" / ".note.gnu.build-id"
    return parse_build_id(path.read_bytes()) if path.exists() else ""


def parse_build_id(notes: bytes) -> str:
    """The NT_GNU_BUILD_ID descriptor in a run of ELF notes, in hex; empty when there is none."""
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = (int.from_bytes(notes[at + i : at + i + 4], "little") for i in (0, 4, 8))
        name_at = at + 12
        data_at = name_at + (name_size + 3) // 4 * 4
        if kind == 3 and notes[name_at : name_at + 4] == b"GNU\0":
            return notes[data_at : data_at + size].hex()
        at = data_at + (size + 3) // 4 * 4
    return ""
