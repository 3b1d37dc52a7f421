# SPDX-License-Identifier: GPL-2.0-or-later
"""A host for ``scripts/run --host``: an SSH server in this process, real processes below its home.

The checkout that is copied there has scripts/run and scripts/there of a few lines.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from forked_supervisor import forked_supervisors
from lab_server import USER, Cable, LabServer, content, log_in

from guestloop.cache import Cache
from guestloop.ground.isolated import SOURCE
from guestloop.ground.wait import wait_for
from guestloop.images.keys import L1Keys, obtain_keys
from guestloop.job.made_by import MADE_BY_FILE
from guestloop.job.options import Options
from guestloop.remote import journey
from guestloop.remote import run as run_module
from guestloop.remote.address import Address, Where
from guestloop.remote.baggage import Baggage, limit_words
from guestloop.remote.checkout import read_checkout
from guestloop.remote.request import Request
from guestloop.remote.run import resume_on_host, run_on_host
from guestloop.remote.ssh import Connection
from guestloop.remote.there import following

# Leaves results of many kinds, and says what it does. "how" at home has the last word.
RUN = """#!/bin/sh
for word; do out=$word; done
case $* in *--resume*) out=$2; echo "resumed with $*" >&2 ;; esac
mkdir -p "$out/rounds" "$out/avocado/job-1" "$out/empty"
ln -sfn job-1 "$out/avocado/latest"
number=1
while [ "$number" -le 15 ]; do
	echo "==> round $number of $out, and what else there is to say about it: nothing, nothing at all" >&2
	echo "{\\"round\\": $number}" >"$out/rounds/$number.json"
	number=$((number + 1))
done
chmod 600 "$out/rounds/1.json"
head -c 200000 /dev/urandom >"$out/evidence"
: >"$out/nothing"
echo '{}' >"$out/plan.json"
echo "fewer: $out/report.html"
. "$HOME/how"
"""

# As the one of the tree, but without a setup, and with the package from elsewhere. It looks for nothing in
# the cache (test_remote_prime.py): to import what does so takes longer than everything else.
THERE = f"""#!/bin/sh
top=$(readlink -f "$0")
exec "{sys.executable}" -I -X utf8 -c "
import sys
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, '{SOURCE}')
sys.modules['guestloop.remote.there.prime'] = SimpleNamespace(look_for_entries=lambda *_: None)
from guestloop import cli
from guestloop.remote.there import serving
serving.REPOSITORY = Path('${{top%/scripts/*}}')
cli.entry()" there "$@"
"""

WAITS = """trap 'echo interrupted >&2; exit 130' INT
echo waiting >&2
read line <"$HOME/gate"
exit 4"""

DEAF = """trap 'echo heard >&2' INT
echo waiting >&2
while ! read line <"$HOME/gate"; do :; done
exit 4"""

MADE_BY = '{"version": "1", "commit": "0123", "modified": false}'


def without_baggage(options: Options, _cache: Cache) -> Baggage:
    return Baggage(Request(uuid.uuid4().hex, tuple(limit_words(options))), {})


class Lab:
    """A host, this side of it, and what is printed here."""

    def __init__(self, directory: Path, keys: L1Keys, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory, self.cache = directory, cache
        self.home = directory / "home"
        self.home.mkdir()
        os.mkfifo(self.home / "gate")
        self.server = LabServer(self.home, keys)
        self.checkout = self._make_checkout()
        self.does("exit 4")
        self._lay_checkout()
        self.work = directory / "work"
        self.work.mkdir()
        monkeypatch.chdir(self.work)
        monkeypatch.setenv("HOME", str(self.home))  # of the supervisor, which is this user's
        monkeypatch.setattr(run_module, "connect", lambda _address: self.connect())
        monkeypatch.setattr(run_module, "REPOSITORY", self.checkout)
        monkeypatch.setattr(run_module, "Cache", lambda: cache)
        self.cable: Cable | None = None
        self.connect: Callable[[], Connection] = self._log_in

    def _make_checkout(self) -> Path:
        scripts = self.directory / "checkout/scripts"
        scripts.mkdir(parents=True)
        for name, text in {"run": RUN, "there": THERE}.items():
            (scripts / name).write_text(text)
            (scripts / name).chmod(0o755)
        (scripts.parent / MADE_BY_FILE).write_text(MADE_BY)  # or git is asked
        return scripts.parent

    def _lay_checkout(self) -> None:
        """As if a run had been here before."""
        slot = self.home / ".guestloop/checkouts/1"
        shutil.copytree(self.checkout, slot / "guestloop")
        (slot / "digest").write_text(f"{read_checkout(self.checkout).digest}\n")
        (slot / "lock").touch()

    def is_new(self) -> None:
        """Nothing is on the host yet."""
        shutil.rmtree(self.home / ".guestloop")

    def changes(self, content: str) -> None:
        """The checkout here is another one."""
        (self.checkout / "scripts/more").write_text(content)

    def does(self, how: str) -> None:
        """What a run does at last, in sh."""
        (self.home / "how").write_text(how)

    def _log_in(self) -> Connection:
        return log_in(self.server, self.directory, self.cable.port if self.cable else None)

    def cut(self, *cuts: int) -> Cable:
        """Have connections cut after so many bytes, one after the other."""
        self.cable = Cable(self.server.port, list(cuts))
        return self.cable

    def run(self, *, out: str | None = "out", **options: Any) -> int:
        """``scripts/run --host lab``, with results in a directory here, and nothing to take along."""
        with patch.object(run_module, "collect", without_baggage):
            return run_on_host(Options(out=Path(out) if out else None, **options), self.where)

    def resume(self, out: str = "out", **limit: Any) -> int:
        return resume_on_host(Path(out), Options(**limit), None)

    where = Where(Address("lab", USER))

    @property
    def out(self) -> Path:
        return self.work / "out"

    @property
    def runs(self) -> list[Path]:
        """The runs on the host."""
        return sorted((self.home / ".guestloop/runs").glob("*"))

    def is_running(self) -> None:
        """Wait until the run there waits."""
        self.says("waiting")

    def says(self, text: str) -> None:
        """Wait until the run there has said so."""

        def said() -> bool | None:
            with suppress(IndexError, FileNotFoundError):
                return text in (self.runs[0] / "attempts/1/log").read_text() or None
            return None

        wait_for(f"the run on the host to say '{text}'", said, 10, interval=0.01)

    def let_go(self) -> None:
        (self.home / "gate").write_text("go\n")


@pytest.fixture(scope="module")
def keys(cache: Cache) -> L1Keys:
    return obtain_keys(cache)


@pytest.fixture
def lab(tmp_path: Path, keys: L1Keys, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setattr(following, "LOOK_S", 0.01)
    monkeypatch.setattr(journey, "RETRY_S", 0.01)
    made = Lab(tmp_path, keys, cache, monkeypatch)
    with forked_supervisors():
        yield made
    made.server.close()


def is_home(lab: Lab, out: Path | None = None) -> None:
    """All results of the one run are here as they are there."""
    (run,) = lab.runs
    there = content(run / "out")
    assert len(there) > 15 and content(out or lab.out) == there
