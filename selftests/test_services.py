# SPDX-License-Identifier: GPL-2.0-or-later
"""The services of the agent and of the lab: whatever their methods take and return can be sent."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import itertools
import json
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import pytest

from guestloop.agent.services import Agent, make_agent
from guestloop.ground.codec import CodecError, decode, encode, hints_of
from guestloop.ground.rpc import Methods, client
from guestloop.lab.services import LabServices

PLAIN: Mapping[Any, Any] = {
    bool: True,
    int: 7,
    float: 2.5,
    str: "text",
    Path: Path("/a b"),
    Any: {"any": [1, None]},
    None: None,
    type(None): None,
}


def samples(kind: Any) -> list[Any]:
    """Values of an annotation, each alternative at least once. Raises CodecError for what cannot be sent."""
    if kind in PLAIN:
        return [PLAIN[kind]]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return [value for member in arguments for value in samples(member)]
    if origin is tuple and arguments[-1] is not Ellipsis:
        return [tuple(samples(member)[0] for member in arguments)]
    if origin is not None and issubclass(origin, Mapping):
        return [{}, dict(itertools.product(samples(arguments[0])[:1], samples(arguments[1])[:1]))]
    if origin is not None and issubclass(origin, Sequence):
        return [tuple(samples(arguments[0]))] if origin is tuple else [[], samples(arguments[0])]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return list(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        values = {name: samples(hint)[0] for name, hint in hints_of(kind).items()}
        return [kind(**values)]
    raise CodecError(f"{kind} cannot be sent")


def check(kind: Any) -> None:
    """Send values of it through JSON; they must come back as they were."""
    for value in samples(kind):
        assert decode(kind, json.loads(json.dumps(encode(value)))) == value


def methods(services: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every method of every service, by the name it is called by."""
    for namespace, service in hints_of(services).items():
        for name, function in inspect.getmembers(service, inspect.isfunction):
            if not name.startswith("_"):
                yield f"{namespace}.{name}", function


EVERY = [pytest.param(function, id=name) for side in (Agent, LabServices) for name, function in methods(side)]


@pytest.mark.parametrize("function", EVERY)
def test_arguments_and_result_of_every_method_can_be_sent(function: Callable[..., Any]) -> None:
    parameters = [name for name in inspect.signature(function).parameters if name != "self"]
    hints = hints_of(function)
    assert {*parameters, "return"} == set(hints), "a parameter without a type cannot be decoded"
    for kind in hints.values():
        check(kind)


@pytest.mark.parametrize("function", EVERY)
def test_every_method_says_what_it_does(function: Callable[..., Any]) -> None:
    assert (function.__doc__ or "").strip()


class Wrong:
    """Service: what must not pass."""

    def of(self, numbers: set[int]) -> object:
        """Neither can be sent."""
        return numbers


def test_a_type_that_cannot_be_sent_is_found_here() -> None:
    for kind in hints_of(Wrong.of).values():
        with pytest.raises(CodecError):
            check(kind)


def test_a_namespace_of_the_agent_is_the_module_that_serves_it() -> None:
    for namespace, service in hints_of(Agent).items():
        assert service.__module__ == f"guestloop.agent.{namespace}"
        assert (inspect.getdoc(service) or "").startswith("Service: ")


def test_the_agent_of_an_l1_has_every_service(tmp_path: Path) -> None:
    agent = make_agent(tmp_path)
    for namespace, service in hints_of(Agent).items():
        assert type(getattr(agent, namespace)) is service
    answer = json.loads(Methods(agent).answer('{"id": 1, "method": "guests.stop_all"}'))
    assert answer == {"id": 1, "result": []}


def test_services_of_an_agent_see_the_same_guests(tmp_path: Path) -> None:
    agent = make_agent(tmp_path)
    rosters = [vars(service).get("_roster") for service in vars(agent).values()]
    assert len({id(roster) for roster in rosters if roster is not None}) == 1


def test_a_client_has_every_method_of_the_agent() -> None:
    called: list[str] = []

    def call(method: str, params: Mapping[str, Any], timeout_s: float) -> Any:
        called.append(method)
        raise LookupError

    far = client(Agent, call)
    for name, function in methods(Agent):
        namespace, _, method = name.partition(".")
        parameters = list(inspect.signature(function).parameters)[1:]
        values = {parameter: samples(hints_of(function)[parameter])[0] for parameter in parameters}
        with pytest.raises(LookupError):
            getattr(getattr(far, namespace), method)(**values)
    assert called == [name for name, _ in methods(Agent)]


# --- types -----------------------------------------------------------------------------------------

TOP = Path(__file__).resolve().parents[1]
CALLS = """
from guestloop.agent.services import Agent
from guestloop.ground.rpc import Call, client

def work(call: Call) -> None:
    agent = client(Agent, call)
    tail: str = agent.guests.stop("storm")
    agent.guests.halt("storm")
    agent.guests.stop(guest="storm")
    agent.guests.stop(7)
    seconds: int = agent.guests.stop("storm")
"""


@pytest.mark.types
def test_mypy_rejects_a_call_that_the_agent_would_refuse(tmp_path: Path) -> None:
    """Its cache is that of scripts/test, so that this takes a second."""
    (tmp_path / "calls.py").write_text(CALLS)
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", f"{tmp_path}/calls.py"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    errors = [
        line.removeprefix(f"{tmp_path}").split(":", 2)[1:]
        for line in done.stdout.splitlines()
        if " error: " in line
    ]
    assert [(int(line), text.rpartition("[")[2]) for line, text in errors] == [
        (8, "attr-defined]"),
        (9, "call-arg]"),
        (10, "arg-type]"),
        (11, "assignment]"),
    ], done.stdout + done.stderr


# --- the main function -----------------------------------------------------------------------------


@dataclass
class Served:
    """Stands for the server: what it was made with, and whether it served."""

    port: int
    methods: Methods
    served: bool = False

    def serve_forever(self) -> None:
        self.served = True


def test_the_agent_serves_at_the_port_it_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = importlib.import_module("guestloop.agent.__main__")
    made: list[Served] = []
    watched: list[bool] = []

    def make(port: int, methods: Methods) -> Served:
        made.append(Served(port, methods))
        return made[0]

    monkeypatch.setattr(program, "Server", make)
    monkeypatch.setattr(program, "watch_threads", lambda: watched.append(True))
    monkeypatch.setattr(sys, "argv", ["agent", "7070", str(tmp_path)])
    program.main()
    (server,) = made
    assert (server.port, server.served, watched) == (7070, True, [True])
    answer = json.loads(server.methods.answer('{"id": 1, "method": "system.raise_faults"}'))
    assert answer == {"id": 1, "result": None}
