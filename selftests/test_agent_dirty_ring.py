# SPDX-License-Identifier: GPL-2.0-or-later
"""How large dirty rings may be, as virt/kvm/kvm_main.c and dirty_ring.c decide it."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from guestloop.agent import kvm
from guestloop.agent.dirty_ring import RingLimits, read_ring_limits
from guestloop.agent.kvm import Kvm
from guestloop.agent.trace import Trace


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /dev/kvm that takes 65536 entries of 16 bytes."""

    def ioctl(_descriptor: int, request: int, argument: int) -> int:
        assert (request, argument) == (0xAE03, 192)
        return 65536 * 16

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    (tmp_path / "kvm").touch()
    return tmp_path / "kvm"


def test_what_kvm_keeps_free_depends_on_pml(device: Path) -> None:
    assert read_ring_limits(False, device) == RingLimits(64, 65536)
    assert read_ring_limits(True, device) == RingLimits(576, 65536)


@pytest.mark.parametrize(("reserved", "least"), [(64, 256), (256, 256), (257, 512), (576, 1024)])
def test_the_least_is_a_page_and_a_power_of_two(reserved: int, least: int) -> None:
    limits = RingLimits(reserved, 65536)
    assert limits.least == least
    assert limits.refuse(least) == "" and limits.refuse(least // 2) and limits.refuse(65536) == ""
    assert limits.refuse(2 * 65536)


def test_the_service_asks_the_kvm_that_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def read(pml: bool) -> RingLimits:
        seen.append(pml)
        return RingLimits(64, 1)

    monkeypatch.setattr(kvm, "read_ring_limits", read)
    monkeypatch.setattr(kvm, "SYS_MODULE", tmp_path / "sys")
    service = Kvm(tmp_path, Trace())
    service.ring_limits()
    (tmp_path / "sys/kvm_intel/parameters").mkdir(parents=True)
    for value in ("Y", "N"):
        (tmp_path / "sys/kvm_intel/parameters/pml").write_text(f"{value}\n")
        service.ring_limits()
    assert seen == [False, True, False]
