# SPDX-License-Identifier: GPL-2.0-or-later
"""The scripted L1 is what it stands for: the same services, and the line protocol of the payload in C."""

from __future__ import annotations

import dataclasses
import inspect
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import scripted
import test_images_payload
from scripted import Script, ScriptedLab
from scripted.kernel import STACKS, Kernel
from scripted.machine import REQUEST
from scripted.memory import Pages
from scripted.payload import Payload

from guestloop import counters
from guestloop.agent.services import Agent

lab = scripted.lab
payload = test_images_payload.payload

# Methods that need nothing of a real machine: those of the real service run.
REAL = {
    "system": {"raise_faults"},
    "settings": {"lay_ground", "read"},
    "trace": {"read"},
    "guests": {
        *("launch", "start", "command", "listen", "finish_lap", "qmp", "counters", "stop", "stop_all"),
    },
    "migration": {
        *("pause", "begin", "break_at", "release", "mark", "take_marks", "wait", "evidence", "progress"),
    },
}


def methods(service: type[Any]) -> dict[str, Callable[..., Any]]:
    return {name: item for name, item in inspect.getmembers(service, inspect.isfunction) if name[0] != "_"}


@pytest.fixture
def agent(lab: ScriptedLab, tmp_path: Path) -> Agent:
    lab.slot.acquire()
    return scripted.make_agent(lab.l1, tmp_path)


@pytest.mark.parametrize("namespace", [item.name for item in dataclasses.fields(Agent)])
def test_services_have_the_signatures_of_the_real_ones(agent: Agent, namespace: str) -> None:
    real, ours = get_type_hints(Agent)[namespace], type(getattr(agent, namespace))
    assert issubclass(ours, real)
    assert methods(real).keys() == methods(ours).keys()
    for name, method in methods(ours).items():
        wanted = inspect.signature(methods(real)[name], eval_str=True)
        assert inspect.signature(method, eval_str=True) == wanted, f"{namespace}.{name}"
    same = {name for name, method in methods(ours).items() if method is methods(real)[name]}
    assert same == REAL.get(namespace, set()) & methods(real).keys(), "what is not scripted is real"


@pytest.mark.parametrize("path", STACKS)
def test_scripted_stacks_are_of_the_paths_that_they_are_called_by(path: str) -> None:
    kernel = Kernel(REQUEST)
    kernel.flush("l2", path, 3)
    found = counters.parse_histogram(kernel.histograms()["request"])
    assert counters.attribute(found, REQUEST) == {path: 3}
    assert kernel.counters("l2")["remote_tlb_flush_requests"] == 3


# --- the payload -----------------------------------------------------------------------------------


class Talker:
    """A scripted payload, spoken to as the real one is by test_images_payload.Payload."""

    def __init__(self, vcpus: int) -> None:
        ours, theirs = socket.socketpair()
        self._port, self.lines = ours, ours.makefile("r", encoding="ascii")
        self.payload = Payload(Pages("l2", Kernel(REQUEST), Script()), Script(), vcpus, lambda: None)
        self.payload.attach(theirs)

    def ask(self, command: str) -> str:
        """Send a command; the first line that is neither a report nor of page frames."""
        self._port.sendall(f"{command}\n".encode())
        return next(line.rstrip("\n") for line in self.lines if not line.startswith(("progress ", "frames ")))

    def close(self) -> None:
        self._port.close()


@pytest.fixture
def talker() -> Iterator[Talker]:
    talker = Talker(vcpus=2)
    assert next(iter(talker.lines)).startswith("hello ")
    yield talker
    talker.close()


DIALOGUE = (
    "hello",
    "check",
    "stop",
    "start",
    "where",
    "load name=dance mib=2",
    "load name=sweep mib=2 seed=7 window=16 pace_us=1",
    "load name=sweep mib=2",
    "start part=1 parts=2 grain=1024",
    "start part=1 parts=4",
    "start",
    "check",
    "stop",
    "stop",
    "check",
    "dance",
)


def shape(line: str) -> tuple[str, ...]:
    """A line without its values, apart from those of errors and what was asked for: those are the same."""
    verb, *words = line.split()
    named = [word.partition("=")[0] for word in words if not word.startswith("v")]
    return (line,) if verb == "error" else (verb, *named)


def test_it_answers_as_the_payload_in_c_does(talker: Talker, payload: test_images_payload.Payload) -> None:
    real, ours = ([shape(one.ask(line)) for line in DIALOGUE] for one in (payload, talker))
    assert ours == real


def test_each_vcpu_is_reported(talker: Talker) -> None:
    talker.ask("load name=sweep mib=2")
    talker.ask("start laps=2")
    assert next(iter(talker.lines)).split()[:1] == ["stopped"]
    assert talker.payload.visits == [1024, 1024]


def test_reports_come_while_a_load_runs(talker: Talker) -> None:
    talker.ask("load name=sweep mib=2")
    talker.ask("start report_ms=100")
    talker.ask("hello")
    reports = [next(iter(talker.lines)) for _ in range(3)]
    assert all(line.startswith("progress ") and " v0=" in line and " v1=" in line for line in reports)
    talker.ask("stop")
