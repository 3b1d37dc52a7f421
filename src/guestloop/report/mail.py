# SPDX-License-Identifier: GPL-2.0-or-later
"""``mail.txt``: what an engineer pastes into a reply to the patch, with a tag if the run allows one.

The answer is in the first line, and all that is needed to judge it and to repeat it is in the mail itself.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from guestloop.compare import Kind, Overall, Status
from guestloop.ground.words import listed, plural
from guestloop.report.checks import KERNELS, Check, Mark, checks_of
from guestloop.report.fitting import Section, columns, fitted, wrapped
from guestloop.report.lines import letters
from guestloop.report.mail_figures import Changed, Judged, row, unchanged
from guestloop.report.material import Material
from guestloop.report.plain import one_line
from guestloop.report.results import RUN, KernelResult, Result

WIDTH = 75
MOST_LINES = 40

ANSWER_LINES = 6
KERNELS_SHOWN = 4
FAILED_SHOWN = 3
TAGS_SHOWN = 3
MISSING = "(further findings, for which there is no room here, are in report.html)"
FOUND_LINES = 4
"""Of what was found, as it was found, in each check that failed."""

PLACEHOLDER = "Your Name <you@example.org>"

ENGINES = {"tcg": "L1 in QEMU's emulator (TCG)", "kvm": "L1 in nested KVM"}


def render_mail(material: Material) -> str:
    """At most 40 lines of at most 75 columns."""
    mail = _Mail(material.result)
    sections = [
        mail.answer(),
        mail.what_ran(),
        *mail.failed(),
        *mail.figures(),
        *mail.unsettled(),
        *mail.untested(),
        mail.repeat(),
        mail.tags(one_line(material.sender) or PLACEHOLDER),
    ]
    return "\n".join(line.rstrip() for line in fitted(sections, MOST_LINES, MISSING)) + "\n"


def _paragraph(text: str, most: int, indent: str = "", further: str | None = None) -> tuple[str, ...]:
    """At most so many lines; where something is missing it says so."""
    lines = wrapped(one_line(text), WIDTH, indent, further)
    if len(lines) <= most:
        return tuple(lines)
    last = lines[most - 1]
    while columns(last) > WIDTH - 4:
        last = last[:-1]
    return (*lines[: most - 1], f"{last} ...")


@dataclass(frozen=True)
class _Mail:
    """The parts of the mail about one result."""

    result: Result

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """All but the verdict itself, which is the answer."""
        return tuple(check for check in checks_of(self.result) if check.kernel)

    def _judged(self, kernel: KernelResult) -> Judged:
        name = kernel.name
        return [(cell, cell.candidates[name]) for cell in self.result.cells if name in cell.candidates]

    def _able(self, kernel: KernelResult) -> Judged:
        """Of these the cells in which something that the candidate changes ran: others say nothing of it."""
        return [item for item in self._judged(kernel) if item[1].status is not Status.CANNOT_DIFFER]

    def _letter(self, kernel: str) -> str:
        """A for the reference, then B, C, ..."""
        return letters(self.result.kernels)[kernel]

    def answer(self) -> Section:
        """One sentence, which stands alone."""
        interrupted = "interrupted; " if self.result.course.interrupted else ""
        return Section(_paragraph(f"guestloop: {interrupted}{self.result.summary}", ANSWER_LINES))

    def what_ran(self) -> Section:
        """The kernels, the machine, and the cells."""
        kernels = list(self.result.kernels.values())
        lines = [line for kernel in kernels[:KERNELS_SHOWN] for line in self._kernel(kernel)]
        if len(kernels) > KERNELS_SHOWN:
            lines.append(f"   and {len(kernels) - KERNELS_SHOWN} more kernels")
        tests = Counter(cell.cell.test for cell in self.result.cells)
        cells = listed([f"{test} {number}" for test, number in tests.items()], 6)
        ran = f"cells: {cells}" if cells else "no cell was measured"
        return Section((*lines, *_paragraph(f"{self._machine()}; {ran}", 3)))

    def _kernel(self, kernel: KernelResult) -> tuple[str, ...]:
        """``B  A with KVM: x86/mmu: Don't flush ...``"""
        made = kernel.provenance
        series = [one.subject or one.name for one in made.patches] if made else list(kernel.series)
        named = ", ".join(filter(None, (kernel.release, kernel.base))) or kernel.name
        if kernel.kind is Kind.SERIES and series:
            first = re.sub(r"^\s*(\[[^]]*\]\s*)+", "", series[0]) or series[0]
            named = f"A with {first}" + (f" and {len(series) - 1} more" if len(series) > 1 else "")
        elif kernel.kind is Kind.IDENTICAL:
            named = "the same build as A"
        return _paragraph(named, 2, f"{self._letter(kernel.name)}  ", "   ")

    def _machine(self) -> str:
        host, l2 = self.result.host, self.result.l2_kernel
        cpus = f"{host['cpus']} CPUs" if "cpus" in host else ""
        engine = ENGINES.get(self.result.accelerator, self.result.accelerator)
        return ", ".join(filter(None, [host.get("cpu"), cpus, engine, f"L2 {l2.release}" if l2 else ""]))

    def failed(self) -> Iterator[Section]:
        """The first checks that are a regression, with what was found in each."""
        failed = [check for check in self.checks if check.mark is Mark.FAIL]
        for number, check in enumerate(failed[:FAILED_SHOWN], 1):
            found = [f"  | {line}"[:WIDTH] for line in check.details if line.strip()]
            more = len(failed) - number if number == FAILED_SHOWN else 0
            said = f"{check.status}{f' (and {more} more)' if more else ''}, {_what(check)}: {check.reason}"
            lines = tuple((line,) for line in found[:FOUND_LINES])
            yield Section(_paragraph(said, 3), lines, keeps=1, spare=int(number > 1))

    def figures(self) -> Iterator[Section]:
        """What changed, and what did not, from the reference to each candidate."""
        for number, kernel in enumerate(self.result.candidates[: KERNELS_SHOWN - 1], 1):
            letter, judged = self._letter(kernel.name), self._able(kernel)
            if changed := Changed.all_of(judged):
                heading = row("changed: count / what it is per", "A", letter, f"{letter}/A", "cells, mode")
                yield Section(
                    (heading,), tuple(one.lines() for one in changed), keeps=6, spare=int(number > 1)
                )
            if calm := unchanged(judged):
                said = f"not changed on {letter} (least increase that would show, at 80 %): {', '.join(calm)}"
                yield Section(_paragraph(said, 5, further="  "), spare=2)

    def unsettled(self) -> Iterator[Section]:
        """What was measured, and is neither good nor bad."""
        if found := [check for check in self.checks if check.mark is Mark.OPEN]:
            yield Section(("not settled:",), tuple(map(_why, found)), keeps=1)

    def untested(self) -> Iterator[Section]:
        """What could not be tested here, and what was left out."""
        marks = (Mark.ERROR, Mark.MISS, Mark.SKIP)
        found = [_why(check) for mark in marks for check in self.checks if check.mark is mark]
        if self.result.accelerator == "tcg":
            found.append(("  how long anything takes: L1 is emulated",))
        found += [_paragraph(line, 2, "  ", "    ") for line in self.result.left_out]
        if found:
            yield Section(("could not be tested here, or was left out:",), tuple(found), keeps=2)

    def repeat(self) -> Section:
        """How to have the same again."""
        course = self.result.course
        command = _command(course.command.words) if course.command.directory else []
        made = ", ".join(filter(None, (str(course.made_by), course.started[:10])))
        return Section((*command, *_paragraph(made, 1)))

    def tags(self, sender: str) -> Section:
        """A tag for each series, or why there is none."""
        series = [one for one in self.result.candidates if one.kind is Kind.SERIES or one.regression]
        lines = [self._tag(kernel, sender) for kernel in series[:TAGS_SHOWN]]
        if not series:
            lines = ["(no tag: no patch was compared with what it is made to)"]
        return Section(tuple(line for text in lines for line in _paragraph(text, 1)))

    def _tag(self, kernel: KernelResult, sender: str) -> str:
        about = f" # {self._letter(kernel.name)}" if len(self.result.candidates) > 1 else ""
        if any(check.mark is Mark.FAIL for check in self.checks if check.kernel == kernel.name):
            return f"Reported-by: {sender}{about}"
        if self.result.verdict in (Overall.NOTHING_MEASURED, Overall.UNSTABLE):
            return f"(not for the list: this run proves nothing about the patch){about}"
        if self._is_settled(kernel):
            return f"Tested-by: {sender}{about}"
        return f"(no tag: what is said above is open){about}"

    def _is_settled(self, kernel: KernelResult) -> bool:
        """Something was measured, nothing is open, and neither kernel complained late or was lost."""
        kernels = (kernel.name, self.result.reference)
        booted = [one.mark for one in self.checks if one.group == KERNELS and one.kernel in kernels]
        cells = [candidate for _, candidate in self._judged(kernel)]
        measured = any(one.status.measured for one in cells)
        return set(booted) == {Mark.PASS} and measured and not any(one.undecided for one in cells)


def _what(check: Check) -> str:
    return f"L1 {check.name}" if check.group == KERNELS else check.name


def _why(check: Check) -> tuple[str, ...]:
    said = check.reason.removeprefix("not settled: ")
    status = "" if said != check.reason else f"{check.status}: "
    return _paragraph(f"{_what(check)}: {status}{said}", 2, "  ", "    ")


def _command(words: Sequence[str]) -> list[str]:
    """``repeat: scripts/run ...``, which can be pasted: it is broken between words only."""
    quoted = [shlex.quote(word) for word in (RUN, *words)]
    if any(columns(word) > WIDTH - 8 or one_line(word) != word for word in quoted):
        return ["repeat: the command is in verdict.json, under run"]
    lines, current = [], "repeat:"
    for word in quoted:
        if columns(current) + columns(word) > WIDTH - 3:
            lines.append(f"{current} \\")
            current = "   "
        current += f" {word}"
    if len(lines) > 3:
        return [f"repeat: {plural(len(words), 'word')} of a command, which is in verdict.json, under run"]
    return [*lines, current]
