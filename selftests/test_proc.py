# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes: run to the end, helpers with a life, and nothing that outlives us, however we end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from guestloop.ground import proc, wait
from guestloop.ground.errors import LabError, ProcessError, TimedOut
from guestloop.ground.wait import PacedClock, wait_for

GUARD = Path(proc.__file__).with_name("guard.py")


def living(group: int) -> list[int]:
    """Processes of a group that still run; one that is dead and not yet reaped does not count."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == group and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


def wait_until_gone(group: int, seconds: float = 3.0) -> None:
    wait_for(f"group {group} to be gone", lambda: None if living(group) else True, seconds)


# --- run -------------------------------------------------------------------------------------------


def test_output_and_status() -> None:
    done = proc.run(["sh", "-c", "echo out; echo err >&2"])
    assert (done.status, done.output) == (0, "out\nerr")
    assert proc.run(["sh", "-c", "exit 3"], check=False).status == 3


def test_failure_carries_command_status_and_the_end_of_the_output() -> None:
    argv = ["sh", "-c", "seq 1000; exit 4"]
    with pytest.raises(ProcessError, match="sh: exit status 4") as raised:
        proc.run(argv, hint="look here")
    error = raised.value
    assert (error.argv, error.status, error.hint) == (tuple(argv), 4, "look here")
    assert error.output.splitlines() == [str(number) for number in range(601, 1001)]
    assert str(error).splitlines()[0] == "sh: exit status 4" and str(error).endswith("| 1000")


def test_a_signal_is_told_as_one() -> None:
    with pytest.raises(ProcessError, match="killed by signal 9"):
        proc.run(["sh", "-c", "kill -9 $$"])


def test_log_has_everything_and_on_line_each_line(tmp_path: Path) -> None:
    log, lines = tmp_path / "log", list[str]()
    log.write_text("before\n")
    done = proc.run(["seq", "500"], log=log, on_line=lines.append)
    assert log.read_text().splitlines() == ["before", *lines]
    assert lines == [str(number) for number in range(1, 501)]
    assert len(done.output.splitlines()) == proc.KEPT_LINES


def test_environment_directory_and_empty_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "listed")
    monkeypatch.setenv("OTHER", "not listed")
    script = "echo $USER,$OTHER,$ADDED,$HOME,$LC_ALL; umask; pwd"
    done = proc.run(["sh", "-c", script], env={"ADDED": "added"}, cwd=tmp_path)
    assert done.output == f"listed,,added,{os.environ['HOME']},C.UTF-8\n0022\n{tmp_path}"
    bare = proc.run(["sh", "-c", script], env={"ADDED": "added"}, cwd=tmp_path, bare=True)
    assert bare.output == f",,added,/nonexistent,C.UTF-8\n0022\n{tmp_path}"
    assert proc.run(["cat"]).output == ""


def test_what_is_read_is_stdout_alone() -> None:
    """A loader that cannot preload a library says so on stderr, of every program."""
    seen = proc.read(
        ["sh", "-c", "echo noise >&2; printf 'one\\ntwo\\377'; echo more >&2; exit 3"], check=False
    )
    assert (seen.status, seen.stdout, seen.stderr) == (3, b"one\ntwo\xff", "noise\nmore")
    assert seen.lines == ["one", "two\ufffd"]
    with pytest.raises(ProcessError, match="sh: exit status 4") as raised:
        proc.read(["sh", "-c", "echo data; echo reason >&2; exit 4"], hint="look here")
    assert (raised.value.output, raised.value.hint) == ("reason", "look here")


def test_what_is_read_can_be_large_on_all_three_streams() -> None:
    """More than a pipe holds, with a command that does not read its stdin before it has written."""
    size = 1 << 18
    script = f"head -c {size} /dev/zero >&2; head -c {size} /dev/zero; wc -c"
    seen = proc.read(["sh", "-c", script], given=bytes(size))
    assert seen.stdout == bytes(size) + f"{size}\n".encode() and len(seen.stderr) == size
    assert proc.read(["true"], given=bytes(size)).stdout == b"", "nor need it read it at all"


def test_read_passes_lines_on_and_times_out() -> None:
    lines: list[str] = []
    assert proc.read(["sh", "-c", "seq 3; echo noise >&2"], on_line=lines.append).stdout == b""
    assert lines == ["1", "2", "3"]
    with pytest.raises(TimedOut, match=r"still running after 0\.1 s; killed"):
        proc.read(["sh", "-c", "sleep 60 & wait"], timeout_s=0.1)


def test_timeout_kills_the_whole_group() -> None:
    lines: list[str] = []
    started = time.monotonic()
    with pytest.raises(TimedOut, match=r"still running after 0\.3 s; killed"):
        proc.run(["sh", "-c", "sleep 60 & echo $$; wait"], timeout_s=0.3, on_line=lines.append)
    assert time.monotonic() - started < 5
    wait_until_gone(int(lines[0]))


def test_a_timeout_follows_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command gets as much longer as everything else on a machine that is busy."""
    monkeypatch.setattr(wait, "clock", PacedClock())
    monkeypatch.setattr(wait, "STEP_S", 0.01)
    wait.clock.pace = 1000
    slow = ["sh", "-c", "echo begun; sleep 0.1; echo done"]
    assert proc.run(slow, timeout_s=0.05).output == "begun\ndone"

    def calm_down(_line: str) -> None:
        wait.clock.pace = 1

    with pytest.raises(TimedOut, match=r"still running after 0\.05 s; killed"):
        proc.run(["sh", "-c", "echo begun; exec sleep 60"], timeout_s=0.05, on_line=calm_down)


