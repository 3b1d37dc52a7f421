"""The verdict on a terminal: a table that fits 110 columns, the answer first and last."""

from __future__ import annotations

from pathlib import Path

from guestloop.compare import CellVerdict, Judgement, Overall, Status, Verdict
from guestloop.report.verdict_json import VERDICT_FILE
from guestloop.results.plan import Plan, PlannedKernel
from guestloop.results.records import Correctness, Outcome

COLUMNS = 110
NAME_WIDTH = 38
OTHER_FLOOR = 0.005
"""Paths that are not judged are shown from this many requests per event on."""

GREEN, RED, YELLOW = 32, 31, 33
_ROW = "{:<38}{:>9}{:>9}{:>10}{:>10}{:>9}  {:<10}{}"


def render_text(plan: Plan, verdict: Verdict, colour: bool = False, out: Path | None = None) -> str:
    """The report for a terminal, without a final newline; ``out`` is where the files are, if known.

    A and B stand for the reference and the kernel under test; flush figures are requests per event, in
    the row of the cell all of them.
    """
    lines = [
        *_fit(_answer(verdict, colour), ""),
        "",
        *_header(plan),
        "",
        _ROW.format(
            "cell, and its paths (* judged)",
            "events A",
            "events B",
            "flush A",
            "flush B",
            "B/A",
            "contents",
            "status",
        ),
    ]
    for cell in verdict.cells:
        lines += _cell_lines(plan, cell, colour)
    if plan.left_out:
        lines += ["", "left out:", *(line for item in plan.left_out for line in _fit(item, "  "))]
    lines += ["", *_fit(_answer(verdict, colour), "")]
    if out:
        lines += [f"files: {out / VERDICT_FILE}, every round in {out / 'rounds'}"]
    return "\n".join(line.rstrip() for line in lines)


def _header(plan: Plan) -> list[str]:
    host = ", ".join(f"{name} {value}" for name, value in plan.host.items())
    return [
        *(line for mark, kernel in zip("AB", plan.kernels, strict=True) for line in _kernel(mark, kernel)),
        *_fit(f"accelerator {plan.accelerator}, profile {plan.profile}, {plan.rounds} rounds per kernel", ""),
        *(_fit(f"host: {host}", "") if host else []),
    ]


def _kernel(mark: str, kernel: PlannedKernel) -> list[str]:
    series = f"{len(kernel.series)} patches" if len(kernel.series) != 1 else "1 patch"
    text = f"{mark}  {kernel.name}: {kernel.release}, {kernel.base}, {series}, sha256 {kernel.sha256[:12]}"
    return _fit(text, "")


def _cell_lines(plan: Plan, cell: CellVerdict, colour: bool) -> list[str]:
    events = [_events(cell, kernel.name) for kernel in plan.kernels]
    figures = _figures(cell.total) if cell.total else ("-", "-", "-")
    status = _paint(cell.status, _status_colour(cell.status)) if colour else str(cell.status)
    lines = [_row(cell.cell.id, *events, *figures, _contents(cell), status)]
    for item in cell.paths:
        if item.judged or max(item.figures.per_event) >= OTHER_FLOOR:
            lines.append(
                _row(f"  {'*' if item.judged else ' '} {item.path}", "", "", *_figures(item.figures))
            )
    shares = ", ".join(rate.render() for rate in cell.rates if rate.share)
    rates = ", ".join(rate.render() for rate in cell.rates if not rate.share)
    said = [cell.reason, shares, f"per event: {rates}" if rates else ""]
    return lines + [line for text in said if text for line in _fit(text, "    ")]


def _row(name: str, *cells: str) -> str:
    """A name that is too long for its column gets a line of its own."""
    padded = [*cells, *[""] * (7 - len(cells))]
    if len(name) < NAME_WIDTH:
        return _ROW.format(name, *padded)
    return "\n".join([*_fit(name, ""), _ROW.format("", *padded)])


def _events(cell: CellVerdict, kernel: str) -> str:
    """Events of all measured rounds of a kernel; a dash when there is none."""
    rounds = [item for item in cell.rounds if item.kernel == kernel and item.outcome is Outcome.MEASURED]
    return str(sum(item.events.get(item.event, 0) for item in rounds)) if rounds else "-"


def _figures(figures: Judgement) -> tuple[str, str, str]:
    before, after = figures.per_event
    if figures.ratio is None:
        ratio = "-"
    else:
        ratio = f"x{figures.ratio:.2f}" if figures.ratio < 100 else f"x{min(figures.ratio, 1e6):.0f}"
    return f"{before:.3f}", f"{after:.3f}", ratio


def _contents(cell: CellVerdict) -> str:
    before, after = cell.correctness.values()
    if before is after:
        return {Correctness.PASS: "correct", Correctness.FAIL: "WRONG", Correctness.NOT_RUN: "unknown"}[
            before
        ]
    return "/".join("?" if item is Correctness.NOT_RUN else str(item) for item in (before, after))


def _fit(text: str, indent: str) -> list[str]:
    """Break a text at spaces into lines of at most COLUMNS, escapes not counted; long words stay whole."""
    lines, current = [], indent
    for word in text.split(" "):
        joined = f"{current} {word}" if current.strip() else f"{indent}{word}"
        if len(_plain(joined)) > COLUMNS and current.strip():
            lines.append(current)
            joined = f"{indent}{word}"
        current = joined
    return [*lines, current]


def _plain(text: str) -> str:
    for code in (GREEN, RED, YELLOW, 0):
        text = text.replace(f"\033[{code}m", "")
    return text


def _paint(word: str, code: int) -> str:
    return f"\033[{code}m{word}\033[0m"


def _status_colour(status: Status) -> int:
    if status.regression:
        return RED
    return GREEN if status.measured and not status.undecided else YELLOW


def _answer(verdict: Verdict, colour: bool) -> str:
    if not colour:
        return verdict.answer
    word, separator, rest = verdict.answer.partition(":")
    bad = {Overall.REGRESSION: RED, Overall.NO_REGRESSION: GREEN}
    return _paint(word, bad.get(verdict.overall, YELLOW)) + separator + rest
