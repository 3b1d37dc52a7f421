# SPDX-License-Identifier: GPL-2.0-or-later
"""Results to make reports of, and what each file of a report says, read by who reads such files."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import junitparser
import kcidb_io
from test_page import Page
from test_report import A, B, make_result

from guestloop.compare import Overall, Status, Verdict
from guestloop.compare.statuses import judge_overall
from guestloop.report import describe
from guestloop.report.checks import Check
from guestloop.report.material import Material
from guestloop.report.reading import parse_result
from guestloop.report.verdict_json import validate
from guestloop.results.cells import Cell, Mmu
from guestloop.results.plan import Kernels, Plan

SENDER = "Jane Doe <jane@example.org>"
NO_ROUND = "invalid without a round"
"""In place of a status: of a cell that has no round on the candidate."""


def material(plan: Plan, verdict: Verdict, *, valid: bool = False, **more: Any) -> Material:
    """What formats are made from, by way of a valid verdict.json; ``valid``: known to be that."""
    data = describe(plan, verdict, **more)
    if not valid:
        validate(data)
    return Material(parse_result(data), Path("/nowhere"), SENDER)


def judged(*statuses: str, overall: Overall | None = None) -> tuple[Plan, Verdict]:
    """A result with a cell of each of these statuses, for the reasons ``reason 0``, ``reason 1``, ..."""
    plan, verdict = make_result("fewer")
    known = [Status(status.partition(" ")[0]) for status in statuses]
    word = overall or judge_overall(known, undecided=any(status.undecided for status in known))
    cells = []
    for number, (status, said) in enumerate(zip(known, statuses, strict=True)):
        sample = verdict.cells[0]
        cell = Cell("asyncpf", Mmu.SHADOW, {"load": f"cell-{number}", "vcpus": "2"})
        rounds = tuple(
            replace(item, cell=cell) for item in sample.rounds if item.kernel == A or said != NO_ROUND
        )
        one = replace(sample.candidates[B], status=status, reason=f"reason {number}")
        cells.append(replace(sample, cell=cell, candidates={B: one}, rounds=rounds))
    plan = replace(plan, cells=tuple(cell.cell for cell in cells))
    answer = f"{word.replace('-', ' ')}: {len(cells)} cells"
    return plan, replace(verdict, overall=word, cells=tuple(cells), answer=answer, summary=answer)


def same_build(plan: Plan) -> Plan:
    """The plan with a candidate that is the reference, byte for byte."""
    reference = plan.kernels.reference
    twin = replace(plan.kernels.candidates[0], sha256=reference.sha256)
    return replace(plan, kernels=Kernels(reference, (twin,)))


def _page(text: str) -> dict[str, str]:
    """The heading, and the chips of the matrix."""
    page = Page(text)
    (heading,) = page.all("h1")
    chips = [one for one in page.all("a") if "title" in one.attributes]
    said = {}
    for chip in chips:
        title = chip.attributes["title"] or ""
        sign_and_word = chip.text.split(maxsplit=1)
        status = (chip.attributes["class"] or "").rpartition(" s-")[2]
        said[title.partition(f": {status}: ")[0]] = sign_and_word[1]
    return {"verdict": heading.text.split(maxsplit=1)[1], **said}


def _junit(text: str) -> dict[str, str]:
    suites = junitparser.JUnitXml.fromroot(junitparser.JUnitXml.fromstring(text.encode())._elem)
    cases = [case for suite in suites for case in suite]
    words = {junitparser.Failure: "failure", junitparser.Error: "error", junitparser.Skipped: "skipped"}
    return {case.name: words[type(case.result[0])] if case.result else "passed" for case in cases}


_KTAP = re.compile(r"  (ok|not ok) (\d+) ([^#]+?)(?: # (SKIP|ERROR)?.*)?")


def _ktap(text: str) -> dict[str, str]:
    """As Documentation/dev-tools/ktap.rst has it; selftests/guest asks the kernel's own parser as well."""
    said = {}
    for line in text.splitlines():
        if found := _KTAP.fullmatch(line):
            said[found[3]] = ", ".join(filter(None, (found[1], found[4])))
    return said


def _kcidb(text: str) -> dict[str, str]:
    document = json.load(io.StringIO(text))
    assert str(kcidb_io.schema.LATEST) == "v5.3"
    kcidb_io.schema.LATEST.validate(document)
    return {one["id"].partition(":")[2].partition(".")[2]: one["status"] for one in document["tests"]}


def lava_signal(words: Sequence[str]) -> Mapping[str, str]:
    """What lava-test-case prints for its arguments, as the dispatcher reads it from the console.

    LAVA 2023.01: lava_dispatcher/lava_test_shell/lava-test-case, and in actions/test/shell.py the pattern
    ``signal``, handle_testcase() and signal_test_case(); lava_dispatcher/connection.py, SignalMatch.
    """
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options.keys() <= {"--result", "--measurement", "--units"}
    parts = [f"{name[2:].upper()}={value}" for name, value in options.items()]
    line = f"<LAVA_SIGNAL_TESTCASE TEST_CASE_ID={' '.join([words[0], *parts])}>"
    found = re.fullmatch(r"<LAVA_SIGNAL_(\S+) ([^>]+)>", line)
    assert found, line
    pairs = [part.split("=") for part in found[2].split()]
    assert all(len(pair) == 2 for pair in pairs), line
    signal = {key.lower(): value for key, value in pairs}
    assert signal["result"] in ("pass", "fail", "skip", "unknown")
    Decimal(signal.get("measurement", "0"))
    return signal


def _lava(text: str) -> dict[str, str]:
    lines = [shlex.split(line) for line in text.splitlines() if not line.startswith("#")]
    assert all(words[0] == "lava-test-case" for words in lines)
    signals = [lava_signal(words[1:]) for words in lines]
    return {signal["test_case_id"]: signal["result"] for signal in signals}


_TAGS = ("Reported-by", "Tested-by", "no tag", "not for the list")


def tag_of(text: str) -> str:
    """The tag at the end of a mail, or what stands in its place."""
    last = text.rstrip("\n").rpartition("\n")[2]
    return next(tag for tag in _TAGS if last.lstrip("(").startswith(tag))


@dataclass(frozen=True)
class Reader:
    """What a file says of all checks: ``read`` it, and ``key`` is by which it calls a check.

    ``says_all`` is False for a file that says one thing of the whole run.
    """

    read: Callable[[str], Mapping[str, str]]
    key: Callable[[Check], str]
    says_all: bool = True


READERS: Mapping[str, Reader] = {
    "report.html": Reader(_page, lambda check: check.name),
    "junit.xml": Reader(_junit, lambda check: check.name),
    "results.ktap": Reader(_ktap, lambda check: check.name),
    "kcidb.json": Reader(_kcidb, lambda check: check.id),
    "lava.txt": Reader(_lava, lambda check: check.id),
    "mail.txt": Reader(lambda text: {"": tag_of(text)}, lambda _: "", says_all=False),
}
"""By the name of the file; docs/ci/README.md has a column for each."""
