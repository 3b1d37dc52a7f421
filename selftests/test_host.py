"""What a machine can do, on small trees of /proc and /sys as such machines show them."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestloop.ground.errors import LabError
from guestloop.machines.host import Accelerator, Vendor, choose_accelerator, guest_vendor, read_host


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


def test_amd_with_nesting(tmp_path: Path) -> None:
    host = read_host(tree(tmp_path, "fpu svm", "kvm_amd", "1", device=True))
    assert (host.vendor, host.nested_kvm, host.cpus, host.memory_mib) == (Vendor.AMD, True, 2, 24103)
    assert choose_accelerator(host, "auto") is Accelerator.KVM
    assert guest_vendor(host, Accelerator.KVM) is Vendor.AMD


def test_intel_with_nesting(tmp_path: Path) -> None:
    host = read_host(tree(tmp_path, "vmx fpu", "kvm_intel", "Y", device=True))
    assert host.nested_kvm
    assert guest_vendor(host, Accelerator.KVM) is Vendor.INTEL
    assert guest_vendor(host, Accelerator.TCG) is Vendor.AMD


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"device": True}, "neither svm nor vmx; /dev/kvm is there but cannot nest"),
        ({}, "neither svm nor vmx"),
        ({"flags": "svm", "device": True}, "kvm_amd is not loaded"),
        ({"flags": "vmx", "module": "kvm_intel", "nested": "N", "device": True}, "kvm_intel.nested is N"),
        ({"flags": "svm", "module": "kvm_amd", "nested": "1"}, "there is no /dev/kvm"),
    ],
)
def test_why_not(tmp_path: Path, facts: dict[str, str | bool], reason: str) -> None:
    host = read_host(tree(tmp_path, **facts))  # type: ignore[arg-type]
    assert not host.nested_kvm and reason in host.reason
    assert choose_accelerator(host, "auto") is Accelerator.TCG
    with pytest.raises(LabError, match="--accel kvm: ") as raised:
        choose_accelerator(host, "kvm")
    assert raised.value.exit_status == 3
