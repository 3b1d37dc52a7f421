# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process imports: the command line answers at once, and only the lab process talks SSH."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

# Each of these costs a process 20 to 200 ms, and most of them some megabytes.
HEAVY = frozenset({"asyncio", "avocado", "cryptography", "jsonschema_rs", "paramiko", "qemu", "yaml"})

LIST = "import sys; from guestloop import cli; cli.main(['run', '--list'])"
HELP = """
import contextlib
from guestloop import cli
with contextlib.suppress(SystemExit):
    cli.main(["run", "--help"])
"""


# Each chain is what one process does in turn: starting it and importing Avocado takes longer than all else.
CHAINS = (
    {"--help": HELP, "--list": LIST, "compare": "import guestloop.job.conclude"},
    {
        "a client": "import guestloop.lab.client, guestloop.workloads.catalog",
        "Avocado": "import avocado",
        "a test": "import guestloop.testing",
        "a run": "import guestloop.job.run, guestloop.job.plugin, guestloop.job.session",
        "the lab": "import guestloop.lab.server",
    },
)


@cache
def modules_after(what: str) -> frozenset[str]:
    """The modules that a process has imported when it has done this, and what is before it in its chain."""
    (chain,) = [chain for chain in CHAINS if what in chain]
    return run_chain(tuple(chain.values()))[list(chain).index(what)]


@cache
def run_chain(programs: tuple[str, ...]) -> list[frozenset[str]]:
    """The modules that are there after each of these programs; what they print goes nowhere."""
    tell = "import sys; print(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "\n".join(f"{program}\n{tell}" for program in programs)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [frozenset(line.split()) for line in done.stderr.splitlines()]


def heavy_after(what: str) -> set[str]:
    return {name.split(".")[0] for name in modules_after(what)} & HEAVY


def test_help_needs_next_to_nothing() -> None:
    assert heavy_after("--help") == set()
    assert "guestloop.config" not in modules_after("--help")


def test_list_reads_yaml_and_no_more() -> None:
    assert heavy_after("--list") == {"yaml"}
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
    assert not {f"guestloop.{name}" for name in needless} & modules_after("--list")


def test_compare_measures_nothing() -> None:
    assert heavy_after("compare") <= {"jsonschema_rs", "yaml"}


def test_what_a_test_uses_is_light() -> None:
    assert heavy_after("a client") == set()


def test_a_test_process_imports_what_avocado_does_and_no_more() -> None:
    assert "paramiko" not in heavy_after("Avocado")
    assert heavy_after("a test") == heavy_after("Avocado")
    assert "guestloop.config" not in modules_after("a test")


def test_a_run_leaves_ssh_to_the_lab_process() -> None:
    """Which imports what it needs for that while its first L1 boots."""
    assert "paramiko" not in modules_after("a run") | modules_after("the lab")
    assert "guestloop.vm.l1" in modules_after("the lab") - modules_after("a run")
