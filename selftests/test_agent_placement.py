# SPDX-License-Identifier: GPL-2.0-or-later
"""vCPUs that come to other CPUs."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from guestloop.agent.guests import Roster
from guestloop.agent.placement import moving
from guestloop.agent.regions import Atlas, Regions
from guestloop.ground.errors import GuestError
from guestloop.ground.wait import wait_for

MOVER = "moving-vcpus"


def regions(*threads: int) -> Regions:
    """The service, with a guest whose vCPUs are these threads."""
    roster = Roster()
    running: dict[str, Any] = roster.running
    running["a"] = SimpleNamespace(vcpu_threads=lambda: list(threads))
    return Regions(roster, Atlas())


class Machine:
    """CPUs, and where threads were put on them; thread 99 does not live."""

    def __init__(self, cpus: set[int]) -> None:
        self.cpus = cpus
        self.moves: list[tuple[int, int]] = []

    def put(self, thread: int, cpus: list[int]) -> None:
        if thread == 99:
            raise ProcessLookupError
        (cpu,) = cpus
        self.moves.append((thread, cpu))

    def wait_for_moves(self, number: int) -> None:
        wait_for(f"{number} moves", lambda: len(self.moves) >= number or None, 5.0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine({0, 3})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: machine.cpus)
    monkeypatch.setattr(os, "sched_setaffinity", machine.put)
    return machine


def movers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == MOVER]


def test_each_vcpu_comes_to_another_cpu_with_each_turn(machine: Machine) -> None:
    service = regions(71, 72)
    assert service.move_vcpus("a", 1) == [3, 0] and machine.moves == [(71, 3), (72, 0)]
    assert service.move_vcpus("a", 2) == [0, 3] and machine.moves[2:] == [(71, 0), (72, 3)]


def test_with_one_cpu_vcpus_cannot_be_moved(machine: Machine) -> None:
    machine.cpus = {0}
    with pytest.raises(GuestError, match="this L1 has one CPU"):
        regions(71).move_vcpus("a", 1)
    with pytest.raises(GuestError, match="this L1 has one CPU"), moving([71], every_s=0.001):
        pytest.fail("the work began with vCPUs that cannot be moved")
    assert not movers()


def test_vcpus_move_until_the_work_is_done(machine: Machine) -> None:
    with moving([71], every_s=0.001):
        machine.wait_for_moves(4)
    assert machine.moves[:4] == [(71, 0), (71, 3), (71, 0), (71, 3)]
    assert not movers()


def test_vcpus_that_end_are_no_longer_moved(machine: Machine) -> None:
    threads = [71]
    with moving(threads, every_s=0.001):
        machine.wait_for_moves(2)
        threads[0] = 99
        wait_for("the mover to end", lambda: not movers() or None, 5.0)
