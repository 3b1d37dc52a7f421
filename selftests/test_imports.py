# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process imports: the command line answers at once, and only the lab process talks SSH."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

# Each of these costs a process 20 to 200 ms, and most of them some megabytes.
HEAVY = frozenset({"asyncio", "avocado", "cryptography", "jsonschema", "paramiko", "qemu", "yaml"})

LIST = "import sys; from guestloop import cli; cli.main(['run', '--list'])"
HELP = """
import contextlib
from guestloop import cli
with contextlib.suppress(SystemExit):
    cli.main(["run", "--help"])
"""


@cache
def modules_after(program: str) -> frozenset[str]:
    """The modules that a process has imported when it has run this program; what it prints goes nowhere."""
    tell = f"{program}\nimport sys\nprint(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", tell],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return frozenset(done.stderr.split())


def heavy_after(program: str) -> set[str]:
    return {name.split(".")[0] for name in modules_after(program)} & HEAVY


def test_help_needs_next_to_nothing() -> None:
    assert heavy_after(HELP) == set()
    assert "guestloop.config" not in modules_after(HELP)


def test_list_reads_yaml_and_no_more() -> None:
    assert heavy_after(LIST) == {"yaml"}
    needless = {
        "cache",
        "compare",
        "images",
        "kernels",
        "report",
        "lab.client",
        "agent.guest",
        "agent.services",
    }
    assert not {f"guestloop.{name}" for name in needless} & modules_after(LIST)


def test_compare_measures_nothing() -> None:
    assert heavy_after("import guestloop.job.conclude") <= {"jsonschema", "yaml"}


def test_what_a_test_uses_is_light() -> None:
    assert heavy_after("import guestloop.lab.client, guestloop.workloads.catalog") == set()


def test_a_test_process_imports_what_avocado_does_and_no_more() -> None:
    brought = heavy_after("import avocado")
    assert "paramiko" not in brought
    assert heavy_after("import guestloop.testing") == brought
    assert "guestloop.config" not in modules_after("import guestloop.testing")


@pytest.mark.parametrize("module", ["guestloop.job.run", "guestloop.job.plugin", "guestloop.job.session"])
def test_a_run_leaves_ssh_to_the_lab_process(module: str) -> None:
    assert "paramiko" not in modules_after(f"import {module}")
    assert "paramiko" in modules_after("import guestloop.lab.server")
