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
-m) mkdir -p "$3/bin"; printf '%s' '{PYTHON}exit "$PIP_STATUS"' >"$3/bin/python"; chmod +x "$3/bin/python" ;;
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
        self.program("debian-python3", STAND_IN)
        for name in ("cat", "chmod", "tail", "rm", "mkdir", "mktemp", "flock"):
            (self.bin / name).symlink_to(shutil.which(name) or name)
        self.installed(everything=True)
        self.program("apt-get", 'echo "apt-get $*" >>"$LOG"; echo "E: from apt"')
        self.user(0)

    def program(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def installed(self, *, everything: bool) -> None:
        """What dpkg says: of two packages, one was never there and one was removed but for its settings."""
        cases = "" if everything else "ccache) status=1 ;; flex) printf 'flex=config-files ' ;;"
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
        self, program: str = 'echo "ready: $python"', pip_status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        script = f'top={self.top}; . "$top/scripts/setup"; {program}'
        variables = {"LOG": str(self.log), "PIP_STATUS": str(pip_status), "TMPDIR": str(self.log.parent)}
        return subprocess.run(
            ["/bin/sh", "-c", script],
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
    assert sandbox.log.read_text() == f"python -m pip install -qq --editable {sandbox.top}[dev]\n"
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
