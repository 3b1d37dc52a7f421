# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/verdict.md and the code have the same words: statuses, verdicts, states and kinds of findings."""

from __future__ import annotations

import re

from guestloop.compare import KernelState, Overall, Status
from guestloop.config import REPOSITORY
from guestloop.results.findings import Bearing, FindingKind

DOC = (REPOSITORY / "docs/verdict.md").read_text()


def table(header: str) -> list[tuple[str, ...]]:
    """The rows of the table with this header, the first column without its backquotes."""
    found = re.search(rf"^\| {header} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", DOC, re.MULTILINE)
    assert found, f"no table that begins with {header!r}"
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found[1].splitlines()]
    return [(first.strip("`"), *rest) for first, *rest in rows]


def test_statuses() -> None:
    seen = table("status")
    assert seen == [(status, status.meaning, status.effect.value) for status in Status]


def test_verdicts() -> None:
    seen = table("verdict")
    assert seen == [(overall, overall.meaning, str(overall.exit_status.value)) for overall in Overall]


def test_states_of_a_kernel() -> None:
    assert [state for state, _ in table("state")] == list(KernelState)


def test_the_kinds_that_are_wrong_are_all_named() -> None:
    _, _, rest = DOC.partition("* a kind that is about the kernel (")
    passage, _, _ = rest.partition(")")
    named = set(re.findall(r"`([a-z0-9-]+)`", passage))
    assert named == {kind for kind in FindingKind if kind.bearing is Bearing.WRONG}


def test_no_line_is_too_long_to_read() -> None:
    assert max(map(len, DOC.splitlines())) <= 110
