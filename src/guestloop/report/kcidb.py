# SPDX-License-Identifier: GPL-2.0-or-later
"""``kcidb.json``: a report for the database of KernelCI, schema v5.3 of kcidb-io (kcidb_io/schema/v05_03.py).

A checkout and a build for each kernel, and a test for each check but the verdict, which KCIDB makes itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guestloop.compare import KernelState
from guestloop.report.checks import KERNELS, RUN, Check, Mark, checks_of
from guestloop.report.material import Material
from guestloop.report.plain import clean, one_line
from guestloop.report.results import Figure, KernelResult, Result

ORIGIN = "guestloop"
"""Names the CI system. Who submits results puts the name in its place that KernelCI has given."""

MAJOR, MINOR = 5, 3
MOST_EXCERPT = 16384

STATUSES: Mapping[Mark, str] = {
    Mark.FAIL: "FAIL",
    Mark.ERROR: "ERROR",
    Mark.MISS: "MISS",
    Mark.OPEN: "DONE",
    Mark.PASS: "PASS",
    Mark.SKIP: "SKIP",
}


def render_kcidb(material: Material) -> str:
    """One document for the whole run."""
    report = _Report.of(material.result)
    kernels, result = material.result.kernels.values(), material.result
    document = {
        "version": {"major": MAJOR, "minor": MINOR},
        "checkouts": [report.checkout(kernel) for kernel in kernels],
        "builds": [report.build(kernel) for kernel in kernels if _was_built_from(kernel)],
        "tests": [report.test(check) for check in report.checks if _is_test(result, check)],
    }
    return json.dumps(document, indent=1) + "\n"


def _was_built_from(kernel: KernelResult) -> bool:
    """A checkout to which the series does not apply has no build."""
    return kernel.state is not KernelState.NOT_APPLIED


def _is_test(result: Result, check: Check) -> bool:
    """Something that a kernel ran, or could have: it has a vmlinux."""
    return check.group != RUN and result.kernels[check.kernel].state in (
        KernelState.MEASURED,
        KernelState.NOT_BOOTED,
    )


@dataclass(frozen=True)
class _Report:
    """One run; ``run`` begins the ids of all its objects, ``words`` end those of each kernel."""

    result: Result
    checks: tuple[Check, ...]
    run: str
    words: Mapping[str, str]

    @classmethod
    def of(cls, result: Result) -> _Report:
        checks = checks_of(result)
        words = {one.kernel: one.id.partition(".")[2] for one in checks if one.group == KERNELS}
        return cls(result, checks, result.course.id or _digest(result), words)

    def _id(self, own: str) -> dict[str, str]:
        return {"id": f"{ORIGIN}:{self.run}.{own}", "origin": ORIGIN}

    def _started(self) -> dict[str, str]:
        return {"start_time": self.result.course.started} if self.result.course.started else {}

    def checkout(self, kernel: KernelResult) -> dict[str, Any]:
        """What a kernel was built from. Nothing is said of one that existed, but for its name."""
        return {
            **self._id(self.words[kernel.name]),
            **_provenance(kernel),
            "comment": one_line(", ".join(filter(None, (kernel.base or kernel.name, *kernel.series)))),
            "valid": kernel.state is not KernelState.NOT_APPLIED,
            **self._started(),
            **({} if _was_built_from(kernel) else _excerpt([kernel.reason, *kernel.details])),
        }

    def build(self, kernel: KernelResult) -> dict[str, Any]:
        checkout = self._id(self.words[kernel.name])
        built = kernel.state in (KernelState.MEASURED, KernelState.NOT_BOOTED)
        failed = Mark.FAIL if kernel.regression else Mark.ERROR
        compiler = _compiler(self.result, kernel)
        return {
            **checkout,
            "checkout_id": checkout["id"],
            "architecture": "x86_64",
            "comment": one_line(f"{kernel.name} {kernel.release}"),
            **({"compiler": compiler} if compiler else {}),
            "status": STATUSES[Mark.PASS if built else failed],
            **({} if built else _excerpt([kernel.reason, *kernel.details])),
            "misc": _plain({"sha256": kernel.sha256, "build_ids": kernel.build_ids}),
        }

    def test(self, check: Check) -> dict[str, Any]:
        path = check.path if check.group == KERNELS else f"{ORIGIN}.{check.path}"
        return {
            **self._id(check.id),
            "build_id": self._id(self.words[check.kernel])["id"],
            "path": path,
            "status": STATUSES[check.mark],
            "comment": f"{check.status}: {check.reason}" if check.reason else check.status,
            **self._started(),
            "duration": round(check.seconds, 3),
            **_number(check),
            **_excerpt(check.details),
            "environment": self._environment(),
            "misc": _misc((self.result.reference, check.kernel), check),
        }

    def _environment(self) -> dict[str, Any]:
        host = self.result.host
        comment = f"{self.result.accelerator}, {host.get('cpu', '')}, {host.get('cpus', '?')} CPUs"
        facts = {"accelerator": self.result.accelerator, "profile": self.result.profile, **host}
        return {"comment": one_line(comment), "misc": _plain(facts)}


def _provenance(kernel: KernelResult) -> dict[str, Any]:
    made = kernel.provenance
    if made is None:
        return {}
    patches = made.patches
    messages = [one_line(one.message_id).strip("<>") for one in patches if "@" in one.message_id]
    return {
        **({"git_commit_hash": made.base_commit} if re.fullmatch("[0-9a-f]{40}", made.base_commit) else {}),
        "patchset_hash": _patchset_hash([one.sha256 for one in patches]),
        **({"message_id": messages[0]} if messages else {}),
        "misc": _plain(
            {
                "tree": made.tree,
                "patches": [one.subject or one.name for one in patches],
                "config_sha256": made.config.sha256,
            }
        ),
    }


def _patchset_hash(digests: Sequence[str]) -> str:
    """As the schema has it: of the digests, a line each; empty without patches."""
    lines = "".join(f"{digest}\n" for digest in digests)
    return hashlib.sha256(lines.encode()).hexdigest() if digests else ""


def _compiler(result: Result, kernel: KernelResult) -> str:
    said = (item.facts.get("boot.compiler", "") for cell in result.cells for item in cell.on(kernel.name))
    return one_line(next(filter(None, said), ""))


def _number(check: Check) -> dict[str, Any]:
    """The rate that the check rests on; the schema has no place for it where nothing was executed."""
    figure = check.decisive
    if figure is None or figure.absent[1] or check.mark in (Mark.MISS, Mark.SKIP):
        return {}
    return {"number": {"value": figure.rates[1], "unit": one_line(f"{figure.name} {figure.per}")}}


def _excerpt(lines: Sequence[str]) -> dict[str, str]:
    text = clean("\n".join(lines))[:MOST_EXCERPT]
    return {"log_excerpt": text} if text else {}


def _misc(names: tuple[str, str], check: Check) -> dict[str, Any]:
    figures = [_figure(names, one) for one in check.figures]
    misc: dict[str, Any] = _plain(
        {"status": check.status, "figures": figures, "evidence": list(check.evidence)}
    )
    return misc


def _figure(names: tuple[str, str], one: Figure) -> dict[str, Any]:
    rates = {
        name: None if lacks else rate for name, rate, lacks in zip(names, one.rates, one.absent, strict=True)
    }
    return {
        "name": one.name,
        "unit": one.unit,
        "change": one.change,
        "rates": {name: rate for name, rate in rates.items() if rate is not None},
        **({} if one.ratio is None else {"ratio": one.ratio}),
        **({} if one.mde is None else {"mde": one.mde}),
    }


def _plain(value: Any) -> Any:
    """Free-form data with every text in it cleaned."""
    match value:
        case str():
            return one_line(value)
        case Mapping():
            return {one_line(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return list(map(_plain, value))
        case _:
            return value


def _digest(result: Result) -> str:
    """For a result that has no id: of what makes it this one."""
    counts: Iterator[object] = (item.paths for cell in result.cells for item in cell.rounds)
    said = repr((result.host, [kernel.sha256 for kernel in result.kernels.values()], *counts))
    return hashlib.sha256(said.encode(errors="backslashreplace")).hexdigest()[:32]
