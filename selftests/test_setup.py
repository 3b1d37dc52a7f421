# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/setup among stand-ins for dpkg-query, apt-get, id and pip: what it installs, and how it fails."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from guestloop.config import REPOSITORY

PYTHON = """#!/bin/sh
echo "python $*" >>"$LOG"
"""

# Debian's Python, for which making an environment and asking pip for a broken project takes 5 s.
STAND_IN = f"""case "$1" in
--version) echo "Python 3.11.0" ;;
-I) mkdir -p "$4/bin"; printf '%s' '{PYTHON}exit "$PIP_STATUS"' >"$4/bin/python"; chmod +x "$4/bin/python" ;;
esac"""


class Sandbox:
    """A checkout, and a PATH on which nothing but these programs is found."""

    def __init__(self, directory: Path) -> None:
        self.top, self.bin, self.log = directory / "top", directory / "bin", directory / "log"
        (self.top / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        self.log.touch()
        (self.top / "pyproject.toml").write_text("[project]\n")
        script = (REPOSITORY / "scripts/setup").read_text()
        (self.top / "scripts/setup").write_text(script.replace("/usr/bin/python3", "debian-python3"))
        shutil.copy(REPOSITORY / "scripts/packages", self.top / "scripts")
        self.program("debian-python3", STAND_IN)
        for name in ("cat", "chmod", "tail", "rm", "mkdir", "mktemp", "flock", "grep", "sed", "head"):
            (self.bin / name).symlink_to(shutil.which(name) or name)
        self.installed(everything=True)
        self.program("apt-get", 'echo "apt-get $*" >>"$LOG"; echo "E: from apt"')
        self.program("sleep", 'echo "sleep $*" >>"$LOG"')
        self.user(0)

    def program(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def installed(self, *, everything: bool, without: str = "") -> None:
        """What dpkg says: of two packages, one was never there and one was removed but for its settings."""
        cases = "" if everything else "ccache) status=1 ;; flex) printf 'flex=config-files ' ;;"
        cases += without
        self.program(
            "dpkg-query",
            f"""[ "$1 $2 $3" = '-W -f ${{Package}}=${{db:Status-Status}} ' ] || exit 2
shift 3
status=0
for package; do case $package in {cases} *) printf '%s=installed ' "$package" ;; esac; done
exit $status""",
        )

    def user(self, number: int) -> None:
        self.program("id", f"echo {number}")

    def environment_is_there(self) -> None:
        """As setup itself would have left it."""
        python = self.top / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(PYTHON)
        python.chmod(0o755)
        stamp = f"[project]\n{self.top}\nPython 3.11.0\n"
        (self.top / ".venv/made-from").write_text(stamp)

    def run(
        self,
        program: str = 'echo "ready: $python"',
        pip_status: int = 0,
        streams: str = "",
        before: str = "",
        temporary: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        script = f'top={self.top}; packages=; {before or ":"}; . "$top/scripts/setup"; {program}'
        variables = {
            "LOG": str(self.log),
            "PIP_STATUS": str(pip_status),
            "TMPDIR": str(temporary or self.log.parent),
        }
        return subprocess.run(
            ["/bin/sh", "-c", f"exec {streams}; {script}"],
            env={"PATH": str(self.bin), **variables},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


def test_nothing_missing_says_nothing(sandbox: Sandbox) -> None:
    sandbox.environment_is_there()
    done = sandbox.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"ready: {sandbox.top}/.venv/bin/python\n"
    assert sandbox.log.read_text() == ""


def test_missing_and_not_root(sandbox: Sandbox) -> None:
    sandbox.installed(everything=False)
    sandbox.user(1000)
    done = sandbox.run()
    assert done.returncode == 3 and done.stdout == ""
    message, hint = done.stderr.splitlines()
    assert message == "guestloop: not installed: ccache flex"
    assert hint.endswith("apt-get install --no-install-recommends ccache flex")
    assert sandbox.log.read_text() == "" and not (sandbox.top / ".venv").exists()


def test_missing_and_root(sandbox: Sandbox) -> None:
    sandbox.installed(everything=False)
    sandbox.environment_is_there()
    done = sandbox.run()
    assert done.returncode == 0 and "ready" in done.stdout
    assert done.stderr == "==> installing Debian packages: ccache flex\n"
    update, install = sandbox.log.read_text().splitlines()
    assert update == "apt-get update"
    assert install == "apt-get install -y --no-install-recommends ccache flex"


def test_a_script_may_need_more(sandbox: Sandbox) -> None:
    sandbox.installed(everything=True, without="chromium) status=1 ;;")
    sandbox.environment_is_there()
    assert sandbox.run().stderr == ""
    done = sandbox.run(before='also="chromium tesseract-ocr"')
    assert done.stderr == "==> installing Debian packages: chromium\n"


APT_IS_BUSY = """echo "apt-get $*" >>"$LOG"
[ "$1" != {command} ] || [ "$(grep -c sleep "$LOG")" -ge 3 ] || {{ echo "{message}"; exit 100; }}"""


@pytest.mark.parametrize(
    ("command", "message", "holder"),
    [
        ("update", "E: Could not get lock /l. It is held by process 12 (apt-get)", "process 12 (apt-get)"),
        (
            "install",
            "E: Could not get lock /l. It is held by process 7 (unattended-upgr)",
            "process 7 (unattended-upgr)",
        ),
        (
            "install",
            "dpkg: error: dpkg frontend lock was locked by another process with pid 34",
            "process 34",
        ),
        (
            "update",
            "E: Could not get lock /l - open (11: Resource temporarily unavailable)",
            "another process",
        ),
    ],
)
def test_apt_that_is_locked_is_waited_for(sandbox: Sandbox, command: str, message: str, holder: str) -> None:
    """As on a machine that has just booted, and updates itself."""
    sandbox.installed(everything=False)
    sandbox.environment_is_there()
    sandbox.program("apt-get", APT_IS_BUSY.format(command=command, message=message))
    done = sandbox.run()
    assert done.returncode == 0 and "ready" in done.stdout
    assert done.stderr.splitlines() == [
        "==> installing Debian packages: ccache flex",
        f"    waiting for apt's lock, which {holder} holds",
    ]
    assert sandbox.log.read_text().count("sleep 15") == 3


def test_apt_that_stays_locked(sandbox: Sandbox) -> None:
    sandbox.installed(everything=False)
    message = "E: Could not get lock /l. It is held by process 12 (apt)"
    sandbox.program("apt-get", f'echo "{message}"; exit 100')
    done = sandbox.run()
    assert done.returncode == 3 and message in done.stderr
    assert sandbox.log.read_text().count("sleep 15") == 900 / 15


def test_what_is_only_useful(sandbox: Sandbox) -> None:
    """Root gets it where that can be had; nobody is stopped by it."""
    sandbox.environment_is_there()
    sandbox.installed(everything=True, without="bubblewrap) status=1 ;;")
    sandbox.user(1000)
    assert sandbox.run().stderr == "" and sandbox.log.read_text() == ""
    sandbox.user(0)
    assert sandbox.run().stderr == "==> installing Debian packages: bubblewrap\n"
    sandbox.program("apt-get", 'echo "E: no network"; exit 100')
    done = sandbox.run()
    assert done.returncode == 0 and "ready" in done.stdout
    assert done.stderr.endswith("guestloop goes on without bubblewrap\n")


@pytest.mark.parametrize("stream", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(sandbox: Sandbox, stream: str) -> None:
    """What is installed and said then goes nowhere, and into no file."""
    sandbox.installed(everything=False)
    sandbox.environment_is_there()
    done = sandbox.run(program='echo "ready" >"$LOG.ready"', streams=stream)
    assert done.returncode == 0
    assert (sandbox.log.parent / "log.ready").read_text() == "ready\n"
    assert sandbox.log.read_text().splitlines()[0] == "apt-get update"


def test_no_place_for_temporary_files(sandbox: Sandbox) -> None:
    sandbox.installed(everything=False)
    sandbox.environment_is_there()
    assert sandbox.run(temporary=sandbox.log.parent / "nowhere").returncode == 0


def test_apt_fails(sandbox: Sandbox) -> None:
    sandbox.installed(everything=False)
    sandbox.program("apt-get", 'echo "E: no network"; exit 100')
    done = sandbox.run()
    assert done.returncode == 3, "apt's own status is nothing that scripts/run promises"
    assert "E: no network" in done.stderr
    assert "guestloop: apt-get could not install: ccache flex" in done.stderr


def test_an_environment_that_cannot_be_made_is_no_regression(sandbox: Sandbox) -> None:
    """A status of 1 would tell CI that the patch is bad."""
    (sandbox.top / ".venv.lock").mkdir()
    done = sandbox.run()
    assert done.returncode == 3 and done.stdout == ""
    assert f"guestloop: the Python environment {sandbox.top}/.venv could not be made" in done.stderr


def test_an_environment_is_made_once(sandbox: Sandbox) -> None:
    done = sandbox.run()
    assert done.returncode == 0 and "ready" in done.stdout
    assert sandbox.log.read_text() == "python -I -m pip install -qq --editable .[dev]\n"
    sandbox.log.write_text("")
    assert sandbox.run().stderr == "" and sandbox.log.read_text() == ""
    (sandbox.top / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    assert "making the Python environment" in sandbox.run().stderr


def test_pip_that_fails_leaves_no_stamp(sandbox: Sandbox) -> None:
    done = sandbox.run(pip_status=2)
    assert done.returncode == 3, "pip's own status is nothing that scripts/run promises"
    assert "could not be made" in done.stderr
    assert not (sandbox.top / ".venv/made-from").exists(), "the next run must try again"
    assert sandbox.run().returncode == 0


@pytest.mark.parametrize(
    ("words", "packages"),
    [
        (["--host", "lab", "my.patch"], "python3 python3-venv git"),
        (["--host=lab"], "python3 python3-venv git"),
        (["--host", "lab", "--list"], "python3 python3-venv"),
        (["--profile", "smoke"], ""),
    ],
)
def test_a_run_elsewhere_needs_little_here(tmp_path: Path, words: list[str], packages: str) -> None:
    said = ran(tmp_path, "run", "python=echo; start=$packages", words)
    assert said == f"-I -X utf8 -c {packages} run {' '.join(words)}"


def test_what_comes_through_ssh_is_not_for_what_setup_starts(tmp_path: Path) -> None:
    """pip might ask for a password, and take the other end's request for one."""
    (tmp_path / "program").write_text('#!/bin/sh\necho "$* $(cat)"\n')
    (tmp_path / "program").chmod(0o755)
    setup = f'seen=$(cat); python={tmp_path}/program; start="<$seen>"'
    assert ran(tmp_path, "there", setup, ["lay"], given="request") == "-I -X utf8 -c <> there lay request"


def ran(directory: Path, script: str, setup: str, words: list[str], given: str = "") -> str:
    """What a script runs with a setup of its own, which is to say what Python is."""
    (directory / "scripts").mkdir()
    (directory / "scripts/setup").write_text(f"{setup}\n")
    shutil.copy(REPOSITORY / "scripts" / script, directory / "scripts")
    command = [str(directory / "scripts" / script), *words]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    return done.stdout.rstrip("\n")
