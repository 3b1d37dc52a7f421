# SPDX-License-Identifier: GPL-2.0-or-later
"""One run at a time uses the host's KVM: the lock, who holds it, and what a run that was killed leaves."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from processes import at_most

from guestloop.ground import isolated
from guestloop.ground.errors import LabError
from guestloop.ground.wait import wait_for
from guestloop.machines import host_lock
from guestloop.machines.host_lock import borrowed, find_holder, refuse_if_taken

HOLDER = """
import subprocess, sys
sys.path.insert(0, sys.argv.pop(1))
from pathlib import Path
from guestloop.machines.host_lock import borrowed
path = Path(sys.argv.pop(1))
with borrowed(wait=True, path=path) as descriptor:
    # As the lab and a QEMU: it lives on when this process is killed.
    left = subprocess.Popen(["sleep", "60"], pass_fds=[descriptor], process_group=0)
    print(left.pid, flush=True)
    sys.stdin.readline()
    left.kill()
    left.wait()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock/guestloop-kvm.lock"


@contextmanager
def another_run(path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A run that holds the lock, and a process that has inherited it."""
    argv = [sys.executable, "-c", HOLDER, str(isolated.SOURCE), str(path), "run", "--profile", "lab"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        left = int(process.stdout.readline())
        try:
            yield process, left
        finally:
            process.kill()
            with suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)


def test_who_holds_it(path: Path) -> None:
    assert find_holder(path) == "", "nobody, and nothing is made to find that out"
    assert not path.parent.exists()
    with another_run(path) as (process, _):
        seen = find_holder(path)
        assert seen.startswith(f"pid {process.pid} (-c run --profile lab) of ")
        assert " since 20" in seen and "ended" not in seen
        process.communicate("end\n")
    assert find_holder(path) == ""


def test_a_second_run_that_does_not_wait_is_refused(path: Path) -> None:
    with another_run(path) as (process, _), at_most(10):
        for refused in (lambda: refuse_if_taken(path), lambda: borrowed(wait=False, path=path).__enter__()):
            with pytest.raises(LabError, match=f"this host is in use: pid {process.pid} ") as raised:
                refused()
            assert raised.value.exit_status == 3 and "--no-wait" in raised.value.hint
        process.communicate("end\n")
    refuse_if_taken(path)


def test_a_second_run_waits_and_names_the_first(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with another_run(path) as (process, _), at_most(10):
        second = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(isolated.SOURCE), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with second:
            assert second.stderr and second.stdout
            said = second.stderr.readline()
            assert said.startswith(f"==> waiting for this host: pid {process.pid} (-c run --profile lab) of ")
            process.communicate("end\n")
            assert int(second.stdout.readline()) > 0, "it is its turn"
            assert find_holder(path).startswith(f"pid {second.pid} ")
            second.communicate("end\n")


def test_what_is_left_of_a_killed_run_holds_the_host(path: Path) -> None:
    with another_run(path) as (process, left), at_most(10):
        process.kill()
        process.wait()
        seen = find_holder(path)
        assert seen.startswith(f"pid {process.pid} ") and "which has ended; what it started is still" in seen
        os.kill(left, signal.SIGKILL)
        wait_for("the lock to be free", lambda: True if not find_holder(path) else None, 5)


def test_it_is_free_after_the_body(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), borrowed(wait=False, path=path):
        raise KeyboardInterrupt
    with borrowed(wait=False, path=path):
        assert find_holder(path)


def test_a_moment_of_looking_refuses_nobody(path: Path) -> None:
    """The doctor's look takes a shared lock for a moment."""
    refuse_if_taken(path)
    looking = os.open(path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    real, tries = host_lock._try, []

    def let_go(descriptor: int) -> bool:
        tries.append(descriptor)
        if len(tries) == 2:
            os.close(looking)
        return real(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_lock, "_try", let_go)
        with borrowed(wait=False, path=path):
            assert len(tries) == 2


@pytest.mark.parametrize("content", ["", "flock of somebody\n", "[1]\n", '{"pid": "x"}\n', "\0\xff"])
def test_another_program_holds_it_without_a_name(path: Path, content: str) -> None:
    refuse_if_taken(path)
    path.write_text(content)
    other = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert find_holder(path) == f"somebody who holds {path} and left no name"
    finally:
        os.close(other)


def test_what_others_wrote_is_shown_harmlessly(path: Path) -> None:
    with borrowed(wait=False, path=path):
        data = json.loads(path.read_text())
        path.write_text(json.dumps({**data, "command": "\033[2J" + "x" * 1000}))
        seen = find_holder(path)
        assert "\033" not in seen and len(seen) < 300


def test_anybody_may_use_the_file_of_another_user(path: Path) -> None:
    old = os.umask(0o077)
    try:
        refuse_if_taken(path)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o666
    assert path.parent.stat().st_mode & 0o7777 == 0o1777


def test_a_file_that_may_not_be_written_has_no_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = host_lock._open_as

    def denied(path: Path, flags: int) -> int:
        if flags & os.O_WRONLY:
            raise PermissionError(13, "Permission denied")
        return real(path, flags)

    refuse_if_taken(path)
    path.write_text("")
    monkeypatch.setattr(host_lock, "_open_as", denied)
    with borrowed(wait=False, path=path):
        assert "left no name" in find_holder(path)


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "of somebody else")
    with pytest.raises(LabError, match=r"cannot be opened: is a symbolic link"):
        refuse_if_taken(path)
    assert not (tmp_path / "of somebody else").exists()


def test_a_place_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="the lock of this host cannot be opened: Not a directory"):
        refuse_if_taken(tmp_path / "file/lock")
