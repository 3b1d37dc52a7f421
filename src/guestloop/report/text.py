# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict on a terminal: a table that fits 110 columns, the answer first and last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from guestloop.compare import (
    CandidateVerdict,
    CellVerdict,
    Change,
    Comparison,
    KernelState,
    KernelVerdict,
    Realm,
    Status,
    Subject,
    Verdict,
    Weight,
)
from guestloop.ground.words import plural
from guestloop.report.lines import fit, letters, paint_answer, paint_status
from guestloop.report.verdict_json import VERDICT_FILE
from guestloop.results.plan import Plan, PlannedKernel
from guestloop.results.records import Correctness, Outcome

NAME_WIDTH = 38
OTHER_FLOOR = 0.02
"""Paths that are not judged and did not change are shown from this share of all flush requests on."""

CONSOLE_LINES = 8
"""Of the console of a kernel that did not boot; verdict.json has more, and the lab's files all of it."""

LATE_LINES = 3
"""What an L1 said after its last round is shown up to this many lines; verdict.json has all of it."""

_ROW = "{:<38}{:>8}{:>8}{:>9}{:>9}{:>8}  {:<10}{}"


def render_text(plan: Plan, verdict: Verdict, colour: bool = False, out: Path | None = None) -> str:
    """The report for a terminal, without a final newline; ``out`` is where the files are, if known.

    A stands for the reference, the next letters for the candidates. The row of a cell, or of a candidate in
    it, has its events, and all flush requests for the work of the guest. A row below it has what was
    counted, and its rate per the unit at its end. One candidate shares the row of its cell; of several each
    has rows of its own below it, beside the reference again.
    """
    lines = [*fit(_answer(verdict, colour), ""), "", *_header(plan, verdict)]
    lines += ["", _title(plan)] if verdict.cells else []
    for cell in verdict.cells:
        lines += _cell_lines(plan, cell, colour)
    if plan.left_out:
        lines += ["", "left out:", *(line for item in plan.left_out for line in fit(item, "  "))]
    lines += ["", *fit(_answer(verdict, colour), "")]
    if out:
        lines += [f"files: {out / VERDICT_FILE}, every round in {out / 'rounds'}"]
    return "\n".join(line.rstrip() for line in lines)


def _title(plan: Plan) -> str:
    one = len(plan.kernels.candidates) == 1
    other, ratio = ("B", "B/A") if one else ("", "to A")
    columns = ["count A", f"count {other}", "rate A", f"rate {other}", ratio, "contents", "status"]
    return _ROW.format("cell, and what it counts (* judged)", *(column.strip() for column in columns))


def _header(plan: Plan, verdict: Verdict) -> list[str]:
    host = ", ".join(f"{name} {value}" for name, value in plan.host.items())
    marks = letters(plan.kernels.names)
    rounds = " or ".join(map(str, plan.looks)) + (" rounds" if plan.looks != (1,) else " round")
    kernels = [_kernel(marks, kernel, verdict.kernels[kernel.name]) for kernel in plan.kernels]
    return [
        *(line for lines in kernels for line in lines),
        *(fit(_l2_kernel(plan), "") if verdict.cells else []),
        *_differences(plan, verdict),
        *fit(f"accelerator {plan.accelerator}, profile {plan.profile}, {rounds} per kernel", ""),
        *(fit(f"host: {host}", "") if host else []),
    ]


def _differences(plan: Plan, verdict: Verdict) -> list[str]:
    """What is not the same in all kernels, a paragraph for each realm: ``HZ 100/250`` for A/B."""
    lines = []
    for realm in Realm:
        own = [one for one in verdict.differences if one.realm is realm]
        marks = "/".join(letters(plan.kernels.names)[name] for name in own[0].values) if own else ""
        said = ", ".join(f"{one.name} {'/'.join(one.values.values())}" for one in own)
        lines += fit(f"differ in {realm.heading} ({marks}): {said}", "") if own else []
    return lines


def _kernel(marks: Mapping[str, str], kernel: PlannedKernel, seen: KernelVerdict) -> list[str]:
    facts = [
        kernel.release,
        kernel.base,
        plural(len(kernel.series), "patch", "patches"),
        kernel.sha256 and f"sha256 {kernel.sha256[:12]}",
        "" if seen.state is KernelState.MEASURED else seen.state.replace("-", " "),
    ]
    first = fit(f"{marks[kernel.name]}  {kernel.name}: {', '.join(filter(None, facts))}", "")
    expected = [line for one in seen.expectations for line in fit(str(one), "     ")]
    return [*first, *_why_unmeasured(seen), *expected, *_absent(seen), *_late(seen)]


def _absent(seen: KernelVerdict) -> list[str]:
    paths = ", ".join(seen.absent_paths)
    return fit(f"call paths that are not in this kernel: {paths}", "     ") if paths else []


def _why_unmeasured(seen: KernelVerdict) -> list[str]:
    """Why, and as they are: the hunk, the compiler's lines, or the last ones of its console."""
    reason = fit(seen.reason, "     ") if seen.reason else []
    console = [line.strip() for line in seen.console[-CONSOLE_LINES:]]
    return reason + [f"     {line}" for line in (*seen.details, *console)]


def _l2_kernel(plan: Plan) -> str:
    kernel = plan.l2_kernel
    if kernel is None:
        return "L2: its kernel was not recorded; it was the reference kernel in results of that age"
    return f"L2: {kernel.release}, {kernel.base}, {kernel.compiler}, build id {kernel.build_id[:12]}"


