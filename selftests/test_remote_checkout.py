# SPDX-License-Identifier: GPL-2.0-or-later
"""The checkout that ``scripts/run --host`` copies: once, whole or not at all, and not over one in use."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from remote_lab import WAITS, Lab, keys, lab

from guestloop.ground.errors import LabError
from guestloop.job.made_by import MADE_BY_FILE
from guestloop.remote import checkout as checkout_module
from guestloop.remote.checkout import read_checkout
from guestloop.remote.host import Target, bring_checkout
from guestloop.remote.journey import Journey

__all__ = ["keys", "lab"]  # fixtures


@pytest.fixture
def target(lab: Lab) -> Iterator[Target]:
    """A host where nothing is yet."""
    lab.is_new()
    connection = lab.connect()
    yield Target(connection)
    connection.close()


def slots(lab: Lab) -> dict[str, str]:
    return {
        path.parent.name: path.read_text().strip()
        for path in (lab.home / ".guestloop/checkouts").glob("*/digest")
    }


def test_a_checkout_is_copied_once(lab: Lab, target: Target) -> None:
    (lab.checkout / MADE_BY_FILE).unlink()
    for name in (".git/objects", ".venv/bin", "results/1", "src/__pycache__", "src/results"):
        (lab.checkout / name).mkdir(parents=True)
        (lab.checkout / name / "file").touch()
    first = bring_checkout(target, read_checkout(lab.checkout))
    there = lab.home / ".guestloop/checkouts/1/guestloop"
    assert {path.name for path in there.iterdir()} == {"scripts", "src", ".made-by.json"}
    assert (there / "src/results/file").exists() and os.access(there / "scripts/run", os.X_OK)
    lab.server.commands.clear()
    assert bring_checkout(target, read_checkout(lab.checkout)) == first
    assert len(lab.server.commands) == 1
    assert json.loads((there / ".made-by.json").read_text())["version"]
    # The copy says the same of itself, so that results name its commit.
    assert read_checkout(there).digest == first.digest


def test_another_checkout_takes_its_place_and_its_environment(lab: Lab, target: Target) -> None:
    first = bring_checkout(target, read_checkout(lab.checkout))
    there = lab.home / ".guestloop/checkouts/1/guestloop"
    (there / ".venv").mkdir()
    (there / ".venv/made-from").write_text("kept")
    lab.changes("new")
    (lab.checkout / "scripts/there").rename(lab.checkout / "scripts/gone")
    second = bring_checkout(target, read_checkout(lab.checkout))
    assert (first.slot, second.slot) == (1, 1) and first.digest != second.digest
    assert (there / ".venv/made-from").read_text() == "kept"
    assert not (there / "scripts/there").exists() and (there / "scripts/more").read_text() == "new"
    assert slots(lab) == {"1": second.digest}


def test_a_checkout_in_use_stays(lab: Lab, target: Target) -> None:
    lab.does(WAITS)

    def leave(*_: object) -> None:
        raise LabError("left")

    with pytest.MonkeyPatch.context() as context, pytest.raises(LabError, match="left"):
        context.setattr(Journey, "_follow", leave)
        lab.run()
    lab.is_running()
    first = slots(lab)["1"]
    lab.changes("new")
    other = bring_checkout(target, read_checkout(lab.checkout))
    assert other.slot == 2 and slots(lab) == {"1": first, "2": other.digest}
    lab.let_go()
    assert lab.resume() == 4


@pytest.mark.parametrize("lines", range(1, len(checkout_module._TAKE.splitlines())))
def test_a_copy_that_breaks_off_is_copied_again(
    lab: Lab, target: Target, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any of its lines, as when the host loses its power."""
    bring_checkout(target, read_checkout(lab.checkout))
    slot = lab.home / ".guestloop/checkouts/1"
    (slot / "guestloop/.venv").mkdir()
    lab.changes("new")
    wanted = read_checkout(lab.checkout)
    done = checkout_module._TAKE.splitlines()[:lines]
    with monkeypatch.context() as context, pytest.raises(LabError, match="ended with 137"):
        context.setattr(checkout_module, "_TAKE", "\n".join([*done, "kill -9 $$"]))
        bring_checkout(target, wanted)
    assert slots(lab) in ({}, {"1": read_checkout(slot / "guestloop").digest})
    assert bring_checkout(target, wanted).slot == 1
    assert (slot / "guestloop/.venv").is_dir(), "the environment is kept"
    assert sorted(path.name for path in slot.iterdir()) == ["digest", "guestloop", "lock"]
