# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors: one tree, a kind for each, and nothing of them lost on the way through another process."""

from __future__ import annotations

import json
import re

import pytest

from guestloop.ground import errors
from guestloop.ground.errors import (
    ConfigError,
    Exit,
    GuestloopError,
    GuestStuck,
    InternalError,
    Kind,
    LabError,
    ProcessError,
    describe,
    revive,
)


def tree(base: type[GuestloopError]) -> list[type[GuestloopError]]:
    return [base, *(below for child in base.__subclasses__() for below in tree(child))]


TYPES = tree(GuestloopError)
EACH = pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)


def make(kind: type[GuestloopError], message: str, hint: str = "") -> GuestloopError:
    if issubclass(kind, ProcessError):
        return kind(["mkswap", "/dev/x"], 4, message, hint=hint)
    return kind(message, hint=hint)


def raised(error: Exception) -> Exception:
    """The error with a traceback, as one that was caught has it."""
    try:
        raise error
    except Exception as caught:  # noqa: BLE001 - any kind
        return caught


def sent(error: Exception) -> GuestloopError:
    """The error after its way through a line of JSON."""
    return revive(json.loads(json.dumps(describe(error))))


@EACH
def test_every_kind_survives_the_way_with_message_hint_and_traceback(kind: type[GuestloopError]) -> None:
    error = raised(make(kind, "L2 storm: it broke\nmore", hint="mend it"))
    here = sent(error)
    assert type(here) is kind and here.kind is kind.kind
    assert (str(here), here.hint) == (str(error), "mend it")
    assert here.exit_status is kind.exit_status
    assert "in raised" in here.traceback and "raise error" in here.traceback


@EACH
def test_the_second_hop_keeps_the_traceback_of_the_first(kind: type[GuestloopError]) -> None:
    first = sent(raised(make(kind, "it broke")))
    try:
        raise first
    except GuestloopError as error:
        second = sent(error)
    assert (type(second), str(second), second.traceback) == (kind, str(first), first.traceback)


def test_a_failed_command_keeps_what_it_printed() -> None:
    here = sent(ProcessError(["insmod", "kvm.ko"], 1, "File exists\n"))
    assert str(here) == "insmod: exit status 1\n  | File exists"
    assert here.first_line == "insmod: exit status 1"
    assert str(ProcessError(["qemu"], -9, "")) == "qemu: killed by signal 9"


def test_what_nobody_foresaw_is_internal_and_has_its_traceback() -> None:
    here = sent(raised(KeyError("ram")))
    assert type(here) is InternalError and str(here) == "KeyError: 'ram'"
    assert here.hint == "" and "raise error" in here.traceback


def test_an_unknown_kind_is_not_mistaken_for_another() -> None:
    with pytest.raises(ValueError, match="tea-time"):
        revive({"kind": "tea-time", "message": "m", "hint": "", "traceback": ""})


def test_each_type_has_a_kind_of_its_own_and_each_kind_a_type() -> None:
    assert len({kind.kind for kind in TYPES}) == len(TYPES)
    assert {kind.kind for kind in TYPES} == set(Kind)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn: list[tuple[str, str]] = []
    above: list[tuple[int, str]] = [(-1, "")]
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([ |]{4,})(?:\+-- )?([A-Z]\w+) {2,}\S", line):
            depth = len(found[1])
            while above[-1][0] >= depth:
                above.pop()
            drawn.append((found[2], above[-1][1]))
            above.append((depth, found[2]))
    real = [(kind.__name__, kind.__base__.__name__ if kind.__base__ else "") for kind in TYPES]
    assert sorted(drawn) == sorted((name, "" if base == "Exception" else base) for name, base in real)


def test_exit_statuses() -> None:
    usage = [kind for kind in TYPES if issubclass(kind, ConfigError)]
    assert {kind.exit_status for kind in usage} == {Exit.USAGE}
    lab = [kind for kind in TYPES if kind not in usage]
    assert {kind.exit_status for kind in lab} == {Exit.LAB}
    assert all(issubclass(kind, LabError) for kind in lab if kind is not GuestloopError)


def test_what_is_shown_on_a_terminal() -> None:
    error = GuestStuck("L2 storm does not answer\n  console | ...", hint="look at the console")
    assert error.render() == f"{error}\n  hint: look at the console"
    assert error.first_line == "L2 storm does not answer"
    assert GuestStuck("alone").render() == "alone"
