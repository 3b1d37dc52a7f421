# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host can do and which kind of L1 it gets, on trees of /proc and /sys as such hosts show them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from guestloop.cache import Cache
from guestloop.config import REPOSITORY
from guestloop.ground import surroundings
from guestloop.ground.errors import ConfigError, LabError
from guestloop.machines import emulator
from guestloop.machines.choice import AUTO, KINDS, choose
from guestloop.machines.emulated_svm import EmulatedSvm
from guestloop.machines.emulator import Emulator
from guestloop.machines.host import Host, KvmDevice, Vendor, read_host
from guestloop.machines.kind import PROGRAM, Qemu
from guestloop.machines.nested_kvm import NestedKvm


def tree(root: Path, flags: str = "fpu", module: str = "", nested: str = "", device: bool = False) -> Path:
    (root / "proc").mkdir()
    (root / "dev").mkdir()
    processor = "processor\t: {}\nmodel name\t: Some CPU\nflags\t\t: " + flags + "\n\n"
    (root / "proc/cpuinfo").write_text(processor.format(0) + processor.format(1))
    (root / "proc/meminfo").write_text("MemTotal:       24682208 kB\n")
    if module:
        parameters = root / "sys/module" / module / "parameters"
        parameters.mkdir(parents=True)
        (parameters / "nested").write_text(nested + "\n")
    if device:
        (root / "dev/kvm").write_text("")
    return root


def host(vendor: Vendor | None, nested: str = "", device: KvmDevice = KvmDevice.USABLE) -> Host:
    parameters = {f"{vendor.module}.nested": nested} if vendor and nested else {}
    return Host("Some CPU", 2, 24103, vendor, device, parameters=parameters)


# --- facts -----------------------------------------------------------------------------------------


def test_facts_of_an_amd_host(tmp_path: Path) -> None:
    seen = read_host(tree(tmp_path, "fpu svm", "kvm_amd", "1", device=True))
    assert seen == replace(host(Vendor.AMD, "1"), flags=frozenset({"fpu", "svm"}))


def test_facts_of_an_intel_host(tmp_path: Path) -> None:
    seen = read_host(tree(tmp_path, "vmx fpu", "kvm_intel", "Y"))
    assert seen == replace(host(Vendor.INTEL, "Y", KvmDevice.MISSING), flags=frozenset({"fpu", "vmx"}))


def test_the_module_of_another_vendor_is_no_fact_about_this_cpu(tmp_path: Path) -> None:
    assert read_host(tree(tmp_path, "vmx", "kvm_amd", "1")).nested == ""


def test_a_device_that_may_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda _path, _mode: False)  # root may open anything
    assert read_host(tree(tmp_path, device=True)).kvm_device is KvmDevice.DENIED


# --- kinds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", Vendor)
def test_hardware_with_nesting(vendor: Vendor) -> None:
    machine = choose(host(vendor, "Y"))
    assert isinstance(machine.kind, NestedKvm) and machine.vendor is vendor
    assert str(machine) == f"kvm (nested KVM: kvm_{vendor} with nested=Y)"


def test_the_emulator_shows_svm_whatever_the_host_is() -> None:
    machine = choose(host(Vendor.INTEL, "Y"), "tcg")
    assert isinstance(machine.kind, EmulatedSvm) and machine.vendor is Vendor.AMD


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (host(None), "the CPU shows neither svm nor vmx; /dev/kvm is there but cannot nest without it"),
        (host(None, device=KvmDevice.MISSING), "the CPU shows neither svm nor vmx"),
        (host(Vendor.AMD), "kvm_amd is not loaded"),
        (host(Vendor.INTEL, "N"), "kvm_intel.nested is N; reload the module with nested=1"),
        (host(Vendor.AMD, "1", KvmDevice.MISSING), "there is no /dev/kvm"),
        (host(Vendor.AMD, "1", KvmDevice.DENIED), "/dev/kvm cannot be opened for reading and writing by"),
    ],
)
def test_why_not_nested_kvm(seen: Host, reason: str) -> None:
    machine = choose(seen, AUTO)
    assert isinstance(machine.kind, EmulatedSvm)
    emulated = "tcg (QEMU's emulator with emulated SVM; nested KVM is not used: "
    assert str(machine).startswith(emulated + reason)
    with pytest.raises(LabError) as raised:
        choose(seen, "kvm")
    assert str(raised.value).startswith(f"--accel kvm: {reason}")
    assert "--accel tcg" in raised.value.hint
    assert raised.value.exit_status == 3


def test_without_an_extension_nested_kvm_shows_no_vendor() -> None:
    with pytest.raises(LabError, match="nested KVM: the CPU shows neither svm nor vmx"):
        NestedKvm().vendor(host(None))


def test_a_kind_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match="unknown accelerator 'xen'") as raised:
        choose(host(None), "xen")
    assert raised.value.hint == f"accelerators: {', '.join([AUTO, *(kind.name for kind in KINDS)])}"


def test_verdict_json_may_hold_the_name_of_every_kind_and_no_other() -> None:
    schema = json.loads((REPOSITORY / "docs/verdict.schema.json").read_text())
    assert sorted(schema["properties"]["accelerator"]["enum"]) == sorted(kind.name for kind in KINDS)


def test_some_kind_runs_on_any_host() -> None:
    assert KINDS[-1].availability(host(None, device=KvmDevice.MISSING)).usable


# --- their QEMUs -----------------------------------------------------------------------------------


def test_nested_kvm_uses_the_installed_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program = tmp_path / PROGRAM
    program.write_text("#!/bin/sh\necho QEMU emulator version 7.2.22\necho Copyright\n")
    program.chmod(0o755)
    seen = NestedKvm().find_qemu(Cache(tmp_path / "cache"))
    assert seen == Qemu(program, "QEMU emulator version 7.2.22")


def test_nested_kvm_without_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "search_path", lambda: str(tmp_path))
    with pytest.raises(LabError, match=f"program not found: {PROGRAM}"):
        NestedKvm().find_qemu(Cache(tmp_path / "cache"))


def test_the_emulator_is_our_own_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = Emulator(tmp_path / "abcdef0123456789" / PROGRAM, "qemu 1:7.2", ("0001-a.patch", "0002-b.patch"))
    monkeypatch.setattr(emulator, "build_emulator", lambda _cache: built)
    seen = EmulatedSvm().find_qemu(Cache(tmp_path))
    assert seen == Qemu(built.program, "qemu 1:7.2, patches 0001 0002, build abcdef012345")
