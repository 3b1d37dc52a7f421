# SPDX-License-Identifier: GPL-2.0-or-later
"""Results: stored whole or not at all, whatever happens to the process that writes them, and read back."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from recorded import RECORDED, in_todays_form, update_plan, update_round

from guestloop.ground.errors import LabError
from guestloop.results.cells import Cell, Mmu
from guestloop.results.files import write_json
from guestloop.results.findings import Bearing, Finding, FindingKind
from guestloop.results.plan import PLAN_FILE
from guestloop.results.records import Outcome, Round, read_rounds, write_round

DIES_WHILE_IT_WRITES = """
import os, signal, sys
from pathlib import Path
from guestloop.results import files
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
files.write_json(Path(sys.argv[1]), {"a": 1})
"""


@pytest.fixture(params=["without a name until it is whole", "beside"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to write: the second is that of file systems without O_TMPFILE."""
    if request.param == "beside":
        real_open = os.open

        def refuse(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            return real_open(path, flags, mode, dir_fd=dir_fd)

        monkeypatch.setattr(os, "open", refuse)
    return str(request.param)


@pytest.mark.usefixtures("way")
def test_a_result_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(FileExistsError):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    write_json(path, {"a": 3}, replace=True)
    assert json.loads(path.read_text()) == {"a": 3}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.usefixtures("way")
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "a.json", {"a": 1})
    assert not list(tmp_path.iterdir())


def test_kill_9_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DIES_WHILE_IT_WRITES, str(tmp_path / "a.json")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not list(tmp_path.iterdir())


# --- rounds and their findings ---------------------------------------------------------------------

MINIMAL = Round(Cell("asyncpf", Mmu.TDP, {"load": "read-own"}), "patched", 1, 1, Outcome.MEASURED)


def with_findings(*kinds: FindingKind, reason: str = "") -> Round:
    findings = tuple(Finding(kind, f"{kind} was seen\n  details") for kind in kinds)
    return replace(MINIMAL, findings=findings, reason=reason)


def test_findings_survive_being_stored(tmp_path: Path) -> None:
    record = with_findings(*FindingKind)
    path = write_round(tmp_path, record)
    assert json.loads(path.read_text())["findings"][0] == {
        "kind": "contents",
        "text": "contents was seen\n  details",
    }
    assert read_rounds(tmp_path) == [record]


@pytest.mark.parametrize("damage", [None, [{"kind": "moody", "text": ""}], [{"kind": "stuck"}], ["stuck"]])
def test_findings_that_cannot_be_read_are_refused(tmp_path: Path, damage: object) -> None:
    path = write_round(tmp_path, MINIMAL)
    data = json.loads(path.read_text())
    write_json(path, data | {"findings": damage}, replace=True)
    with pytest.raises(LabError, match="cannot be read as a result"):
        read_rounds(tmp_path)


@pytest.mark.parametrize("kind", list(FindingKind))
def test_a_kind_says_what_it_does_to_its_round(kind: FindingKind) -> None:
    record = with_findings(kind)
    seen = {
        Bearing.WRONG: record.is_wrong,
        Bearing.INVALID: record.is_invalid,
        Bearing.SKIPPED: record.is_skipped,
    }
    assert [bearing for bearing, holds in seen.items() if holds] == [kind.bearing]


def test_the_first_line_is_of_the_first_finding_that_decides() -> None:
    record = with_findings(FindingKind.TIMED_OUT, FindingKind.STUCK, FindingKind.CONTENTS, reason="all of it")
    assert record.first_line(Bearing.WRONG) == "stuck was seen"
    assert record.first_line(Bearing.INVALID) == "timed-out was seen"
    assert record.first_line(Bearing.SKIPPED) == "all of it", "no finding says so: the reason may"
    assert MINIMAL.first_line(Bearing.WRONG) == ""


@pytest.mark.parametrize("path", sorted(RECORDED.rglob("*.json")), ids=lambda path: path.name)
def test_recorded_results_are_in_the_form_that_is_written_today(path: Path) -> None:
    """If not: see selftests/recorded.py."""
    update = update_plan if path.name == PLAN_FILE else update_round
    assert json.loads(path.read_text()) == in_todays_form(path, update)
