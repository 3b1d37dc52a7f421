# SPDX-License-Identifier: GPL-2.0-or-later
"""``avocado run -m FILE -- tests/...`` by itself: passes on the reference, fails on a seeded fault."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from guestloop.config import REPOSITORY

pytestmark = pytest.mark.guest

FAULTY = "async-ready-dropped"
MATRIX = f"""\
kernels: !mux
  unpatched:
    kernel: unpatched
  {FAULTY}:
    kernel: {FAULTY}
mmu_modes: !mux
  shadow:
    mmu: shadow
"""
STORMS = 3  # tests in tests/asyncpf/storm.py


def test_tests_pass_on_the_reference_and_fail_on_a_seeded_fault(tmp_path: Path) -> None:
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text(MATRIX)
    avocado = [sys.executable, "-m", "avocado", "run", "--job-results-dir", str(tmp_path), "-m", str(matrix)]
    done = subprocess.run(
        [*avocado, "--", "tests/asyncpf/storm.py"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 1, done.stdout  # avocado: some tests failed
    tests = json.loads((tmp_path / "latest" / "results.json").read_text())["tests"]
    seen = Counter((_kernel(test["name"]), test["status"]) for test in tests)
    assert seen["unpatched", "PASS"] == STORMS, done.stdout
    assert sum(seen.values()) == 2 * STORMS, "a test was not run at all"
    failed = [test for test in tests if _kernel(test["name"]) == FAULTY and test["status"] == "FAIL"]
    assert failed, done.stdout
    assert all("does not answer" in test["fail_reason"] for test in failed)


def _kernel(test: str) -> str:
    """Which kernel of MATRIX a test ran on, from the variant at the end of its name."""
    return FAULTY if FAULTY in test.rpartition(";")[2] else "unpatched"
