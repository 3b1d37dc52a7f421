# SPDX-License-Identifier: GPL-2.0-or-later
"""``results.ktap``: what the kernel's own tools read (Documentation/dev-tools/ktap.rst, KTAP version 1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from guestloop.report.checks import Check, Mark, checks_of
from guestloop.report.material import Material

LINES: Mapping[Mark, tuple[str, str]] = {
    Mark.FAIL: ("not ok", ""),
    Mark.ERROR: ("not ok", "ERROR"),
    Mark.MISS: ("not ok", "ERROR"),
    Mark.OPEN: ("ok", "SKIP"),
    Mark.PASS: ("ok", ""),
    Mark.SKIP: ("ok", "SKIP"),
}
"""The result and the directive. KTAP has no word for what is open: SKIP says that it is no pass."""

# At any of these kunit_parser.py takes the rest of the file for no test output (KTAP_END).
_ENDS = ("List of all partitions:", "Kernel panic - not syncing: VFS:", "reboot: System halted")


def render_ktap(material: Material) -> str:
    """A subtest for each group of checks, with a line for each check."""
    groups = [
        (name, list(own)) for name, own in groupby(checks_of(material.result), key=lambda one: one.group)
    ]
    lines = ["KTAP version 1", f"1..{len(groups)}"]
    for number, (name, checks) in enumerate(groups, 1):
        lines += [f"  {line}" for line in _subtest(name, checks)]
        lines.append(_of_group(number, name, checks))
    return "\n".join(lines) + "\n"


def _subtest(name: str, checks: Sequence[Check]) -> Iterator[str]:
    yield "KTAP version 1"
    yield f"# Subtest: {_description(name)}"
    yield f"1..{len(checks)}"
    for number, check in enumerate(checks, 1):
        yield from _diagnostics(check)
        result, directive = LINES[check.mark]
        said = f"{check.status}: {check.reason}" if check.reason else check.status
        yield f"{result} {number} {_description(check.name)} # {_after(directive, said)}"


def _diagnostics(check: Check) -> Iterator[str]:
    for figure in check.figures:
        before, after = map(figure.render_rate, figure.rates)
        yield _diagnostic("figure", f"{figure.name} {before} -> {after} {figure.per}, {figure.change}")
    for line in check.details:
        yield _diagnostic("found", line)
    for path in check.evidence if LINES[check.mark][0] == "not ok" else ():
        yield _diagnostic("evidence", path)


def _diagnostic(kind: str, text: str) -> str:
    """``# kind: text``: begins like no line that means something."""
    return f"# {kind}: {_harmless(text)}"


def _of_group(number: int, name: str, checks: Sequence[Check]) -> str:
    """Failed if any of its checks did, skipped if all were."""
    found = [LINES[check.mark] for check in checks]
    if any(result == "not ok" for result, _ in found):
        return f"not ok {number} {_description(name)}"
    skipped = " # SKIP" if all(directive == "SKIP" for _, directive in found) else ""
    return f"ok {number} {_description(name)}{skipped}"


def _description(text: str) -> str:
    """A name: any characters but ``#`` and newline."""
    return _harmless(text).replace("#", "") or "unnamed"


def _after(directive: str, text: str) -> str:
    """What follows the ``#``: only ours is a directive."""
    return f"{directive} {_harmless(text)}".replace("#", "").strip()


def _harmless(text: str) -> str:
    """Texts of a check are cleaned and one line each (checks.py)."""
    for end in _ENDS:
        text = text.replace(end, end.replace(":", " -"))
    return text.strip()
