# SPDX-License-Identifier: GPL-2.0-or-later
"""Threads of the agent that have no caller: what breaks in one of them reaches whoever waits."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from guestloop.agent import migration as module
from guestloop.agent.guests import Roster
from guestloop.agent.migration import Migration
from guestloop.agent.placement import moving
from guestloop.agent.system import System
from guestloop.agent.trace import Trace
from guestloop.ground import threads
from guestloop.ground.errors import InternalError, describe
from guestloop.ground.wait import wait_for


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the agent, whose ``main`` does this."""
    monkeypatch.setattr(threads, "_kept", [])
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    threads.watch_threads()


class Confused:
    """A QEMU that answers query-migrate with something that nobody foresaw."""

    def __init__(self, name: str) -> None:
        self.name = name

    def execute(self, command: str, timeout_s: float = 60.0, **_arguments: object) -> Any:
        return {"status": "active", "ram": None} if command == "query-migrate" else {}


def test_a_watcher_that_breaks_ends_the_wait_for_its_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "counter_names", lambda _guest: {"vm": set(), "vcpu": set()})
    monkeypatch.setattr(module, "read_counters", lambda _guest, _names: {})
    roster = Roster()
    running: dict[str, Any] = roster.running
    running |= {name: Confused(name) for name in ("a", "b")}
    migration = Migration(roster, Trace())
    migration.prepare("a", "b", [], {})
    migration.begin()
    with pytest.raises(
        InternalError, match=r"^the watcher of the migration failed: AttributeError"
    ) as raised:
        migration.wait(["completed"], 0, 30.0)
    assert "in _rounds" in describe(raised.value)["traceback"], "where it broke, not where one waited"


def test_vcpus_that_move_no_longer_are_a_fault_of_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[int] = []

    def put(thread: int, _cpus: object) -> None:
        moves.append(thread)
        if len(moves) == 3:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    monkeypatch.setattr(os, "sched_setaffinity", put)
    with moving([71], every_s=0.001):
        wait_for("the fault", lambda: threads._kept or None, 5.0, interval=0.001)
    with pytest.raises(InternalError, match=r"^thread moving-vcpus of the agent failed: OSError: .*Invalid"):
        System().raise_faults()
