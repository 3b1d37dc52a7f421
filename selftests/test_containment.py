# SPDX-License-Identifier: GPL-2.0-or-later
"""The control group of a run's L1s: by systemd, by hand, or none; and that nothing is left of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import hosts
import pytest
from processes import is_running

from guestloop.ground import isolated, proc
from guestloop.ground.wait import wait_for
from guestloop.machines import containment
from guestloop.machines.cgroups import read_cgroups
from guestloop.machines.containment import Limits, Way, contained, find_way

LIMITS = Limits(memory_mib=4096, tasks=256)
GUARD = Path(isolated.SOURCE) / "guestloop/ground/guard.py"

# --- which way -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "way", "missing"),
    [
        ("amd", Way.SCOPE, ()),
        ("wsl", Way.SCOPE, ()),
        ("container", Way.GROUP, ("memory", "pids")),
        ("vm-without", Way.GROUP, ("memory", "pids")),
    ],
)
def test_the_way_of_a_host(name: str, way: Way, missing: tuple[str, ...], tmp_path: Path) -> None:
    root = hosts.lay(name, tmp_path)
    seen = find_way(read_cgroups(root), root)
    assert (seen.way, seen.missing) == (way, missing)


def test_controllers_that_are_passed_on_have_limits(tmp_path: Path) -> None:
    root = hosts.lay("container", tmp_path)
    hosts.put(root / "sys/fs/cgroup/cgroup.subtree_control", "cpu memory pids\n")
    assert find_way(read_cgroups(root), root).missing == ()


def test_no_way_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contained(LIMITS, tmp_path) as seen:
        assert seen.text == "L1s are not contained: there are no control groups of version 2"
    root = hosts.lay("container", tmp_path)
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    with contained(LIMITS, root) as seen:
        assert seen.text.startswith("L1s are not contained: ") and seen.text.endswith(" cannot be written")
        assert seen.prefix == ()


# --- by hand ---------------------------------------------------------------------------------------

FILES = ("cgroup.procs", "cgroup.kill", "memory.max", "memory.swap.max", "pids.max")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cgroup of this process, in a directory that acts as the kernel does: groups come with files."""
    root = hosts.lay("container", tmp_path)
    group = root / "sys/fs/cgroup"
    mkdir = Path.mkdir

    def make(path: Path, *arguments: object, **options: object) -> None:
        mkdir(path, *arguments, **options)  # type: ignore[arg-type]
        if path.parent == group:
            controllers = (group / "cgroup.subtree_control").read_text().split()
            for name in FILES:
                if name.partition(".")[0] in ("cgroup", *controllers):
                    (path / name).write_text("")

    monkeypatch.setattr(Path, "mkdir", make)
    monkeypatch.setattr(Path, "rmdir", shutil.rmtree)
    return group


def test_a_group_with_limits(own: Path, tmp_path: Path) -> None:
    hosts.put(own / "cgroup.subtree_control", "memory pids\n")
    with contained(LIMITS, tmp_path) as seen:
        path = own / f"guestloop-{os.getpid()}"
        assert seen.text == f"L1s are contained by {path}: at most 4096 MiB and 256 tasks"
        seen.add(4711)
        read = {name: (path / name).read_text() for name in FILES}
    assert read == {
        "cgroup.procs": "4711",
        "cgroup.kill": "",
        "memory.max": "4096M",
        "memory.swap.max": "0",
        "pids.max": "256",
    }
    assert not path.exists()
    assert (own / "cgroup.subtree_control").read_text() == "memory pids\n", "nothing is switched on"


def test_a_group_without_limits_says_so(own: Path, tmp_path: Path) -> None:
    with contained(LIMITS, tmp_path) as seen:
        assert seen.text.endswith(f"guestloop-{os.getpid()}, without limits of memory and pids")
    hosts.put(own / "cgroup.subtree_control", "pids\n")
    with contained(LIMITS, tmp_path) as seen:
        assert seen.text.endswith(": at most 4096 MiB and 256 tasks, without limits of memory")


