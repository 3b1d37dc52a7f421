# SPDX-License-Identifier: GPL-2.0-or-later
"""A result as a list of checks, which is what a CI shows: every format for machines is made from it.

The run as a whole is one check, each kernel is one, and each candidate in each cell. So nothing that makes
the verdict is missing from any format. docs/ci/README.md has the table of what each format says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, count

from guestloop.compare import Change, KernelState, Overall, Status, Subject, Weight
from guestloop.report.plain import clean, one_line, word
from guestloop.report.results import CandidateResult, CellResult, Figure, KernelResult, Result
from guestloop.results.findings import Bearing

SHOWN_LINES = 20
"""Of what a round found this many lines are shown; OUT/rounds and OUT/evidence have all of it."""

LONGEST = 120
"""Characters of a path and of a kernel's word: an id is both, and lava-test-case makes a directory of it."""


class Mark(StrEnum):
    """What a check says about the kernel under test, in the words that all formats have in common."""

    meaning: str

    # The default is there for mypy, which takes Mark("pass") for a call of this.
    def __new__(cls, value: str, meaning: str = "") -> Mark:
        member = str.__new__(cls, value)
        member._value_, member.meaning = value, meaning
        return member

    FAIL = "fail", "a regression"
    ERROR = "error", "it proves nothing, because something broke"
    MISS = "miss", "it was not measured"
    OPEN = "open", "measured, and neither passed nor failed"
    PASS = "pass", "measured and right"
    SKIP = "skip", "the machine or a kernel lacks what it needs"


MARKS: Mapping[Status, Mark] = {
    Status.BROKEN: Mark.FAIL,
    Status.MORE: Mark.FAIL,
    Status.UNEXPLAINED: Mark.OPEN,
    Status.INCONCLUSIVE: Mark.OPEN,
    Status.INVALID: Mark.ERROR,
    Status.SKIPPED: Mark.SKIP,
    Status.MOVED: Mark.OPEN,
    Status.SAME: Mark.PASS,
    Status.CANNOT_DIFFER: Mark.PASS,
    Status.FEWER: Mark.PASS,
    Status.FIXED: Mark.PASS,
}
"""An ``invalid`` cell without any round on one of the kernels is a MISS."""

OVERALL: Mapping[Overall, Mark] = {
    Overall.REGRESSION: Mark.FAIL,
    Overall.UNSTABLE: Mark.ERROR,
    Overall.NOTHING_MEASURED: Mark.ERROR,
    Overall.INCONCLUSIVE: Mark.OPEN,
    Overall.NO_REGRESSION: Mark.PASS,
}

RUN, KERNELS = "run", "kernels"
"""The groups of the verdict and of the kernels; every other one is named for its test."""


@dataclass(frozen=True)
class Check:
    """One line of a report for machines.

    ``name`` is for people and ``id`` for programs: words of ASCII letters, digits, ``-`` and ``_`` with dots
    between. Both tell it from every other check of the run. ``path`` is the id without the kernel, so that it
    is the same in all runs. ``status`` is the word of guestloop that ``mark`` stands for. ``reason`` is one
    line, ``details`` are further ones. ``kernel`` is the one that it is about, empty for the run. ``seconds``
    are those of its rounds on that kernel. ``evidence`` are files below OUT.
    """

    group: str
    name: str
    id: str
    path: str
    mark: Mark
    status: str
    reason: str
    details: tuple[str, ...] = ()
    kernel: str = ""
    seconds: float = 0.0
    figures: tuple[Figure, ...] = ()
    decisive: Figure | None = None
    evidence: tuple[str, ...] = ()


def checks_of(result: Result) -> tuple[Check, ...]:
    """The verdict first, then the kernels, then all cells; a kernel that could not be built is in no cell."""
    words = _distinct(result.kernels)
    return (
        _verdict(result),
        *(_kernel(result, kernel, words[kernel.name]) for kernel in result.kernels.values()),
        *_cells(result, words),
    )


