# SPDX-License-Identifier: GPL-2.0-or-later
"""How much of each package the fast tests execute, and whether that is enough."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from guestloop.ground.log import say
from suite.stages import fast_tests

LEAST_PERCENT = 80.0
MEASURED = ("agent", "lab", "vm", "workloads")  # the packages that otherwise run with guests only
TOO_LITTLE = 1


@dataclass(frozen=True)
class Covered:
    """Statements of a file or package, and how many of them were executed."""

    executed: int = 0
    statements: int = 0

    def __add__(self, other: Covered) -> Covered:
        return Covered(self.executed + other.executed, self.statements + other.statements)

    @property
    def percent(self) -> float:
        """100 when there is nothing to execute."""
        return 100 * self.executed / self.statements if self.statements else 100.0


def run_with_coverage(expression: str, options: Sequence[str]) -> int:
    """Run the fast tests, print a table; returns pytest's status, or 1 when a package is below 80 %."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "coverage.json"
        environment = {**os.environ, "COVERAGE_FILE": str(Path(directory) / "data")}
        measuring = ("--cov", "--cov-report=", f"--cov-report=json:{report}", "--no-cov-on-fail")
        for stage in fast_tests(expression, [*options, *measuring]):
            status = subprocess.run(stage.command, env=environment, check=False).returncode
            if status:
                return status
        files = read_report(json.loads(report.read_text()))
    packages = by_package(files)
    say("\n".join(table(files, packages)))
    low = too_low(packages)
    for package in low:
        say(f"==> {package}: {packages[package].percent:.1f} % covered, {LEAST_PERCENT:g} % are wanted")
    return TOO_LITTLE if low else 0


def read_report(report: Mapping[str, Mapping[str, Mapping[str, Mapping[str, int]]]]) -> dict[str, Covered]:
    """From coverage's JSON report to files of the package, named from the package on."""
    files = {}
    for name, file in report["files"].items():
        parts = PurePath(name).parts
        inner = "/".join(parts[parts.index("guestloop") + 1 :])
        files[inner] = Covered(file["summary"]["covered_lines"], file["summary"]["num_statements"])
    return dict(sorted(files.items()))


def by_package(files: Mapping[str, Covered]) -> dict[str, Covered]:
    """Sums for the packages; a module beside them counts as one."""
    packages: dict[str, Covered] = {}
    for name, covered in files.items():
        package = name.split("/", 1)[0].removesuffix(".py")
        packages[package] = packages.get(package, Covered()) + covered
    return packages


def table(files: Mapping[str, Covered], packages: Mapping[str, Covered]) -> list[str]:
    """The files of the measured packages, then all packages."""
    rows = {name: item for name, item in files.items() if name.split("/", 1)[0] in MEASURED}
    rows |= {f"{name} (in all)": item for name, item in packages.items()}
    lines = [
        f"{name:42} {item.statements:10} {item.percent:7.1f} %"
        for name, item in rows.items()
        if item.statements
    ]
    return [f"{'':42} statements  executed", *lines]


def too_low(packages: Mapping[str, Covered]) -> list[str]:
    """Measured packages below the least; one that the report lacks is among them."""
    return [name for name in MEASURED if name not in packages or packages[name].percent < LEAST_PERCENT]
