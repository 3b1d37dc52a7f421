# SPDX-License-Identifier: GPL-2.0-or-later
"""``junit.xml``: what the pages of most CI systems show (GitLab, Jenkins, tmt)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from xml.etree import ElementTree

from guestloop.report.checks import RUN, Check, Mark, checks_of
from guestloop.report.material import Material
from guestloop.report.plain import one_line
from guestloop.report.results import Figure, Result

NAME = "guestloop"

TAGS: Mapping[Mark, str] = {
    Mark.FAIL: "failure",
    Mark.ERROR: "error",
    Mark.MISS: "error",
    Mark.OPEN: "skipped",
    Mark.SKIP: "skipped",
}
"""What a test case has within; one that passed has nothing. JUnit has no word for what is open."""


def render_junit(material: Material) -> str:
    """One test case for each check, in a suite for each test; figures are its properties."""
    result, checks = material.result, checks_of(material.result)
    root = ElementTree.Element("testsuites", {"name": NAME, **_counts(checks)})
    for group, own in groupby(checks, key=lambda check: check.group):
        root.append(_suite(result, group, list(own)))
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _suite(result: Result, group: str, checks: Sequence[Check]) -> ElementTree.Element:
    when = result.course.started.removesuffix("+00:00")
    about = {"name": f"{NAME}.{group}", **_counts(checks), **({"timestamp": when} if when else {})}
    suite = ElementTree.Element("testsuite", about)
    if group == RUN:
        _add_properties(suite, _of_run(result))
    suite.extend(_case(result, check) for check in checks)
    return suite


def _counts(checks: Sequence[Check]) -> dict[str, str]:
    tags = [TAGS.get(check.mark, "") for check in checks]
    numbers = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    return {
        "tests": str(len(checks)),
        **{name: str(tags.count(tag)) for name, tag in numbers.items()},
        "time": f"{sum(check.seconds for check in checks):.3f}",
    }


def _case(result: Result, check: Check) -> ElementTree.Element:
    about = {"classname": f"{NAME}.{check.group}", "name": check.name, "time": f"{check.seconds:.3f}"}
    case = ElementTree.Element("testcase", about)
    _add_properties(case, _of_check(result, check))
    if tag := TAGS.get(check.mark):
        said = f"{check.status}: {check.reason}"
        why = ElementTree.SubElement(case, tag, message=said, type=check.status)
        why.text = "\n".join([said, *check.details, *(f"see {path}" for path in check.evidence)])
    return case


def _add_properties(element: ElementTree.Element, properties: Iterator[tuple[str, str]]) -> None:
    parent = ElementTree.SubElement(element, "properties")
    for name, value in properties:
        ElementTree.SubElement(parent, "property", name=one_line(name), value=one_line(value))


def _of_run(result: Result) -> Iterator[tuple[str, str]]:
    yield "verdict", result.verdict
    yield "exit_status", str(int(result.exit_status))
    yield "accelerator", result.accelerator
    yield "profile", result.profile
    yield "command", str(result.course.command)
    yield "made_by", str(result.course.made_by)
    yield from ((f"host.{name}", value) for name, value in result.host.items())
    for name, kernel in result.kernels.items():
        yield f"kernel.{name}", ", ".join(filter(None, (kernel.release, kernel.base, *kernel.series)))
    yield from (("left_out", line) for line in result.left_out)


def _of_check(result: Result, check: Check) -> Iterator[tuple[str, str]]:
    yield "status", check.status
    if check.kernel:
        yield "kernel", check.kernel
    if check.reason:
        yield "reason", check.reason
    for figure in check.figures:
        yield from _of_figure((result.reference, check.kernel), figure)


def _of_figure(names: tuple[str, str], figure: Figure) -> Iterator[tuple[str, str]]:
    """``async_page_ready.patched`` = ``0.0031``, and what it is per; a ratio of None is left out."""
    for name, rate, lacks in zip(names, figure.rates, figure.absent, strict=True):
        yield f"{figure.name}.{name}", "absent" if lacks else f"{rate:.6g}"
    yield f"{figure.name}.unit", figure.unit
    yield f"{figure.name}.change", figure.change
    if figure.ratio is not None and not any(figure.absent):
        yield f"{figure.name}.ratio", f"{figure.ratio:.6g}"
