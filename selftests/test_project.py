# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes it a project that others can join: licence, metadata, and hooks that run what CI runs."""

from __future__ import annotations

import hashlib
import shlex
import sys
import tomllib
from pathlib import Path

import yaml

from guestloop.config import REPOSITORY
from suite.stages import checks, fast_tests

LICENCE = "SPDX-License-Identifier: GPL-2.0-or-later"
# Patches carry the provenance of what they change; data and configuration of kernels are not programs.
SOURCES = (
    *("src/**/*.py", "selftests/**/*.py", "tests/**/*.py", "guest-images/**/*.[ch]"),
    *(
        "scripts/*",
        ".ci/run",
        "kernels/**/*.yaml",
        "guest-images/**/*.yaml",
        "src/**/*.yaml",
        "*.yaml",
        "pyproject.toml",
    ),
)
GPL_2_0 = "8177f97513213526df2cf6184d8ff986c675afb514d4e68a404010521b880643"


def test_the_licence_is_the_genuine_text() -> None:
    assert hashlib.sha256((REPOSITORY / "LICENSE").read_bytes()).hexdigest() == GPL_2_0


def source_files(top: Path = REPOSITORY) -> list[Path]:
    """Every file that is a program, or says what programs do."""
    found = {path for pattern in SOURCES for path in top.glob(pattern) if path.is_file()}
    return sorted(path for path in found if "data" not in path.relative_to(top).parts)


def test_every_source_file_names_its_licence() -> None:
    files = source_files()
    assert len(files) > 250
    without = [
        path for path in files if not any(LICENCE in line for line in path.read_text().splitlines()[:2])
    ]
    assert not without, f"no {LICENCE!r} in the first two lines of {without}"


def test_the_metadata_name_files_that_exist() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["license"] == "GPL-2.0-or-later"
    for name in (project["readme"], *project["license-files"]):
        assert (REPOSITORY / name).is_file()


def test_the_hooks_are_the_stages_of_scripts_test() -> None:
    """A hook that runs something else, or nothing, lets through what CI rejects."""
    (repo,) = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local", "nothing may be fetched"
    hooks = {hook["name"]: shlex.split(hook["entry"]) for hook in repo["hooks"]}
    stages = {stage.name: list(stage.command) for stage in [*checks(), *fast_tests()]}
    for command in hooks.values():
        assert command[0] == ".venv/bin/python"
        command[0] = sys.executable
    assert hooks == stages
    assert all(hook["always_run"] and not hook["pass_filenames"] for hook in repo["hooks"])