def test_an_exception_kills_the_group() -> None:
    groups: list[int] = []

    def interrupt(line: str) -> None:
        groups.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        proc.run(["sh", "-c", "sleep 60 & echo $$; wait"], on_line=interrupt)
    wait_until_gone(groups[0])


def test_missing_program_and_one_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="program not found: no-such-program") as raised:
        proc.run(["no-such-program"])
    assert "scripts/run installs" in raised.value.hint
    with pytest.raises(LabError, match="program not found: no-such-program"):
        proc.find_program("no-such-program")
    assert proc.has_program("sh") and not proc.has_program("no-such-program")
    (tmp_path / "text").write_text("no program")
    with pytest.raises(LabError, match="text: Permission denied"):
        proc.run([tmp_path / "text"])
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(LabError, match="text: Exec format error"):
        proc.run([tmp_path / "text"])
    with pytest.raises(LabError, match="sh: no directory to run it in: /nowhere"):
        proc.run(["sh"], cwd=Path("/nowhere"))
    with pytest.raises(LabError, match=r"^/.*/text: Not a directory$"):
        proc.run(["sh"], cwd=tmp_path / "text")


def test_paste_quotes() -> None:
    assert proc.paste(["a b", Path("/c"), "$d"]) == "'a b' /c '$d'"


# --- spawn -----------------------------------------------------------------------------------------


def test_helper_is_asked_to_end_first(tmp_path: Path) -> None:
    script = f"trap 'echo bye >{tmp_path}/bye; exit 7' TERM; echo ready; while :; do sleep 0.02; done"
    with proc.spawn(["sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
    assert (tmp_path / "bye").exists() and process.returncode == 7


def test_helper_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "TERM_GRACE_S", 0.2)
    script = "trap '' TERM; echo ready; while :; do sleep 0.02; done"
    with proc.spawn(["sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
    assert process.returncode == -signal.SIGKILL


def test_what_a_dead_helper_left_behind_is_killed() -> None:
    with proc.spawn(["sh", "-c", "sleep 60 & exit 0"]) as process:
        process.wait(5)
        assert living(process.pid)
    wait_until_gone(process.pid)


# --- the guard -------------------------------------------------------------------------------------

PARENT = """
import os, signal, sys
from guestloop.ground import proc, wait
signal.signal(signal.SIGINT, signal.default_int_handler)
with proc.spawn(["sh", "-c", "trap '' TERM HUP INT; sleep 60 & wait"], quick=True) as process:
    print(process.pid, flush=True)
    word = sys.stdin.readline().strip()
    if word == "_exit":
        os._exit(0)
"""
ENDS: dict[str, Callable[[subprocess.Popen[str]], object]] = {
    "kill -9": lambda parent: parent.kill(),
    "Ctrl-C": lambda parent: parent.send_signal(signal.SIGINT),
    "exit": lambda parent: parent.communicate("exit\n"),
    "exit without cleaning up": lambda parent: parent.communicate("_exit\n"),
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_survives_its_parent(end: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout
        group = int(parent.stdout.readline())
        assert living(group)
        ENDS[end](parent)
        parent.wait(5)
    wait_until_gone(group)


def test_guard_spares_what_was_signed_off() -> None:
    sleepers = [subprocess.Popen(["sleep", "60"], process_group=0) for _ in range(2)]
    spared, left = sleepers
    try:
        told = f"+{spared.pid}\n+{left.pid}\n+999999999\n-{spared.pid}\n"
        subprocess.run([sys.executable, GUARD], input=told.encode(), check=True, timeout=10)
        assert left.wait(5) == -signal.SIGKILL
        assert spared.poll() is None
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def test_guard_outlives_a_ctrl_c() -> None:
    """It has a session of its own, and ignores the signals by which a terminal or CI ends a job."""
    with proc.spawn(["sleep", "60"]):
        guard = proc._guard._process
        assert guard and os.getsid(guard.pid) == guard.pid

        def ignored() -> bool | None:
            status = Path(f"/proc/{guard.pid}/status").read_text()
            mask = int(next(line for line in status.splitlines() if line.startswith("SigIgn")).split()[1], 16)
            numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            return True if all(mask >> (number - 1) & 1 for number in numbers) else None

        wait_for("the guard to ignore signals", ignored, 5)


def test_the_guard_is_there_before_the_first_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between the two would leave a child that nobody ends."""
    started, popen = list[str](), subprocess.Popen

    def start(argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        started.append(Path(argv[-1]).name)
        return popen(argv, **options)

    monkeypatch.setattr(proc, "_guard", proc._Guard())
    monkeypatch.setattr(subprocess, "Popen", start)
    with proc.spawn(["true"]):
        assert started == ["guard.py", "true"]
