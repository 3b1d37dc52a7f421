# SPDX-License-Identifier: GPL-2.0-or-later
"""What several selftests of the agent share: a program that plays an L2's QEMU, and no real cgroups."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from guestloop.agent import guest
from guestloop.agent.guest import Guest

# The QMP of programs that play a QEMU. There are many of them, so they import only what Python has loaded
# anyway: to import json and socket takes as long as all else that they do.
QMP = r"""
import _thread, os, sys, time

def json(value):
    if isinstance(value, dict):
        return "{" + ",".join(f'"{name}":{json(item)}' for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(json, value)) + "]"
    return "null" if value is None else repr(value).replace("'", '"')

def send(qmp, value):
    os.write(qmp, json(value).encode() + b"\r\n")

def requests(qmp):
    version = {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}
    send(qmp, {"QMP": {"version": version, "capabilities": []}})
    text = ""
    while piece := os.read(qmp, 4096):
        text += piece.decode()
        whole = "[" + text.replace("}{", "},{") + "]"
        try:
            found, text = eval(whole, {"null": None, "true": True, "false": False}), ""
        except SyntaxError:  # there is more to come
            continue
        yield from found
"""

# It knows how QEMU and the payload in the guest behave: by its mode, and by what the payload is told.
QEMU = (
    QMP
    + """
qmp, port = map(int, sys.argv[1:3])
console, mode = sys.argv[3:5]
print("stand-in:", mode, flush=True)
if mode == "dies at once":
    sys.exit(3)
if mode == "aborts":
    os.abort()
if mode.startswith("aborts until "):
    tries = mode.removeprefix("aborts until ")
    with open(tries, "a") as file:
        file.write("x")
    if os.path.getsize(tries) < 3:
        os.abort()
state = "running"

def returned(command, arguments):
    if command == "query-status":
        return {"status": state}
    if command == "query-cpus-fast":
        return [{"cpu-index": 0, "thread-id": os.getpid()}]
    return {"seen": command, "with": arguments}

def serve_qmp():
    for request in requests(qmp):
        if request["execute"] == "quit":
            os._exit(0)
        answer = {"return": returned(request["execute"], request.get("arguments"))}
        if request["execute"] == "no-such-command":
            answer = {"error": {"class": "CommandNotFound", "desc": "not found"}}
        send(qmp, {**answer, "id": request.get("id")})

def panic():
    with open(console, "a") as file:
        file.write("[ 1.0] BUG: unable to handle page fault\\n[ 1.1] Kernel panic - not syncing: Oops\\n")

def say(text):
    os.write(port, text.encode() + b"\\n")

_thread.start_new_thread(serve_qmp, ())
if mode != "silent":
    say("booting\\nhello cpus=2 kvmapf=1")
for line in open(port, closefd=False):
    word = line.split()[0]
    if word == "load":
        say("progress reads=1\\nprogress reads=2\\nready pages=4")
    elif word == "start":
        say("running\\nstopped reads=9 laps=1")
    elif word == "refuse":
        say("error unknown command")
    elif word == "fail":
        print("qemu: fatal: it broke", flush=True)
        os._exit(5)
    elif word == "reset":
        os._exit(0)
    elif word == "panic":
        panic()
        os._exit(0)
    elif word == "hang-panicked":
        panic()
    elif word == "die-of":
        os.kill(os.getpid(), int(line.split()[1]))
    elif word == "let-go":
        os.close(port)
        time.sleep(60)
    elif word == "pause":
        state = "paused"
"""
)


class NoCgroup:
    """Notes which processes went in."""

    made: list[NoCgroup]

    def __init__(self, name: str) -> None:
        self.name, self.pids, self.removed = name, list[int](), False
        self.made.append(self)

    def add(self, pid: int) -> None:
        self.pids.append(pid)

    def remove(self) -> None:
        self.removed = True


class StandIn:
    """QEMUs of L2 guests in this directory, each with its files below ``l2/NAME``."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory / "l2"
        self._program = directory / "qemu.py"
        self._program.write_text(QEMU)
        monkeypatch.setattr(NoCgroup, "made", [], raising=False)
        monkeypatch.setattr(guest, "Cgroup", NoCgroup)

    def argv(self, name: str = "a", mode: str = "well") -> list[str]:
        """The command line of a guest, as L0 sends it."""
        console = f"{self.directory}/{name}/console.log"
        return [sys.executable, "-S", str(self._program), "@qmp@", "@port@", console, mode]

    @contextmanager
    def running(self, name: str = "a") -> Iterator[Guest]:
        """A guest that has said hello."""
        running = Guest(name, self.argv(name), self.directory / name)
        try:
            running.until("hello", 10)
            yield running
        finally:
            running.close()
