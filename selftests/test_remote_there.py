# SPDX-License-Identifier: GPL-2.0-or-later
"""The far end of --host: runs and their attempts with real processes, and entries that it asks for."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from forked_supervisor import forked_supervisors
from lab_server import prime_nothing
from processes import is_running, state_of

from guestloop.cache import Cache
from guestloop.ground import proc
from guestloop.ground.codec import encode
from guestloop.ground.errors import CacheError, ConfigError, GuestloopError, LabError, LinkLost
from guestloop.ground.wait import wait_for
from guestloop.remote.request import (
    About,
    CopiedFile,
    Link,
    Offsets,
    Request,
    State,
    WantedEntry,
)
from guestloop.remote.shipping import answer, find_entry
from guestloop.remote.there import beginning, following
from guestloop.remote.there.asking import AskingCache
from guestloop.remote.there.runs import Place, Run
from guestloop.remote.there.serving import FarEnd, find_place
from guestloop.remote.wire import DONE, FILES_WANTED, Broken, Kind, Wire, parse_value

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # SHA-256 of "hello"

DETACH = proc.detach

# Prints its words and where it is, then does what the file "do" beside it says.
RUN = """#!/bin/sh
echo "words: $*" >&2
echo "in ${PWD##*/}, settings ${XDG_CONFIG_HOME##*/}"
. "${0%/run}/do"
"""

# Waits to be let go, by a FIFO, or to be interrupted.
WAITS = """trap 'echo interrupted >&2; exit 130' INT
echo waiting >&2
read line <"${0%/run}/gate"
exit 4"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A host with a checkout, in a slot with a lock, whose scripts/run is a few lines."""
    scripts = tmp_path / "checkouts/1/guestloop/scripts"
    scripts.mkdir(parents=True)
    (scripts / "run").write_text(RUN)
    (scripts / "run").chmod(0o755)
    os.mkfifo(scripts / "gate")
    (tmp_path / "checkouts/1/lock").touch()
    return Place(tmp_path, scripts.parent)


def does(place: Place, script: str) -> None:
    (place.checkout / "scripts/do").write_text(script)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(following, "LOOK_S", 0.01)
    with forked_supervisors():
        yield


@pytest.fixture
def as_on_a_host() -> Iterator[None]:
    """Supervisors are processes that are started."""
    with patch.object(proc, "detach", DETACH):
        yield


class Ends:
    """The far end in a thread, and the wire to it; ``gone`` tells it that we are."""

    def __init__(self, place: Place) -> None:
        self.place, self.gone = place, threading.Event()

    def start(self, operation: str, about: object, prime: Any = prime_nothing) -> Wire:
        here, there = socket.socketpair()
        far = FarEnd(self.place, Wire(there.recv, there.sendall), prime, self.gone.is_set)

        def serve() -> None:
            with suppress(OSError, LinkLost), there:
                far.serve(operation)

        threading.Thread(target=serve, daemon=True).start()
        wire = Wire(here.recv, here.sendall)
        wire.skip_preamble()
        wire.send(encode(about))
        self.here = here
        return wire

    def ask(self, operation: str, about: object) -> Any:
        return self.start(operation, about).receive()[DONE]

    def followed(self, about: About) -> tuple[dict[Kind, bytes], dict[str, Any]]:
        """All that a run prints, and how it stands at its end."""
        return all_of(self.start("follow", about))


def all_of(wire: Wire) -> tuple[dict[Kind, bytes], dict[str, Any]]:
    """What comes while a run is followed."""
    said = {Kind.STDOUT: b"", Kind.LOG: b""}
    while (frame := wire.receive_frame())[0] is not Kind.VALUE:
        said[frame[0]] += frame[1]
    return said, parse_value(frame[1])[DONE]


@pytest.fixture
def ends(place: Place) -> Ends:
    return Ends(place)


def lay(ends: Ends, request: Request) -> Run:
    """A run that needs no files."""
    wire = ends.start("lay", request)
    assert wire.receive() == {FILES_WANTED: True}
    assert wire.receive() == {DONE: None}
    return ends.place.run(request.run)


