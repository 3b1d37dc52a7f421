# SPDX-License-Identifier: GPL-2.0-or-later
"""``scripts/run --host`` from end to end. Connections are cut on purpose."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from remote_lab import DEAF, WAITS, Lab, is_home, keys, lab
from test_cli import Terminal

from guestloop.ground.errors import ConfigError, Exit, LabError, LinkLost
from guestloop.ground.wait import wait_for
from guestloop.remote import journey as journey_module
from guestloop.remote.record import read_record
from guestloop.remote.request import Item, Type

__all__ = ["keys", "lab"]  # fixtures


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


def test_a_run_comes_home_byte_for_byte(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    lab.is_new()
    assert lab.run() == 4
    is_home(lab)
    said = capfd.readouterr()
    assert said.out == f"fewer: {lab.out}/report.html\n", "by its name here"
    assert said.err.count("==> round ") == 15 and f"==> round 7 of {lab.out}, " in said.err
    assert f"==> {lab.out}: 18 files, " in said.err
    assert (lab.out / "rounds/1.json").stat().st_mode & 0o777 == 0o600
    mtimes = [path.stat().st_mtime_ns for path in (lab.out / "evidence", lab.runs[0] / "out/evidence")]
    assert mtimes[0] == mtimes[1]


@pytest.mark.parametrize("status", [0, 1, 130])
def test_the_exit_status_is_handed_on(lab: Lab, status: int) -> None:
    lab.does(f"exit {status}")
    assert lab.run() == status


@pytest.mark.parametrize("seed", range(4))
def test_connections_that_are_cut_anywhere(lab: Lab, seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(seed)
    cuts = [chance.randrange(9_000, 60_000), *(chance.randrange(1_000, 120_000) for _ in range(4))]
    lab.is_new()
    cable = lab.cut(*cuts)
    assert lab.run() == 4
    is_home(lab)
    assert cable.connections > 1, f"cut after {cuts}"
    said = capfd.readouterr()
    assert said.out.splitlines() == [f"fewer: {lab.out}/report.html"]
    rounds = re.findall(r"==> round (\d+) ", said.err)
    assert rounds == [str(number) for number in range(1, 16)], "each line once"
    assert "goes on" in said.err or "nothing has begun" in said.err
    assert not list(lab.out.rglob(".*")), "nothing is left of what broke off"


def test_the_far_end_as_it_is_started(lab: Lab) -> None:
    """By sh, flock and scripts/there, as a real host does it."""
    lab.is_new()
    lab.server.real = True
    assert lab.run() == 4
    is_home(lab)


# --- leaving, and picking up ---


def interrupting(lab: Lab, numbers: list[signal.Signals]) -> None:
    """Send these signals to this process, the first when the run waits, another when it has heard of that."""
    main = threading.main_thread().ident
    assert main

    def send() -> None:
        for number, heard in zip(numbers, ("waiting", "heard"), strict=False):
            lab.says(heard)
            os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()


@pytest.fixture
def handlers() -> Iterator[None]:
    """Signals as the command line has them."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_ctrl_c_ends_the_run_there(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    lab.does(WAITS)
    interrupting(lab, [signal.SIGINT])
    assert lab.run() == Exit.INTERRUPTED
    is_home(lab)
    said = capfd.readouterr().err
    assert "==> ending the run on lab@lab; Ctrl-C again leaves it as it is" in said
    assert said.count("interrupted") == 1


