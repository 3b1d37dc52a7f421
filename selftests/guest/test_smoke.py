# SPDX-License-Identifier: GPL-2.0-or-later
"""Real guests under TCG: the smoke profile gives a true verdict, and what breaks is told and cleaned up.

They use the ordinary cache, so a fresh machine builds two kernels and L1's disk first (minutes).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guestloop.report.verdict_json import validate

pytestmark = pytest.mark.guest

PACKAGE = "deb:linux-image-cloud-amd64"


class Run:
    """``guestloop run --profile smoke`` in a session of its own, as a terminal or CI would start it."""

    def __init__(self, out: Path, *options: str) -> None:
        self.out, self._log = out, out.with_suffix(".log")
        command = [sys.executable, "-m", "guestloop.cli", "run", "--profile", "smoke", "--out", str(out)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *options], stdout=log, stderr=log, start_new_session=True, cwd=out.parent
            )

    @property
    def text(self) -> str:
        return self._log.read_text()

    def until_measuring(self) -> None:
        """Wait for the first round to be at work: the kernels may have to be built before.

        KVM is loaded once as its L1 boots, with nested paging. The round loads it without, for shadow paging.
        """
        console = self.out / "lab" / "unpatched.1" / "console.log"
        deadline = time.monotonic() + 1800
        while not (
            console.exists() and "kvm_amd: Nested Paging disabled" in console.read_text(errors="replace")
        ):
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.1)
        time.sleep(2)

    def finish(self, seconds: float = 300) -> int:
        status = self.process.wait(seconds)
        sys.stderr.write(self.text)  # for pytest to show when the test fails, and for its list of slow steps
        return status

    def qemus(self) -> list[int]:
        """Processes whose command line names this run's result directory, the run itself left out."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"qemu-system" in words[0] and any(os.fsencode(self.out) in word for word in words):
                found.append(int(path.parent.name))
        return found

    def half_written(self) -> list[Path]:
        return list(self.out.rglob("*.partial"))

    def assert_nothing_left(self) -> None:
        """A test that lost its guest may still be writing its round when the last QEMU is gone."""
        deadline = time.monotonic() + 10
        while (self.qemus() or self.half_written()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert self.qemus() == []
        assert not self.half_written()

    def verdict(self) -> dict[str, Any]:
        verdict: dict[str, Any] = json.loads((self.out / "verdict.json").read_text())
        validate(verdict)
        return verdict

    def cell(self) -> dict[str, Any]:
        (cell,) = self.verdict()["cells"]
        return dict(cell)


Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a run with these options, which is ended with the test."""
    started: list[Run] = []

    def begin(*options: str) -> Run:
        started.append(Run(tmp_path / "out", *options))
        return started[-1]

    yield begin
    for run in started:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)


def test_smoke_profile_tells_the_patch_apart(start: Start) -> None:
    run = start()
    run.until_measuring()
    assert run.finish() == 0, run.text
    cell = run.cell()
    assert (cell["status"], cell["correctness"]) == ("fewer", {"unpatched": "pass", "patched": "pass"})
    rounds = {item["kernel"]: item for item in cell["rounds"]}
    for item in rounds.values():
        assert item["events"]["page_ready"] >= 500
        assert item["events"]["pages_swapped_in"] >= 500
        assert item["facts"]["kvm_amd.npt"] == "N"
        requests = item["counters"]["remote_tlb_flush_requests"]
        assert abs(sum(item["paths"].values()) - requests) <= max(2, requests / 100)

    def per_event(kernel: str) -> float:
        item = rounds[kernel]
        return float(item["paths"].get("async_page_ready", 0) / item["events"]["page_ready"])

    assert per_event("unpatched") >= 0.2
    assert per_event("patched") <= 0.01
    assert rounds["unpatched"]["facts"]["kvm.build_id"] != rounds["patched"]["facts"]["kvm.build_id"]
    assert len({item["facts"]["l2.vmlinux.build_id"] for item in rounds.values()}) == 1
    run.assert_nothing_left()


def test_a_packaged_kernel_is_measured_as_it_comes(start: Start) -> None:
    """By the name of a meta package: versions vanish from package sources."""
    run = start("--kernels", f"{PACKAGE},{PACKAGE}")
    assert run.finish() == 0, run.text
    cell, kernels = run.cell(), run.verdict()["kernels"]
    assert cell["status"] == "same" and set(cell["correctness"].values()) == {"pass"}
    for kernel in kernels.values():
        assert kernel["origin"]["kind"] == "package" and kernel["origin"]["verified"]
        assert kernel["base"].startswith("linux-image-")
    for item in cell["rounds"]:
        assert item["events"]["page_ready"] >= 500
        assert item["paths"]["async_page_ready"] or item["paths"]["mmu_notifier_unmap"]
    run.assert_nothing_left()


def test_interrupt_ends_every_guest(start: Start) -> None:
    run = start()
    run.until_measuring()
    assert run.qemus()
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.finish(60) == 130, run.text
    assert "interrupted" in run.text
    run.assert_nothing_left()
    verdict = run.verdict()
    assert verdict["run"]["ending"] == "interrupted"
    assert run.cell()["status"] not in {"same", "fewer", "more", "broken"}, "nothing is claimed from it"
    assert (run.out / "report.html").exists()


def test_kill_9_leaves_no_guest(start: Start) -> None:
    run = start()
    run.until_measuring()
    assert run.qemus()
    os.kill(run.process.pid, signal.SIGKILL)
    assert run.finish(10) == -signal.SIGKILL
    run.assert_nothing_left()


def test_a_dead_l1_is_told_and_the_run_goes_on(start: Start) -> None:
    run = start("--rounds", "2")
    run.until_measuring()
    for pid in run.qemus():
        if b"guestloop-l1-unpatched" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    assert run.finish() == 0, run.text
    cell = run.cell()
    assert cell["status"] == "fewer", "the round that was lost is repeated, and both are kept"
    rounds = [item for item in cell["rounds"] if item["kernel"] == "unpatched"]
    assert "L1 unpatched: QEMU ended (killed by signal 9)" in rounds[0]["reason"]
    assert [(item["round"], item["boot"], item["repeats"]) for item in rounds] == [
        (1, 1, 0),
        (2, 2, 0),
        (3, 2, 1),
    ]
    assert list((run.out / "evidence").rglob("unpatched.1.error.txt"))
    run.assert_nothing_left()