def test_a_group_that_the_kernel_refuses(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(proc._guard, "tell", lambda sign, what: told.append(f"{sign}{Path(what).name}"))
    hosts.put(own / "cgroup.subtree_control", "memory pids\n")
    monkeypatch.setattr(
        containment, "_write", lambda *_: (_ for _ in ()).throw(OSError(22, "Invalid", "max"))
    )
    with contained(LIMITS, tmp_path) as seen:
        assert seen.text == "L1s are not contained: max: Invalid"
    name = f"guestloop-{os.getpid()}"
    assert told == [f"@{name}", f"!{name}"] and not (own / name).exists()


def test_the_group_goes_whatever_ends_the_body(own: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), contained(LIMITS, tmp_path):
        raise KeyboardInterrupt
    assert not list(own.glob("guestloop-*"))


def test_the_guard_removes_what_is_registered_and_no_other(tmp_path: Path) -> None:
    spared, left = tmp_path / "spared", tmp_path / "left"
    spared.mkdir()
    left.mkdir()
    told = f"@{spared}\n@{left}\n@{tmp_path}/never made\n!{spared}\n"
    subprocess.run([sys.executable, GUARD], input=told.encode(), check=True, timeout=10)
    assert spared.exists() and not left.exists()


# --- on the real thing, where this process may make groups -----------------------------------------

RUN = """
import subprocess, sys
sys.path.insert(0, sys.argv[1])
from guestloop.machines.containment import Limits, contained
with contained(Limits(4096, 256)) as group:
    # Out of every process group that somebody may know.
    left = subprocess.Popen(["sleep", "60"], start_new_session=True)
    group.add(left.pid)
    print(group.text)
    print(left.pid, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.skipif(
    find_way(read_cgroups()).way is not Way.GROUP, reason="no cgroup of version 2 can be made here by hand"
)
@pytest.mark.parametrize("end", ["kill -9", "its end"])
def test_nothing_in_the_group_outlives_the_run(end: str) -> None:
    argv = [sys.executable, "-c", RUN, str(isolated.SOURCE)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout and run.stdin
        text, left = run.stdout.readline(), int(run.stdout.readline())
        own = read_cgroups().own
        assert own
        path = own / f"guestloop-{run.pid}"
        assert str(path) in text
        assert (path / "cgroup.procs").read_text().split() == [f"{left}"]
        if end == "kill -9":
            run.send_signal(signal.SIGKILL)
        run.stdin.close()
        run.wait(10)
    wait_for("the group to be gone", lambda: True if not path.exists() else None, 10)
    assert not is_running(left)


# --- by systemd ------------------------------------------------------------------------------------

# Notes its options, and becomes what follows them, as the program itself does for a scope.
SYSTEMD_RUN = """#!/bin/sh
echo "$@" >>"$(dirname "$0")/asked"
%s
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that systemd has booted, and a stand-in for systemd-run."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program = tmp_path / "systemd-run"
    program.write_text(SYSTEMD_RUN % "")
    program.chmod(0o755)
    return hosts.lay("amd", tmp_path / "root")


@pytest.mark.parametrize(("user", "manager"), [(0, ""), (1000, "--user ")])
def test_a_scope_with_limits(
    user: int, manager: str, systemd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    unit = f"guestloop-{os.getpid()}"
    with contained(LIMITS, systemd) as seen:
        assert seen.text == f"L1s are contained by {unit}.scope: at most 4096 MiB and 256 tasks"
        assert proc.read([*seen.prefix, "echo", "-n", "inside"]).text == "inside"
    tried, used = (tmp_path / "asked").read_text().splitlines()
    options = (
        f"{manager}--scope --slice-inherit --collect --quiet --property=MemoryMax=4096M"
        " --property=MemorySwapMax=0 --property=TasksMax=256"
    )
    assert tried == f"{options} -- true"
    assert used == f"{options} --unit={unit} -- echo -n inside"


def test_a_scope_that_is_refused(systemd: Path, tmp_path: Path) -> None:
    (tmp_path / "systemd-run").write_text(SYSTEMD_RUN % "echo Failed to connect to bus >&2; exit 1")
    with contained(LIMITS, systemd) as seen:
        assert seen.text == "L1s are not contained: Failed to connect to bus"
        assert seen.prefix == ()
    (tmp_path / "systemd-run").write_text(SYSTEMD_RUN % "exit 4")
    with contained(LIMITS, systemd) as seen:
        assert seen.text == "L1s are not contained: systemd-run: exit status 4"


def test_a_manager_that_does_not_answer(
    systemd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "systemd-run").write_text(SYSTEMD_RUN % "exec sleep 60")
    monkeypatch.setattr(containment, "SYSTEMD_S", 0.1)
    with contained(LIMITS, systemd) as seen:
        assert "still running after 0.1 s" in seen.text and seen.prefix == ()