@pytest.mark.usefixtures("handlers")
def test_a_second_ctrl_c_leaves_at_once(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    lab.does(DEAF)
    interrupting(lab, [signal.SIGINT, signal.SIGINT])
    assert lab.run() == Exit.INTERRUPTED
    assert f"scripts/run --host lab@lab --resume {lab.out} picks it up" in capfd.readouterr().err
    assert not (lab.out / "plan.json").exists()
    lab.let_go()
    assert lab.resume() == 4
    is_home(lab)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_that_is_closed_leaves_the_run(
    lab: Lab, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    lab.does(WAITS)
    interrupting(lab, [number])
    assert lab.run() == Exit.INTERRUPTED
    assert "picks it up" in capfd.readouterr().err
    lab.let_go()
    assert lab.run() == 4, "by the same command"
    is_home(lab)
    assert "picked up" in capfd.readouterr().err


def test_a_client_that_was_killed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command finds its run by the results that it would have, wherever they are."""
    lab.does(WAITS)

    def die(*_: object) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as context:
        context.setattr(journey_module.Journey, "_follow", die)
        with pytest.raises(SystemExit):
            lab.run(out=None)
    lab.is_running()
    lab.let_go()
    assert lab.run(out=None) == 4
    (out,) = (lab.work / "results").iterdir()
    is_home(lab, out)
    # Now that all is at home the same command is a new run.
    threading.Thread(target=lab.let_go, daemon=True).start()
    assert lab.run(out=None) == 4
    assert len(lab.runs) == 2


def test_a_client_that_was_killed_before_the_run_began(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as context:
        context.setattr("guestloop.remote.host.Host.prime", die)
        with pytest.raises(SystemExit):
            lab.run()
    assert read_record(lab.out) and lab.run() == 4
    is_home(lab)


@pytest.mark.usefixtures("handlers")
def test_an_interrupt_before_the_run_began_leaves_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("guestloop.remote.host.Host.prime", interrupt)
    with pytest.raises(KeyboardInterrupt):
        lab.run()
    assert list(lab.work.iterdir()) == []


def test_two_clients_of_one_run(lab: Lab) -> None:
    lab.does(WAITS)

    def let_go() -> None:
        commands = lab.server.commands
        wait_for("both to follow it", lambda: commands.count("follow") > 1 or None, 10, interval=0.01)
        lab.let_go()

    other = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(lab.run()))
    other.start()
    lab.is_running()
    threading.Thread(target=let_go, daemon=True).start()
    assert lab.run() == 4
    other.join(10)
    assert other.exitcode == 4 and len(lab.runs) == 1
    is_home(lab)


def test_a_run_goes_on_there(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    assert lab.run() == 4
    capfd.readouterr()
    lab.does('echo more >"$out/rounds/16.json"; exit 0')
    assert lab.resume(budget_s=3600.0, verbose=True) == 0
    is_home(lab)
    there = lab.runs[0] / "out"
    assert f"resumed with --resume {lab.out} --budget 3600s --verbose" in capfd.readouterr().err
    assert (there / "rounds/16.json").exists()


def test_what_was_not_measured_on_a_host(lab: Lab) -> None:
    lab.out.mkdir()
    with pytest.raises(ConfigError, match="was not measured on another host"):
        lab.resume()


# --- what can go wrong ---


def test_results_that_are_there_already(lab: Lab) -> None:
    assert lab.run() == 4
    with pytest.raises(ConfigError, match="there are results in it already"):
        lab.run()


def test_a_directory_with_another_run(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journey_module.Journey, "go", lambda _self: 4)
    assert lab.run() == 4
    with pytest.raises(ConfigError, match="another run on lab@lab has begun there") as caught:
        lab.run(rounds=3)
    assert "--resume out brings it home" in caught.value.hint


def test_a_host_that_does_not_answer(lab: Lab) -> None:
    lab.server.close()
    with pytest.raises(LinkLost, match="no connection by ssh"):
        lab.run()
    assert list(lab.work.iterdir()) == []


def test_a_host_that_does_not_come_back(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journey_module, "RECONNECT_S", 0.1)
    lab.does(WAITS)
    cable = lab.cut()

    def pull() -> None:
        lab.is_running()
        cable.close()

    threading.Thread(target=pull, daemon=True).start()
    with pytest.raises(LabError, match="for a connection to lab@lab"):
        lab.run()
    assert "picks it up" in capfd.readouterr().err
    lab.cable = None
    lab.let_go()
    assert lab.resume() == 4
    is_home(lab)


def test_a_host_without_what_guestloop_needs(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    lab.server.real = True
    (lab.checkout / "scripts/there").write_text(
        "#!/bin/sh\necho 'guestloop: not installed: gcc make' >&2\n"
        "echo '  hint: run as root once, or: apt-get install gcc make' >&2\nexit 3\n"
    )
    with pytest.raises(LabError, match=r"lab@lab: what guestloop needs is not there") as caught:
        lab.run()
    assert "log in as root there once" in caught.value.hint
    said = capfd.readouterr().err
    assert "lab@lab | guestloop: not installed: gcc make" in said
    assert "lab@lab |   hint: run as root once, or: apt-get install gcc make" in said
    assert list(lab.work.iterdir()) == []


def test_a_run_that_leaves_no_results(lab: Lab) -> None:
    """As one that refuses its arguments: nothing is left here either."""
    (lab.checkout / "scripts/run").write_text("#!/bin/sh\necho 'guestloop: no such thing' >&2\nexit 2\n")
    assert lab.run() == Exit.USAGE
    assert list(lab.work.iterdir()) == []


def test_a_run_that_was_killed(lab: Lab) -> None:
    lab.does("kill -9 $$")
    with pytest.raises(LabError, match="came to no end of its own: it ended with status 137") as caught:
        lab.run()
    assert f"--resume {lab.out} goes on with it there" in caught.value.hint
    is_home(lab)
    lab.does("exit 0")
    assert lab.resume() == 0


def test_a_full_disk_here(lab: Lab, tiny_disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    full = str(tiny_disk / "out")
    with pytest.raises(LabError, match="no space left for ") as caught:
        lab.run(out=full)
    assert "all results are on the host" in caught.value.hint
    assert "picks it up" in capfd.readouterr().err
    assert not list(tiny_disk.rglob("*.partial"))


def test_a_full_disk_there(lab: Lab, tiny_disk: Path) -> None:
    lab.where = replace(lab.where, directory=str(tiny_disk / "guestloop"))
    (lab.checkout / "large").write_bytes(random.Random(1).randbytes(200_000))
    with pytest.raises(LabError, match=r"a command of --host ended with 1: .*No space left on device"):
        lab.run()
    assert list(lab.work.iterdir()) == []
    assert [path.name for path in (tiny_disk / "guestloop/checkouts/1").iterdir()] == ["lock"]


def test_results_that_lead_elsewhere(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host is believed as far as its results go, and not about names."""

    def results(host: object, run: str) -> list[Any]:
        return [Item("../../.bashrc", Type.FILE, 0o644, 0, 1, "0" * 64)]

    monkeypatch.setattr("guestloop.remote.host.Host.results", results)
    with pytest.raises(LabError, match="leads elsewhere"):
        lab.run()


# --- the command line ---


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "lab lab"], "--host lab lab: not an address of a host"),
        (["--host-dir", "/srv"], "--host-dir /srv: of which host?"),
        (["--host", "lab", "--host-dir", "srv"], "--host-dir srv: a whole path was wanted"),
        (["--host", "lab", "--kernels", "unpatched,running"], "a kernel of this machine"),
        (["--host", "lab", "gone.patch"], "gone.patch: no such file or folder with patches"),
        (["--host", "lab", "--resume", "gone"], "was not measured on another host"),
        (["--host", "lab", "--resume", "gone", "--tests", "aging"], "--tests does not go with it"),
    ],
)
def test_bad_words_are_refused_before_anything_is_connected(
    terminal: Terminal, words: list[str], message: str
) -> None:
    told, _ = terminal.refused("run", *words)
    assert message in told


def test_cells_are_listed_without_the_host(terminal: Terminal) -> None:
    assert terminal.run("run", "--host", "nowhere", "--list").stdout == terminal.run("run", "--list").stdout
    terminal.untouched()


def test_what_a_command_line_asks_for(lab: Lab, terminal: Terminal) -> None:
    """From scripts/run to the host, and from --resume without --host."""
    done = terminal.run("run", "--host", "lab", "--profile", "smoke", "--accel", "tcg", "--out", "out")
    assert (done.returncode, done.stdout) == (4, f"fewer: {terminal.cwd}/out/report.html\n"), done.stderr
    assert json.loads((lab.runs[0] / "request.json").read_text())["words"] == [
        *("--kernels", "unpatched,patched", "--profile", "smoke", "--accel", "tcg"),
    ]
    lab.does("exit 0")
    assert terminal.run("run", "--resume", "out", "--rounds", "2").returncode == 0
    assert "--rounds 2" in (lab.runs[0] / "attempts/2/log").read_text()
