# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab on a borrowed host: it has that for itself, and nothing is left of it after any end of its run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fake_l1 import make_spec
from processes import at_most, is_running

from guestloop.ground import isolated
from guestloop.ground.errors import LabError
from guestloop.ground.wait import wait_for
from guestloop.job import prepare
from guestloop.job.session import lab_on, limits_of
from guestloop.machines import host_lock
from guestloop.machines.cgroups import read_cgroups
from guestloop.machines.choice import KINDS, kind_named
from guestloop.machines.containment import Limits, Way, find_way
from guestloop.machines.host import Host, KvmDevice, Vendor
from guestloop.machines.host_lock import borrowed, find_holder

# It plays the QEMU of an L1: it starts, and is silent. SIGTERM does not end it.
QEMU = "#!/bin/sh\ntrap '' TERM\necho $$ >{pid}.new\nmv {pid}.new {pid}\nwhile :; do sleep 1; done\n"

RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from guestloop.ground.log import say
from guestloop.job import session
from guestloop.lab.spec import parse_lab_spec
from guestloop.machines import host_lock
from guestloop.machines.choice import kind_named
out = Path(sys.argv[2])
host_lock.LOCK = out / "lock"
with session.lab_on(kind_named("kvm"), parse_lab_spec((out / "spec").read_text()), out):
    print("measuring", flush=True)
    sys.stdin.readline()
"""


def begin(directory: Path, *kernels: str) -> subprocess.Popen[str]:
    """A run on hardware that measures these kernels."""
    program = directory / "qemu"
    program.write_text(QEMU.format(pid=directory / "pid"))
    program.chmod(0o755)
    spec = make_spec(directory / "lab", *kernels)
    parts = {name: replace(own, program=program) for name, own in spec.parts.items()}
    (directory / "spec").write_text(replace(spec, parts=parts).dump())
    argv = [sys.executable, "-c", RUN, str(isolated.SOURCE), str(directory)]
    with (directory / "said").open("w") as said:
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_free(lock: Path) -> bool | None:
    return None if find_holder(lock) else True


def find_group(said: Path) -> Path | None:
    """The control group of a run, by what it said, where this machine gives it one by hand."""
    text = said.read_text()
    assert text.startswith("==> L1s are "), text
    if find_way(read_cgroups()).way is not Way.GROUP:
        return None
    return Path(text.split("contained by ")[1].split()[0].rstrip(",:"))


def test_nothing_is_left_of_a_run_that_was_killed(tmp_path: Path) -> None:
    lock, pid = tmp_path / "lock", tmp_path / "pid"
    with begin(tmp_path, "patched") as run, at_most(60):
        assert run.stdout and run.stdout.readline() == "measuring\n"
        wait_for("the QEMU of the L1", lambda: True if pid.exists() else None, 30)
        qemu = int(pid.read_text())
        lab, group = parent_of(qemu), find_group(tmp_path / "said")
        held = [path.stat().st_ino for path in Path(f"/proc/{qemu}/fd").iterdir() if path.exists()]
        assert lock.stat().st_ino in held, "the host is in use as long as a QEMU lives"
        assert find_holder(lock).startswith(f"pid {run.pid} ")
        if group:
            assert {str(lab), str(qemu)} <= set((group / "cgroup.procs").read_text().split())
        run.kill()
        run.wait()
        wait_for("the host to be free", lambda: is_free(lock), 30)
        wait_for("all to end", lambda: None if is_running(qemu) or is_running(lab) else True, 30)
        if group:
            wait_for("its group to be gone", lambda: None if group.exists() else True, 30)


@pytest.mark.parametrize("number", [signal.SIGINT, None])
def test_nothing_is_left_of_a_run_that_ended(number: signal.Signals | None, tmp_path: Path) -> None:
    with begin(tmp_path) as run, at_most(60):
        assert run.stdout and run.stdin and run.stdout.readline() == "measuring\n"
        group = find_group(tmp_path / "said")
        assert find_holder(tmp_path / "lock") and (not group or group.exists())
        if number:
            run.send_signal(number)
        run.stdin.close()
        run.wait(60)
    assert is_free(tmp_path / "lock")
    assert not group or not group.exists()


def test_runs_on_the_emulator_stay_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with borrowed(wait=False, path=tmp_path / "lock"):
        monkeypatch.setattr(host_lock, "LOCK", tmp_path / "lock")
        with lab_on(kind_named("tcg"), make_spec(tmp_path / "lab"), tmp_path, wait=False):
            assert (tmp_path / "lab/lab.log").exists()
        with pytest.raises(LabError, match="this host is in use"):
            lab_on(kind_named("kvm"), make_spec(tmp_path / "lab"), tmp_path, wait=False).__enter__()


def test_only_kvm_borrows_the_host() -> None:
    assert [kind.name for kind in KINDS if kind.borrows_host] == ["kvm"]


def test_a_run_that_does_not_wait_builds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host("Some CPU", 2, 4096, Vendor.AMD, KvmDevice.USABLE, parameters={"kvm_amd.nested": "1"})
    monkeypatch.setattr(prepare, "read_host", lambda: host)
    monkeypatch.setattr(prepare, "check_semaphores", lambda: None)
    monkeypatch.setattr(host_lock, "LOCK", tmp_path / "lock")
    assert prepare.find_machine("kvm", wait=False)[1].kind.name == "kvm"
    with borrowed(wait=False, path=tmp_path / "lock"):
        assert prepare.find_machine("kvm")[1].kind.name == "kvm", "it waits when it measures"
        assert prepare.find_machine("tcg", wait=False)[1].kind.name == "tcg"
        with pytest.raises(LabError, match=f"in use: pid {os.getpid()} "):
            prepare.find_machine("kvm", wait=False)


def test_limits_grow_with_the_kernels(tmp_path: Path) -> None:
    assert limits_of(make_spec(tmp_path, "a")) == Limits(256 + 3584, 256)
    assert limits_of(make_spec(tmp_path, "a", "b", "c")) == Limits(256 + 3 * 3584, 512)
