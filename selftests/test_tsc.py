# SPDX-License-Identifier: GPL-2.0-or-later
"""The frequency of the time-stamp counter, as an emulated L1 is told it."""

from __future__ import annotations

import platform
from itertools import count

import pytest

from guestloop.machines.emulated_svm import EmulatedSvm
from guestloop.machines.nested_kvm import NestedKvm
from guestloop.machines.tsc import Instant, khz_between, measure_tsc_khz, take_instant


def test_of_many_tries_the_shortest_counts() -> None:
    """One that was interrupted between its two readings of the clock says nothing."""
    moments = iter([0, 5000, 5000, 5010, *([9000, 9900] * 500)])
    ticks = count(100)
    assert take_instant(lambda: next(ticks), lambda: next(moments)) == Instant(101, 5005)


def test_frequency() -> None:
    assert khz_between(Instant(0, 0), Instant(244_543_000, 100_000_000)) == 2_445_430


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only an x86 host has this counter")
def test_two_measurements_of_this_host_agree() -> None:
    first, second = measure_tsc_khz(), measure_tsc_khz()
    assert 100_000 < first < 20_000_000
    assert abs(first - second) < first / 1000


def test_a_host_without_the_counter_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert measure_tsc_khz() == 0
    assert EmulatedSvm().kernel_words() == ()


def test_only_an_emulated_l1_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guestloop.machines.emulated_svm.measure_tsc_khz", lambda: 2_445_430)
    assert EmulatedSvm().kernel_words() == ("tsc_early_khz=2445430",)
    assert NestedKvm().kernel_words() == ()


def test_a_host_that_forbids_executable_memory_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr("guestloop.machines.tsc.mmap.mmap", refuse)
    assert measure_tsc_khz() == 0