def new_request(*words: str, **more: Any) -> Request:
    return Request(uuid.uuid4().hex, words, **more)


@pytest.fixture
def run(ends: Ends) -> Run:
    return lay(ends, new_request("--profile", "smoke"))


def about(run: Run, attempt: int = 1, **more: Any) -> About:
    return About(run.directory.name, attempt, **more)


def log_has(run: Run, text: str, attempt: int = 1) -> None:
    log = run.attempt(attempt).log
    wait_for(text, lambda: text in log.read_text() or None, 10, interval=0.01)


# --- taking over ---


def test_files_and_links_of_a_run(
    ends: Ends, cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GUESTLOOP_CACHE", str(tmp_path / "cache"))
    inputs = {"commit": "1"}
    cache.obtain("git-ends", inputs, lambda into: (into / "linux").mkdir())
    request = new_request(
        files=(
            CopiedFile("files/2/fix.patch", HELLO, is_program=True),
            CopiedFile("settings/guestloop/profiles.yaml", HELLO),
        ),
        entries=(WantedEntry("git-ends", inputs),),
        links=(Link("files/linux", 0, "linux"),),
    )
    wire = ends.start("lay", request)
    assert wire.receive() == {FILES_WANTED: True}
    wire.send_stream([b"he", b"llo"])
    wire.send_stream([b"hello"])
    assert answer(wire, cache, lambda _shown: None) is None
    run = ends.place.run(request.run)
    assert run.request() == request
    patch = run.files / "2/fix.patch"
    assert patch.read_bytes() == b"hello" and os.access(patch, os.X_OK)
    assert (run.files / "linux").resolve() == Cache(tmp_path / "cache").path("git-ends", inputs) / "linux"
    again = ends.start("lay", request)
    assert again.receive() == {FILES_WANTED: False} and again.receive() == {DONE: None}


def left(place: Place) -> list[str]:
    return sorted(path.name for path in (place.base / "runs").glob("*"))


def test_a_file_that_changed_meanwhile(ends: Ends) -> None:
    wire = ends.start("lay", new_request(files=(CopiedFile("files/a", HELLO),)))
    wire.receive()
    wire.send_stream([b"hullo"])
    with pytest.raises(LabError, match="a changed while it was copied"):
        wire.receive()
    assert left(ends.place) == []


def test_a_file_that_breaks_off(ends: Ends) -> None:
    request = new_request(files=(CopiedFile("files/a", HELLO),))
    wire = ends.start("lay", request)
    wire.receive()
    wire.send_frame(Kind.PIECE, b"")
    ends.here.close()
    wait_for("nothing to be left", lambda: not left(ends.place) or None, 5, interval=0.01)
    lay_again = ends.start("lay", request)
    assert lay_again.receive() == {FILES_WANTED: True}


def test_names_cannot_lead_out_of_a_run(ends: Ends) -> None:
    wire = ends.start("lay", new_request(files=(CopiedFile("files/../../x", HELLO),)))
    wire.receive()
    with pytest.raises(LabError, match="leads elsewhere"):
        wire.receive()
    with pytest.raises(ConfigError, match="32 hexadecimal digits"):
        ends.ask("begin", About("../../etc"))
    with pytest.raises(ConfigError, match="no operation"):
        ends.ask("remove", About("0" * 32))


def test_a_request_of_another_version(ends: Ends) -> None:
    with pytest.raises(GuestloopError, match="unknown: colour"):
        ends.ask("lay", {"run": "0" * 32, "words": [], "colour": "red"})


# --- attempts ---


@pytest.mark.usefixtures("as_on_a_host")
def test_a_run_to_its_end(ends: Ends, place: Place, run: Run) -> None:
    does(place, 'mkdir -p "$4"; echo x >"$4/report.html"; exit 4')
    standing = ends.ask("begin", about(run))
    assert standing["out"] == str(run.out)
    said, standing = ends.followed(about(run))
    assert said[Kind.LOG].decode() == f"words: --profile smoke --out {run.out}\n"
    assert said[Kind.STDOUT] == b"in files, settings settings\n"
    assert standing == {"state": "ended", "status": 4, "out": str(run.out)}
    assert (run.out / "report.html").read_text() == "x\n"


def test_only_what_is_not_known_is_passed_on(ends: Ends, place: Place, run: Run) -> None:
    does(place, "exit 0")
    ends.ask("begin", about(run))
    ends.followed(about(run))
    said, _ = ends.followed(about(run, offsets=Offsets(stdout=3, log=7)))
    assert said[Kind.STDOUT] == b"files, settings settings\n"
    assert said[Kind.LOG].startswith(b"--profile")


def test_a_run_goes_on_when_nobody_follows(ends: Ends, place: Place, run: Run) -> None:
    does(place, WAITS)
    ends.ask("begin", about(run))
    ends.start("follow", about(run)).receive_frame()
    ends.gone.set()
    ends.gone = threading.Event()
    log_has(run, "waiting")
    # Beginning it again, as a client does that lost its connection, begins nothing.
    assert ends.ask("begin", about(run))["state"] == "running"
    (place.checkout / "scripts/gate").write_text("go\n")
    said, standing = ends.followed(about(run))
    assert standing["status"] == 4
    assert said[Kind.LOG].count(b"words:") == 1


def test_several_follow_one_run(ends: Ends, place: Place, run: Run) -> None:
    does(place, WAITS)
    ends.ask("begin", about(run))
    followers = [ends.start("follow", about(run)) for _ in range(2)]
    log_has(run, "waiting")
    (place.checkout / "scripts/gate").write_text("go\n")
    for wire in followers:
        said, standing = all_of(wire)
        assert b"waiting" in said[Kind.LOG] and standing["status"] == 4


def test_an_interrupt(ends: Ends, place: Place, run: Run) -> None:
    does(place, WAITS)
    ends.ask("begin", about(run))
    log_has(run, "waiting")
    for _ in range(3):  # of which the run gets one
        assert ends.ask("interrupt", about(run)) is None
    said, standing = ends.followed(about(run))
    assert standing["status"] == 130
    assert said[Kind.LOG].count(b"interrupted") == 1
    assert ends.ask("interrupt", about(run)) is None, "it need not run any more"
    assert ends.ask("interrupt", about(run, attempt=7)) is None


def test_a_run_that_is_killed(ends: Ends, place: Place, run: Run) -> None:
    does(place, "kill -9 $$")
    ends.ask("begin", about(run))
    assert ends.followed(about(run))[1]["status"] == 137


@pytest.mark.usefixtures("as_on_a_host")
def test_a_host_that_dies_in_the_middle(ends: Ends, place: Place, run: Run) -> None:
    """Its supervisor is gone without a word, and so is the run."""
    does(place, f"echo $$ >&2\n{WAITS}")
    ends.ask("begin", about(run))
    log_has(run, "waiting")
    pid = int(run.attempt(1).log.read_text().splitlines()[1])
    supervisor = run.attempt(1).pid()
    # What the run says may be here before its supervisor has told the guard of it.
    wait_for("it to wait for the run", lambda: state_of(supervisor) == "S" or None, 10, interval=0.01)
    os.kill(supervisor, signal.SIGKILL)
    assert ends.followed(about(run))[1] == {"state": "lost", "status": None, "out": str(run.out)}
    wait_for("the guard to end the run", lambda: not is_running(pid) or None, 5, interval=0.01)


def test_a_run_that_has_results_goes_on(ends: Ends, place: Place, run: Run) -> None:
    does(place, "exit 3")
    ends.ask("begin", about(run))
    ends.followed(about(run))
    again = about(run, attempt=2, limit=("--budget", "60s"))
    ends.ask("begin", again)
    assert ends.followed(again)[0][Kind.LOG].startswith(b"words: --profile smoke --budget 60s --out")
    run.out.mkdir()
    (run.out / "plan.json").touch()
    last = about(run, attempt=3, limit=("--rounds", "5"))
    ends.ask("begin", last)
    said, _ = ends.followed(last)
    assert said[Kind.LOG].decode() == f"words: --resume {run.out} --rounds 5\n"


def test_a_run_that_is_not_there(ends: Ends) -> None:
    with pytest.raises(ConfigError, match=r"there is no run 0+ on this host any more"):
        ends.ask("begin", About("0" * 32))
    assert ends.followed(About("0" * 32))[1]["state"] == State.NOT_BEGUN


def test_a_program_that_is_not_there(ends: Ends, place: Place, run: Run) -> None:
    (place.checkout / "scripts/run").unlink()
    ends.ask("begin", about(run))
    said, standing = ends.followed(about(run))
    assert standing["status"] == 3
    assert b"program not found" in said[Kind.LOG]


@pytest.mark.usefixtures("as_on_a_host")
def test_a_supervisor_that_does_not_start(ends: Ends, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginning, "python", lambda _module: ["sh", "-c", "echo no module >&2; exit 1"])
    with pytest.raises(LabError, match=r"(?s)ended before it began.*\| no module"):
        ends.ask("begin", about(run))
    monkeypatch.undo()
    assert ends.ask("begin", about(run))["state"] != "not-begun", "it can be begun again"


def test_the_checkout_is_in_use_as_long_as_the_run(ends: Ends, place: Place, run: Run) -> None:
    def replaceable() -> bool:
        with (place.checkout.parent / "lock").open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    does(place, WAITS)
    ends.ask("begin", about(run))
    log_has(run, "waiting")
    assert not replaceable()
    ends.ask("interrupt", about(run))
    ends.followed(about(run))
    wait_for("the checkout to be free", lambda: replaceable() or None, 5, interval=0.01)


# --- results ---


def test_results(ends: Ends, run: Run) -> None:
    (run.out / "avocado/job-1").mkdir(parents=True)
    (run.out / "avocado/latest").symlink_to("job-1")
    (run.out / "verdict.json").write_bytes(b"hello")
    os.mkfifo(run.out / "fifo")
    items = {item["name"]: item for item in ends.ask("results", about(run))}
    assert list(items) == ["avocado", "verdict.json", "avocado/job-1", "avocado/latest"]
    assert items["verdict.json"]["content"] == HELLO and items["verdict.json"]["size"] == 5
    assert (items["avocado/latest"]["type"], items["avocado/latest"]["content"]) == ("link", "job-1")
    wire = ends.start("send", about(run, names=("verdict.json",)))
    assert b"".join(wire.receive_stream()) == b"hello"
    assert wire.receive() == {DONE: None}


@pytest.mark.parametrize("name", ["../request.json", "avocado", "latest", "gone"])
def test_what_is_no_file_of_the_results(ends: Ends, run: Run, name: str) -> None:
    (run.out / "avocado").mkdir(parents=True)
    (run.out / "latest").symlink_to("../request.json")
    wire = ends.start("send", about(run, names=(name,)))
    with pytest.raises(LabError, match=r"not a file of the results|leads elsewhere"):
        wire.receive()


# --- entries of the cache ---


def primed(ends: Ends, run: Run, ours: Cache, look: Callable[[Cache], object]) -> Any:
    """What comes of looking for entries over there, with our cache to ask."""
    wire = ends.start("prime", about(run), prime=lambda _run, cache: look(cache))
    return answer(wire, ours, lambda _shown: None)


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """The cache of the host."""
    monkeypatch.setenv("GUESTLOOP_CACHE", str(tmp_path / "theirs"))
    return Cache()


def never(_into: Path) -> None:
    raise AssertionError("nothing is built to prime a cache")


def write_kernel(into: Path) -> None:
    (into / "vmlinux").write_bytes(b"kernel" * 100_000)


def test_an_entry_is_copied_by_its_key(ends: Ends, run: Run, theirs: Cache, cache: Cache) -> None:
    inputs = {"tree": "1", "config": {"KVM": "m"}}
    made = cache.obtain("kernel", inputs, write_kernel)
    found: list[Path | None] = []
    primed(ends, run, cache, lambda asking: found.append(asking.obtain("kernel", inputs, never)))
    assert found == [theirs.path("kernel", inputs)]
    assert {path.name: path.read_bytes() for path in theirs.path("kernel", inputs).iterdir()} == {
        path.name: path.read_bytes() for path in made.iterdir()
    }


def test_what_neither_has_is_asked_for_once(ends: Ends, run: Run, theirs: Cache, cache: Cache) -> None:
    asked: list[str] = []

    def look(asking: Cache) -> None:
        for _ in range(2):
            with pytest.raises(LabError, match="to be built"):
                asking.obtain("kernel", {"tree": "nobody's"}, never)
            assert asking.find("kernel", {"tree": "nobody's"}) is None
        asked.append("all")

    wire = ends.start("prime", about(run), prime=lambda _run, asking: look(asking))
    assert wire.receive() == {"want": ["kernel", theirs.path("kernel", {"tree": "nobody's"}).name]}
    wire.send({"sent": False})
    assert wire.receive() == {DONE: None} and asked == ["all"]


def test_an_entry_that_is_another_one(ends: Ends, run: Run, theirs: Cache, cache: Cache) -> None:
    """By its key it cannot be, unless somebody changed it."""
    inputs = {"tree": "2"}
    entry = cache.obtain("kernel", inputs, write_kernel)
    (entry / "inputs.json").write_text("{}")
    with pytest.raises(CacheError, match="what was copied is another entry"):
        primed(ends, run, cache, lambda asking: asking.find("kernel", inputs))
    assert list((theirs.root / "kernel").iterdir()) == []


def test_an_entry_that_breaks_off(ends: Ends, run: Run, theirs: Cache, cache: Cache) -> None:
    inputs = {"tree": "3"}
    cache.obtain("kernel", inputs, write_kernel)
    wire = ends.start("prime", about(run), prime=lambda _run, asking: asking.find("kernel", inputs))
    wire.receive()
    wire.send({"sent": True})
    wire.send_frame(Kind.PIECE, b"")
    ends.here.close()
    kernels = theirs.root / "kernel"
    wait_for("nothing to be left", lambda: not list(kernels.glob("*")) or None, 5, interval=0.01)
    primed(ends, run, cache, lambda asking: asking.find("kernel", inputs))
    assert theirs.find("kernel", inputs)


def test_a_full_disk_over_there(
    ends: Ends, run: Run, cache: Cache, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUESTLOOP_CACHE", str(tiny_disk))
    inputs = {"tree": "4"}
    cache.obtain("kernel", inputs, write_kernel)
    with pytest.raises(CacheError, match="no space left in the cache"):
        primed(ends, run, cache, lambda asking: asking.find("kernel", inputs))
    assert list((tiny_disk / "kernel").iterdir()) == []


@pytest.mark.parametrize(("kind", "key"), [("../..", "0" * 20), ("kernel", "../x"), ("work", "tree")])
def test_nothing_but_entries_is_sent(cache: Cache, kind: str, key: str) -> None:
    assert find_entry(cache, kind, key) is None


def test_an_entry_comes_whole_or_not(tmp_path: Path) -> None:
    """A cache that asks is a cache like any other where it has what is looked for."""
    own = Cache(tmp_path)
    made = own.obtain("kernel", {"tree": "own"}, write_kernel)

    def read(_size: int) -> bytes:
        raise Broken("nobody is there to be asked")

    asking = AskingCache(Wire(read, lambda _data: None), tmp_path)
    assert asking.obtain("kernel", {"tree": "own"}, never) == made
    with pytest.raises(Broken):
        asking.find("kernel", {"tree": "other"})


def test_the_far_end_is_not_started_by_hand(tmp_path: Path) -> None:
    """What it keeps is beside the checkout, which would be anywhere."""
    assert find_place(tmp_path / "checkouts/1/guestloop") == Place(
        tmp_path, tmp_path / "checkouts/1/guestloop"
    )
    with pytest.raises(ConfigError, match="not a checkout that scripts/run --host has copied"):
        find_place(tmp_path / "guestloop")
