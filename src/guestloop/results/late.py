# SPDX-License-Identifier: GPL-2.0-or-later
"""What L1s said after their last rounds: written by the lab when it ends, read by who compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from guestloop.results.files import locked, read_json, write_json

LAB_DIRECTORY = "lab"
"""Below the result directory: consoles and logs of the L1s, and LATE_FILE."""

LATE_FILE = "late-warnings.json"


def write_late(lab_directory: Path, late: Mapping[str, Sequence[str]]) -> None:
    """Store the complaints of each L1 after its last round, by kernel; nothing is written for none.

    Those of an earlier lab, whose run was resumed, are kept.
    """
    if not late:
        return
    path = lab_directory / LATE_FILE
    with locked(lab_directory):  # labs side by side end at the same time
        before = read_json(path, _parse_late) if path.exists() else {}
        names = dict.fromkeys((*before, *late))
        write_json(path, {name: [*before.get(name, ()), *late.get(name, ())] for name in names}, replace=True)


def read_late(out: Path) -> dict[str, tuple[str, ...]]:
    """The complaints that the lab of a result directory has stored. Raises LabError for a damaged file."""
    path = out / LAB_DIRECTORY / LATE_FILE
    return read_json(path, _parse_late) if path.exists() else {}


def _parse_late(data: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {kernel: tuple(map(str, lines)) for kernel, lines in data.items()}
