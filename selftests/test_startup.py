# SPDX-License-Identifier: GPL-2.0-or-later
"""Whoever starts it: from a link, a hook, cron, CI with closed streams, by a user without a name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from guestloop import cli
from guestloop.config import REPOSITORY
from guestloop.ground import isolated
from guestloop.ground.errors import LabError
from guestloop.ground.log import can_draw
from guestloop.job import spawner

LIST = ("run", "--list", "--profile", "smoke")
HINT = "scripts/run --profile lab --list names all)\n"


def start(
    *arguments: str, before: str = ":", after: str = "", env: dict[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, between words of a shell."""
    argv = isolated.python("guestloop.cli")
    return subprocess.run(
        ["bash", "-c", f'{before}; "$@" {after}', "bash", *argv, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"} if env is None else env,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


# --- scripts ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scripts in a folder with a blank in its name; setup says where it is, and Python what it is asked."""
    top = tmp_path_factory.mktemp("check out")
    shutil.copytree(REPOSITORY / "scripts", top / "scripts")
    (top / "scripts/setup").write_text('printf "%s|" "$top" "$packages"; python="echo" start=\n')
    return top


@pytest.mark.parametrize("name", ["run", "compare", "test"])
def test_scripts_find_their_checkout(checkout: Path, tmp_path: Path, name: str) -> None:
    """By any path, through links to links, from PATH, and with settings of the shell that lead astray."""
    script = checkout / "scripts" / name
    home = tmp_path / "bin"
    home.mkdir()
    (home / "absolute").symlink_to(script)
    (home / "relative").symlink_to(os.path.relpath(script, home))
    (home / "of a link").symlink_to("relative")
    (tmp_path / "scripts").symlink_to(checkout / "scripts")
    ways = [
        (f'"{script}"', tmp_path),
        (f"scripts/{name}", checkout),
        (f"sh {name}", checkout / "scripts"),
        (f"./{name}", checkout / "scripts"),
        (f"../scripts/{name}", checkout / "scripts"),
        (f"scripts/{name}", tmp_path),
        ("bin/absolute", tmp_path),
        ("./relative", home),
        ('"bin/of a link"', tmp_path),
        ("relative", tmp_path),
    ]
    script_of_all = "\n".join(f'cd "{directory}"; {way} OUT; echo' for way, directory in ways)
    env = {"PATH": f"{home}:/usr/bin:/bin", "packages": "a b", "python": "false", "IFS": "/"}
    env |= {"CDPATH": f"/tmp:..:{checkout}", "ENV": "/nonexistent", "PYTHONPATH": "/nonexistent"}
    done = subprocess.run(["sh", "-c", script_of_all], env=env, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if line.startswith("/")]
    needed = "python3 python3-venv" if name == "compare" else ""
    assert len(lines) == len(ways)
    assert {line.partition("-I -X utf8")[0] for line in lines} == {f"{checkout}|{needed}|"}


def test_every_python_is_isolated_and_reads_utf8(checkout: Path) -> None:
    for name in ("run", "compare", "test"):
        text = (checkout / "scripts" / name).read_text()
        assert f'exec "$python" {" ".join(isolated.FLAGS)} ' in text
    assert isolated.python("some.module")[1:4] == list(isolated.FLAGS)


def test_code_that_cannot_be_loaded_is_no_regression() -> None:
    """As after half a file of compiled Python was left by a full disk. Python itself would end with 1."""
    setup = (REPOSITORY / "scripts/setup").read_text()
    program = setup.partition("\nstart='\n")[2].partition("'\n")[0]

    def started(first: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *isolated.FLAGS, "-c", f"import sys\n{first}{program}", *LIST]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert "left out: " in started(f"sys.path.insert(0, {str(isolated.SOURCE)!r})\n").stdout
    done = started("sys.modules['guestloop'] = None\n")
    assert (done.returncode, done.stdout) == (3, "")
    message, hint = done.stderr.splitlines()
    assert message.startswith("guestloop: its own code cannot be loaded: ") and "__pycache__" in hint


def test_help_and_list_need_little(checkout: Path) -> None:
    for option in ("--list", "--help", "-h"):
        done = subprocess.run([checkout / "scripts/run", option], capture_output=True, text=True, check=False)
        assert "|python3 python3-venv|" in done.stdout


# --- the process -----------------------------------------------------------------------------------

PROBE = """
import os, resource, signal, sys
from guestloop.ground.isolated import settle
settle()
print("ü", sys.flags.utf8_mode, sys.flags.isolated, oct(os.umask(0)), signal.getsignal(signal.SIGCHLD))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], signal.pthread_sigmask(signal.SIG_BLOCK, ()))
for number in (0, 1, 2):
    os.fstat(number)
print(open(os.devnull).fileno() > 2, file=sys.stderr)
"""


def run_probe(tmp_path: Path, before: str, **options: Any) -> subprocess.CompletedProcess[str]:
    (tmp_path / "guestloop").mkdir(exist_ok=True)
    for evil in ("guestloop/__init__.py", "yaml.py", "resource.py"):
        (tmp_path / evil).write_text("raise SystemExit('the wrong module')")
    program = f"import sys; sys.path.insert(0, {str(isolated.SOURCE)!r}){PROBE}"
    return subprocess.run(
        ["bash", "-c", f'{before}; exec "$@"', "bash", sys.executable, *isolated.FLAGS, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_what_a_process_inherits_is_undone(tmp_path: Path) -> None:
    """Its folder, Python's variables, a locale, a mask of files, a limit, signals."""

    def as_a_daemon_leaves_it() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})

    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path), "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = run_probe(
        tmp_path,
        "umask 000; ulimit -Sn 50",
        env=env,
        preexec_fn=as_a_daemon_leaves_it,
    )
    assert done.stderr == "True\n"
    assert done.stdout == "ü 1 1 0o22 0\n1024 set()\n"
    assert " 0o77 " in run_probe(tmp_path, "umask 077", env=env).stdout


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_opened(tmp_path: Path, streams: str) -> None:
    """Else the next file that is opened would get what is meant for the terminal."""
    done = run_probe(tmp_path, f"exec {streams}")
    assert done.returncode == 0
    assert done.stderr == ("" if "2>" in streams else "True\n")
    assert (done.stdout == "") is (">&-" in streams.replace("2>&-", ""))


