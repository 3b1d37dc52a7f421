# SPDX-License-Identifier: GPL-2.0-or-later
"""The jobs of docs/ci: valid for those who run them, and their status is that of scripts/run."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from guestloop.config import REPOSITORY
from guestloop.ground.errors import Exit

DIRECTORY = REPOSITORY / "docs/ci"
BIN = Path(sys.executable).parent

STUB = """#!/bin/sh
echo "$@" >arguments
mkdir out && echo "some mail" >out/mail.txt
exit $STATUS
"""


def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DIRECTORY / name).read_text())
    return content


class Linters:
    """Starts linters, each again only when itself or what it reads has changed.

    Importing them takes seconds. As with ruff and mypy a good result stays, until ``pytest --cache-clear``.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._known: pytest.Cache | None = getattr(config, "cache", None)  # none with -p no:cacheprovider

    def check(self, package: str, *arguments: str, of: Path, **options: Any) -> None:
        """Run a program, which has the name of its package, on this file or directory: it finds no fault."""
        files = sorted(path for path in of.rglob("*") if path.is_file()) or [of]
        inputs = (
            version(package),
            *arguments,
            *(f"{path.relative_to(of)} {path.read_text()}" for path in files),
        )
        digest, name = hashlib.sha256("\0".join(inputs).encode()).hexdigest(), f"linters/{of.name}"
        if self._known is not None and self._known.get(name, "") == digest:
            return
        command = [str(BIN / package), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "fail" not in done.stdout and "warn" not in done.stdout
        if self._known is not None:
            self._known.set(name, digest)


@pytest.fixture
def linters(pytestconfig: pytest.Config) -> Linters:
    return Linters(pytestconfig)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("gitlab-ci.yml", ("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci")),
        ("github-actions.yml", ("--builtin-schema", "vendor.github-workflows")),
    ],
)
def test_the_schema_of_who_runs_it(linters: Linters, name: str, arguments: tuple[str, ...]) -> None:
    linters.check("check-jsonschema", *arguments, str(DIRECTORY / name), of=DIRECTORY / name)


def test_tmt_finds_no_fault(linters: Linters, tmp_path: Path) -> None:
    tree = shutil.copytree(DIRECTORY / "tmt", tmp_path / "tmt")
    wanted = ("--outcome-only", "fail", "--outcome-only", "warn")
    home = {**os.environ, "HOME": str(tmp_path)}
    linters.check("tmt", "--feeling-safe", "lint", *wanted, of=tree, cwd=tree, env=home)


def test_a_linter_runs_again_when_something_has_changed(
    linters: Linters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, read, runs = tmp_path / "linter", tmp_path / "jobs.yml", tmp_path / "runs"
    program.write_text(f'#!/bin/sh\necho "$1" >>{runs}\ngrep -q fine {read}\n')
    program.chmod(0o755)
    known: dict[str, str] = {}
    remembering = SimpleNamespace(get=known.get, set=known.__setitem__)
    monkeypatch.setattr(linters, "_known", remembering)
    monkeypatch.setattr(sys.modules[__name__], "BIN", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "version", lambda _package: "1.0")

    def runs_for(content: str, option: str = "lint") -> int:
        read.write_text(content)
        linters.check("linter", option, of=read)
        return len(runs.read_text().splitlines())

    assert [runs_for("fine"), runs_for("fine"), runs_for("fine too"), runs_for("fine too", "all")] == [
        1,
        1,
        2,
        3,
    ]
    for _ in range(2):
        with pytest.raises(AssertionError):
            runs_for("wrong")
    assert runs_for("fine too", "all") == 5, "what fails is not remembered"
    monkeypatch.setattr(sys.modules[__name__], "version", lambda _package: "1.1")
    assert runs_for("fine too", "all") == 6


class Runner:
    """Runs the words of a job in a shell, with a stub for guestloop."""

    def __init__(self, directory: Path) -> None:
        self.guestloop, self.cwd = directory / "guestloop", directory / "cwd"
        (self.guestloop / "scripts").mkdir(parents=True)
        self.cwd.mkdir()
        stub = self.guestloop / "scripts/run"
        stub.write_text(STUB)
        stub.chmod(0o755)

    def run(self, script: str, status: int, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "GUESTLOOP": str(self.guestloop), "STATUS": str(status)}
        return subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=self.cwd,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


@pytest.mark.parametrize("status", [Exit.OK, Exit.REGRESSION, Exit.LAB, Exit.INCONCLUSIVE])
def test_gitlab_sees_the_status_and_shows_the_mail(runner: Runner, status: int) -> None:
    job = load("gitlab-ci.yml")["guestloop"]
    done = runner.run("\n".join(job["script"]), status, CI_MERGE_REQUEST_DIFF_BASE_SHA="c0ffee")
    assert (done.returncode, done.stdout) == (status, "some mail\n")
    assert (runner.cwd / "arguments").read_text() == "--git . c0ffee..HEAD --out out\n"
    assert job["allow_failure"]["exit_codes"] == [Exit.INCONCLUSIVE]


@pytest.mark.parametrize(
    ("status", "seen"),
    [(Exit.OK, 0), (Exit.REGRESSION, 1), (Exit.LAB, 3), (Exit.INCONCLUSIVE, 0)],
)
def test_github_sees_the_status_but_a_warning_for_an_open_run(
    runner: Runner, status: int, seen: int, tmp_path: Path
) -> None:
    (step,) = [one for one in load("github-actions.yml")["jobs"]["guestloop"]["steps"] if "run" in one]
    summary = tmp_path / "summary"
    done = runner.run(step["run"], status, BASE="c0ffee", GITHUB_STEP_SUMMARY=str(summary))
    assert (done.returncode, summary.read_text()) == (seen, "    some mail\n")
    assert ("::warning::" in done.stdout) == (status == Exit.INCONCLUSIVE)
    assert (runner.cwd / "arguments").read_text() == "--git . c0ffee...HEAD --out out\n"


def test_tmt_takes_the_status_as_it_is() -> None:
    test = yaml.safe_load((DIRECTORY / "tmt/guestloop.fmf").read_text())["/test"]
    assert test["result"] == "respect"
    assert test["test"].startswith('"$GUESTLOOP/scripts/run" ')