def _late(seen: KernelVerdict) -> list[str]:
    lines = [f"after its last round: {line}" for line in seen.late[:LATE_LINES]]
    if more := len(seen.late) - len(lines):
        lines.append(f"and {more} more")
    return [part for line in lines for part in fit(line, "     ")]


def _cell_lines(plan: Plan, cell: CellVerdict, colour: bool) -> list[str]:
    reference, *candidates = plan.kernels.names
    if len(candidates) == 1:
        return _candidate_lines(cell, reference, candidates[0], cell.cell.id, "", colour)
    lines = [_row(cell.cell.id, *[""] * 6, _render_status(cell.status, colour))]
    marks = letters(plan.kernels.names)
    for name in cell.candidates:
        lines += _candidate_lines(cell, reference, name, f"  {marks[name]} {name}", "  ", colour)
    return lines


def _candidate_lines(
    cell: CellVerdict, reference: str, name: str, title: str, indent: str, colour: bool
) -> list[str]:
    """A candidate beside the reference: all flushes, each path, the reason, and what else was counted."""
    candidate = cell.candidates[name]
    events = _events(cell, reference), _events(cell, name)
    figures = _rates(candidate.total) if candidate.total else ("-", "-", "-")
    contents = _contents(cell.correctness[reference], cell.correctness[name])
    lines = [_row(title, *events, *figures, contents, _render_status(candidate.status, colour))]
    lines += [_comparison_row(one, indent) for one in candidate.comparisons if _is_shown(one, candidate)]
    return lines + [line for text in _remarks(candidate) for line in fit(text, f"{indent}    ")]


def _remarks(candidate: CandidateVerdict) -> list[str]:
    unlike = plural(candidate.unlike_load, "pair of rounds", "pairs of rounds")
    load = f"{unlike} not compared: the load of the machine changed" if candidate.unlike_load else ""
    busy = "on a busier machine than was calibrated: how widely rounds scatter is assumed"
    return [text for text in (candidate.reason, load, busy if candidate.busy else "") if text]


def _is_shown(one: Comparison, candidate: CandidateVerdict) -> bool:
    """What is judged or has changed, and of the rest what is not small. All flushes have a row already."""
    if one is candidate.total:
        return one.change is not Change.SAME
    statement, total = one.statement, candidate.total
    if statement.weight is Weight.JUDGED or statement.subject is Subject.SHARE or one.judgement.certain:
        return True
    counts = statement.reference.total + statement.tested.total
    if statement.subject is not Subject.PATH:
        return counts > 0
    all_flushes = total.statement.reference.total + total.statement.tested.total if total else 0
    return counts >= OTHER_FLOOR * all_flushes


def _comparison_row(one: Comparison, indent: str) -> str:
    """``* async_page_ready  930 10 0.423 0.003 x0.01  per page-ready event, fewer``."""
    statement = one.statement
    mark = {Weight.JUDGED: "*", Weight.OTHER: " ", Weight.SHOWN: "-"}[statement.weight]
    counts = str(statement.reference.total), str(statement.tested.total)
    unit = f"{'of ' if statement.subject is Subject.SHARE else 'per '}{statement.unit}"
    change = "" if one.change is Change.SAME else f", {one.change}"
    return _row(f"{indent}  {mark} {one.name}", *counts, *_path_rates(one), f"{unit}{change}")


def _row(name: str, *cells: str) -> str:
    """A row of the table; a name that is too long for its column has a line of its own."""
    padded = [*cells, *[""] * (7 - len(cells))]
    if len(name) < NAME_WIDTH:
        return _ROW.format(name, *padded)
    return "\n".join([*fit(name, ""), _ROW.format("", *padded)])


def _events(cell: CellVerdict, kernel: str) -> str:
    """Events of all measured rounds of a kernel; a dash when there is none."""
    rounds = [item for item in cell.rounds if item.kernel == kernel and item.outcome is Outcome.MEASURED]
    return str(sum(item.events.get(item.event, 0) for item in rounds)) if rounds else "-"


def _rates(one: Comparison) -> tuple[str, str, str]:
    before, after = (one.render_rate(rate) for rate in one.judgement.rates)
    ratio = one.judgement.ratio
    if ratio is None:
        return before, after, "-"
    return before, after, f"x{ratio:.2f}" if ratio < 100 else f"x{min(ratio, 1e6):.0f}"


def _path_rates(one: Comparison) -> tuple[str, str, str]:
    """What a kernel has no code for is not shown as a count of 0."""
    before, after, ratio = _rates(one)
    seen = ["absent" if absent else text for absent, text in zip(one.absent, (before, after), strict=True)]
    return seen[0], seen[1], "-" if any(one.absent) else ratio


def _contents(before: Correctness, after: Correctness) -> str:
    if before is not after:
        return "/".join("?" if item is Correctness.NOT_RUN else str(item) for item in (before, after))
    return {Correctness.PASS: "correct", Correctness.FAIL: "WRONG", Correctness.NOT_RUN: "unknown"}[before]


def _render_status(status: Status, colour: bool) -> str:
    return paint_status(status) if colour else str(status)


def _answer(verdict: Verdict, colour: bool) -> str:
    return paint_answer(verdict.overall, verdict.answer) if colour else verdict.answer
