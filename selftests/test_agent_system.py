# SPDX-License-Identifier: GPL-2.0-or-later
"""L1 as a machine: what it says it is, its pace, its warnings and its console."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from guestloop.agent import system
from guestloop.agent.system import System
from guestloop.ground import threads
from guestloop.ground.errors import InternalError
from guestloop.ground.wait import Deadline, clock


def test_hello_tells_one_boot_and_kernel_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "build_id", lambda module: f"id of {module}")
    hello = System().hello()
    assert (hello.release, hello.build_id) == (os.uname().release, "id of vmlinux")
    assert hello.cpus == os.cpu_count() and hello.uptime_s > 0


@pytest.fixture
def usual() -> Iterator[None]:
    yield
    clock.pace = clock.slowdown = 1.0


@pytest.mark.usefixtures("usual")
def test_the_pace_stretches_the_deadlines_of_the_agent() -> None:
    System().set_pace(4.0, 2.0)
    assert 39 < Deadline(10).left <= 40
    assert clock.slowdown == 2.0, "what CPU time is corrected by"
    System().set_pace(1.0, 1.0)
    assert 9 < Deadline(10).left <= 10


def test_each_warn_once_warns_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "WARN_ONCE", tmp_path / "clear_warn_once")
    assert System().rearm_warnings() is False
    assert not (tmp_path / "clear_warn_once").exists()
    (tmp_path / "clear_warn_once").write_text("")
    assert System().rearm_warnings() is True
    assert (tmp_path / "clear_warn_once").read_text() == "1"


def test_a_line_goes_to_the_console_whatever_its_loglevel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "KMSG", tmp_path / "kmsg")
    System().write_console("guestloop: end of round 1")
    assert (tmp_path / "kmsg").read_text() == "<0>guestloop: end of round 1\n"


def test_a_thread_of_the_agent_that_died_is_an_error_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_kept", [])
    System().raise_faults()
    threads.keep("thread port-storm", KeyError("reads"))
    with pytest.raises(InternalError, match=r"^thread port-storm of the agent failed: KeyError: 'reads'$"):
        System().raise_faults()
    System().raise_faults()
