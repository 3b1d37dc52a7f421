# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes on functions that differ between kernels, on files that stand in for tracefs."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestloop.agent import changed
from guestloop.agent.changed import Changed, Hits, Probes, Watched
from guestloop.ground.errors import GuestError

SPTE = Watched("kvm:mmu_spte_update", ("kvm:mmu_spte_update",))
ZAP = Watched("kvm:zap", ("kvm:zap.constprop.0", "kvm:zap.part.0"))
UNMAP = Watched("vmlinux:try_to_unmap_one", ("try_to_unmap_one",))
INTEL = Watched("kvm_intel:vmx_flush", ("kvm_intel:vmx_flush",))


class Kernel:
    """A tracefs that appends what is written, as files do, and /sys/module beside it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.modules = root / "tracing", root / "module"
        (self.modules / "kvm").mkdir(parents=True)
        self.root.mkdir()
        (self.root / "kprobe_events").write_text("")
        self.refuses = ""
        self.written: list[tuple[str, str]] = []
        monkeypatch.setattr(changed, "write_control", self.write)
        self.probes = Probes(self.root, self.modules)
        self.profile()

    def write(self, path: Path, text: str) -> None:
        if self.refuses and self.refuses in text:
            raise GuestError(f"tracefs refused {text!r} in {path.name}: Invalid argument")
        self.written.append((str(path.relative_to(self.root)), text))

    def profile(self, **hits: tuple[int, int]) -> None:
        """As probes_profile_seq_show() prints it; others have probes too."""
        rows = {"request": (77, 0), **hits}
        lines = (f"  {name:<44} {seen:15} {missed:15}\n" for name, (seen, missed) in rows.items())
        (self.root / "kprobe_profile").write_text("".join(lines))


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path, monkeypatch)


def test_each_place_where_a_function_begins_has_a_probe(kernel: Kernel) -> None:
    kernel.probes.arm((SPTE, ZAP, UNMAP))
    assert kernel.written == [
        ("kprobe_events", "p:guestloop/changed_0 kvm:mmu_spte_update"),
        ("events/guestloop/changed_0/trigger", "traceon"),
        ("kprobe_events", "p:guestloop/changed_1 kvm:zap.constprop.0"),
        ("events/guestloop/changed_1/trigger", "traceon"),
        ("kprobe_events", "p:guestloop/changed_2 kvm:zap.part.0"),
        ("events/guestloop/changed_2/trigger", "traceon"),
        ("kprobe_events", "p:guestloop/changed_3 try_to_unmap_one"),
        ("events/guestloop/changed_3/trigger", "traceon"),
    ]
    kernel.written.clear()
    kernel.probes.disarm()
    assert [text for _, text in kernel.written] == [
        text for number in range(4) for text in ("!traceon", f"-:guestloop/changed_{number}")
    ]
    assert kernel.probes.read() == Hits({}, {}) and kernel.probes.watched == ()


def test_calls_are_counted_for_each_round_and_those_of_the_load_for_all(kernel: Kernel) -> None:
    probes = kernel.probes
    probes.arm((SPTE, ZAP))
    kernel.profile(changed_0=(5, 0))
    with probes.loading():
        kernel.profile(changed_0=(5, 0), changed_2=(1, 0))
    probes.begin()
    assert Changed(probes).read() == Hits({"kvm:mmu_spte_update": 0, "kvm:zap": 1}, {})
    kernel.profile(changed_0=(7, 0), changed_1=(3, 0), changed_2=(1, 2))
    assert probes.read().counts == {"kvm:mmu_spte_update": 2, "kvm:zap": 6}, "a call that was missed is one"
    probes.begin()
    assert probes.read().counts == {"kvm:mmu_spte_update": 0, "kvm:zap": 1}


def test_what_runs_before_counting_begins_has_no_probe_then(kernel: Kernel) -> None:
    probes = kernel.probes
    probes.arm((SPTE, ZAP, UNMAP))
    probes.begin()
    kernel.profile(changed_0=(5, 0), changed_2=(1, 1))
    kernel.written.clear()
    Changed(probes).begin_counting()
    assert [text for _, text in kernel.written] == [
        text for number in (0, 1, 2) for text in ("!traceon", f"-:guestloop/changed_{number}")
    ]
    kernel.profile(changed_3=(4, 0))
    Changed(probes).end_counting()
    calls = {"kvm:mmu_spte_update": 5, "kvm:zap": 2, "vmlinux:try_to_unmap_one": 4}
    assert probes.read() == Hits(calls, {}, disturbing=4)
    probes.retire()  # another phase of the same round
    kernel.profile()
    probes.note_disturbing()
    assert probes.read() == Hits(calls, {}, disturbing=4) and not probes.are_whole


def test_probes_that_were_never_hit_stay_for_all_rounds(kernel: Kernel) -> None:
    kernel.probes.arm((SPTE,))
    kernel.probes.begin()
    kernel.written.clear()
    kernel.probes.retire()
    assert kernel.written == [] and kernel.probes.are_whole
    kernel.profile(changed_0=(3, 0))
    kernel.probes.note_disturbing()
    assert kernel.probes.read().disturbing == 3
    kernel.probes.begin()
    assert kernel.probes.read() == Hits({"kvm:mmu_spte_update": 0}, {})


def test_a_function_that_the_kernel_refuses_is_named_with_its_reason(kernel: Kernel) -> None:
    kernel.refuses = "kvm:zap.part.0"
    kernel.probes.arm((SPTE, ZAP))
    why = "tracefs refused 'p:guestloop/changed_2 kvm:zap.part.0' in kprobe_events: Invalid argument"
    assert kernel.probes.read() == Hits({"kvm:mmu_spte_update": 0}, {"kvm:zap": why})
    kernel.profile(changed_1=(4, 0))
    assert kernel.probes.read().counts["kvm:zap"] == 4, "seen at the entry that has a probe"


def test_a_probe_that_cannot_be_armed_is_removed_again(kernel: Kernel) -> None:
    kernel.refuses = "traceon"
    kernel.probes.arm((SPTE,))
    assert "refused 'traceon'" in kernel.probes.read().unprobed["kvm:mmu_spte_update"]
    kernel.probes.disarm()
    assert kernel.written[-1] == ("kprobe_events", "-:guestloop/changed_0")


def test_a_module_that_is_not_loaded_does_not_run(kernel: Kernel) -> None:
    kernel.probes.arm((SPTE, INTEL))
    assert kernel.probes.read() == Hits({"kvm:mmu_spte_update": 0, "kvm_intel:vmx_flush": 0}, {})
    assert not any("vmx_flush" in text for _, text in kernel.written)
    (kernel.modules / "kvm_intel").mkdir()
    why = "kvm_intel was loaded after the probes were armed"
    assert kernel.probes.read() == Hits({"kvm:mmu_spte_update": 0}, {"kvm_intel:vmx_flush": why})


def test_too_many_functions_are_not_probed(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed, "MOST", 2)
    kernel.probes.arm((SPTE, ZAP))
    why = "3 probes would be needed, at most 2 are armed"
    assert kernel.probes.read() == Hits({}, {"kvm:mmu_spte_update": why, "kvm:zap": why})
    assert kernel.written == []