@pytest.mark.parametrize(
    "before, after, status",
    [
        (":", "| true; exit ${PIPESTATUS[0]}", 0),
        ("trap '' PIPE", "| head -n 1 >/dev/null; exit ${PIPESTATUS[0]}", 0),
        (":", ">&-", 0),
        ("exec 2>&-", "--profile nosuch", 2),
        (":", "--profile nosuch 2>/dev/full", 2),
    ],
)
def test_nobody_reads(before: str, after: str, status: int) -> None:
    """The status is what it would have been, without a word about the stream."""
    done = start(*LIST, before=before, after=after)
    assert (done.returncode, done.stderr) == (status, "")


def test_output_that_is_lost_is_an_error() -> None:
    done = start(*LIST, after=">/dev/full")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("guestloop: no space left for standard output\n")
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_a_user_without_a_name_or_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a container that is given any number for a user: lists, and says what is missing for more."""
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    monkeypatch.setattr(signal, "signal", lambda _number, _handler: None)
    monkeypatch.chdir(tmp_path)
    assert cli.main(LIST) == 0
    seen = capsys.readouterr()
    assert HINT in seen.out and seen.err == ""
    assert cli.main(["run", "--accel", "tcg"]) == 3
    message, hint = capsys.readouterr().err.splitlines()[-2:]
    assert message.startswith("guestloop: no place for the cache: user 54321 has no home directory")
    assert "GUESTLOOP_CACHE" in hint and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("columns", ["1", "20", "-5", "wide", ""])
def test_terminals_of_any_width(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = cli._parser().format_help()
    assert "COMMAND" in text


# --- terminals -------------------------------------------------------------------------------------


class Terminal:
    def __init__(self, is_one: bool) -> None:
        self.isatty = lambda: is_one


@pytest.mark.parametrize(
    ("is_one", "kind", "expected"),
    [(True, "xterm", True), (True, "dumb", False), (True, None, False), (False, "xterm", False)],
)
def test_only_terminals_that_can_are_drawn_on(
    monkeypatch: pytest.MonkeyPatch, is_one: bool, kind: str | None, expected: bool
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    if kind:
        monkeypatch.setenv("TERM", kind)
    assert can_draw(Terminal(is_one)) is expected  # type: ignore[arg-type]


# --- machines --------------------------------------------------------------------------------------


def test_avocados_settings_are_not_the_users(tmp_path: Path) -> None:
    own = tmp_path / ".config/avocado/avocado.conf"
    own.parent.mkdir(parents=True)
    own.write_text("[run]\nmax_parallel_tasks = 9\n")
    program = (
        "import guestloop.job.measure; from avocado.core.settings import settings as s; print(s.config_paths)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={"HOME": str(tmp_path), "PYTHONPATH": str(isolated.SOURCE), "VIRTUAL_ENV": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("[") and str(tmp_path) not in done.stdout


def test_no_semaphores(monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/shm is missing or read-only in some containers; Avocado's error would be of each test."""
    spawner.check_semaphores()

    class Context:
        def Lock(self) -> None:
            raise OSError(30, "Read-only file system")

    monkeypatch.setattr("multiprocessing.get_context", lambda _kind: Context())
    with pytest.raises(LabError, match="/dev/shm, which Avocado needs: Read-only file system") as raised:
        spawner.check_semaphores()
    assert "mount -t tmpfs" in raised.value.hint


def test_no_place_for_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of some directories with short names the first is taken that can be written."""
    monkeypatch.setattr(spawner, "SHORT_DIRECTORIES", (tmp_path / "none", tmp_path))
    with spawner.watched([]):
        assert [path.name.partition("-")[0] for path in tmp_path.iterdir()] == ["guestloop"]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(spawner, "SHORT_DIRECTORIES", (tmp_path / "none",))
    with pytest.raises(LabError, match=r"no place for a socket: none of .*/none can be written"):
        spawner._short_directory()