def _distinct(names: Iterable[str]) -> dict[str, str]:
    """``a/b,c=2`` as ``a.b-c-2``, by name; of those that become alike the later ones have a number."""
    made: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        own = ".".join(map(word, name.split("/")))[:LONGEST].rstrip(".-")
        tries = chain([own], (f"{own}-{number}" for number in count(2)))
        made[name] = next(one for one in tries if one not in taken)
        taken.add(made[name])
    return made


def _verdict(result: Result) -> Check:
    interrupted = "interrupted; " if result.course.interrupted else ""
    # The answer begins with the word of the verdict, which is the status.
    said = one_line(interrupted + result.answer.partition(": ")[2])
    return Check(RUN, "verdict", "verdict", "verdict", OVERALL[result.verdict], result.verdict, said)


def _kernel(result: Result, kernel: KernelResult, own: str) -> Check:
    mark, status, reason = _how_far(result, kernel)
    return Check(
        group=KERNELS,
        name=one_line(kernel.name),
        id=f"boot.{own}",
        path="boot",
        mark=mark,
        status=status,
        reason=one_line(reason),
        details=_lines(*kernel.details, *kernel.console, *kernel.late),
        kernel=kernel.name,
    )


def _how_far(result: Result, kernel: KernelResult) -> tuple[Mark, str, str]:
    if kernel.regression:
        return Mark.FAIL, kernel.state, kernel.reason
    if kernel.state is not KernelState.MEASURED:
        return Mark.ERROR, kernel.state, kernel.reason
    if kernel.late:
        return Mark.OPEN, "late", f"complained after its last round: {kernel.late[0]}"
    if not any(cell.on(kernel.name) for cell in result.cells):
        return Mark.MISS, "not-measured", "no round was measured on it"
    return Mark.PASS, kernel.state, ""


def _cells(result: Result, words: Mapping[str, str]) -> Iterator[Check]:
    several = len(result.candidates) > 1
    paths = _distinct(cell.id for cell in result.cells)
    for cell in result.cells:
        for name, candidate in cell.candidates.items():
            rounds, path = cell.on(name), paths[cell.id]
            yield Check(
                group=one_line(cell.cell.test),
                name=one_line(f"{cell.id} on {name}" if several else cell.id),
                id=f"{path}.{words[name]}" if several else path,
                path=path,
                mark=_mark(result, cell, candidate),
                status=candidate.status,
                reason=one_line(candidate.reason),
                details=_lines(*_findings(result, cell, name)),
                kernel=name,
                seconds=sum(item.seconds for item in rounds),
                figures=tuple(one for one in candidate.figures if _tells(one)),
                decisive=candidate.decisive,
                evidence=tuple(map(one_line, cell.evidence)),
            )


def _mark(result: Result, cell: CellResult, candidate: CandidateResult) -> Mark:
    missing = not all(map(cell.on, (result.reference, candidate.name)))
    return Mark.MISS if missing and candidate.status is Status.INVALID else MARKS[candidate.status]


def _tells(one: Figure) -> bool:
    """What the cell is about, and whatever has changed."""
    weighty = one.weight is Weight.JUDGED or one.subject is Subject.TOTAL
    return weighty or one.change in (Change.FEWER, Change.MORE)


def _findings(result: Result, cell: CellResult, candidate: str) -> Iterator[str]:
    """What was wrong, or why a round proves nothing, on either kernel."""
    for item in (*cell.on(candidate), *cell.on(result.reference)):
        for finding in item.findings:
            if finding.kind.bearing is not Bearing.SKIPPED:
                yield f"{item.kernel}, round {item.round}: {finding.kind}: {finding.text}"


def _lines(*texts: str) -> tuple[str, ...]:
    """The lines of texts, cleaned; what is cut is said."""
    lines = [line.rstrip() for text in texts for line in clean(text).split("\n")]
    more = len(lines) - SHOWN_LINES
    return (*lines[:SHOWN_LINES], f"... {more} more lines") if more > 0 else tuple(lines)
