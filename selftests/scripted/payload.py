# SPDX-License-Identifier: GPL-2.0-or-later
"""The payload of an L2, as guest-images/l2/session.c is towards the agent: one line in, its answers out."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from guestloop.ground.words import parse_words
from scripted.memory import Pages, share_pages
from scripted.script import Script

GVA = 0x7F8000000000
FIRST_FRAME, FRAMES = 0x5FE8, 0x6000
LOADS = ("read-shared", "read-own", "write-shared", "sweep", "hot", "once", "chain", "mix", "linger")
MOST_BAD_LINES = 16
REPORTS = 4  # that come unasked after each hello while a load runs
VISITS = 10  # of each vCPU between two reports


@dataclass
class Loaded:
    """The load that is in place."""

    name: str
    pages: int
    vcpus: int


class Payload:
    """The payload of one guest. It moves on to another port when its guest is migrated."""

    def __init__(self, pages: Pages, script: Script, vcpus: int, end: Callable[[], None]) -> None:
        self._pages, self._script, self._vcpus, self._end = pages, script, vcpus, end
        self._port: socket.socket | None = None
        self._lock = threading.Lock()
        self._loaded: Loaded | None = None
        self._running = False
        self.silent = False
        self._moved = 0
        self.visits = [0] * vcpus

    def attach(self, port: socket.socket) -> None:
        """Talk on this port from now on; says hello, as it does when the port is connected anew."""
        if self._port:
            self._arrive()
        self._port = port
        threading.Thread(target=self._listen, args=(port,), daemon=True).start()
        self._hello()

    def _arrive(self) -> None:
        self._moved += 1
        self.visits = [max(0, count - self._script.forgotten_visits) for count in self.visits]

    def _listen(self, port: socket.socket) -> None:
        with suppress(OSError), port.makefile("r", encoding="ascii") as lines:
            for line in lines:
                with self._lock:
                    self._obey(line.rstrip("\n"))

    def _say(self, line: str) -> None:
        assert self._port
        with suppress(OSError):
            self._port.sendall(f"{line}\n".encode("ascii"))

    def _refuse(self, what: str) -> None:
        self._say(f"error what={what}")

    def _obey(self, line: str) -> None:
        verb = line.split(" ", 1)[0]
        if self._script.ends_at == verb:
            return self._end()
        self.silent = self.silent or self._script.silent_after == verb
        act = {
            "hello": self._hello,
            "load": lambda: self._load(parse_words(line)),
            "start": lambda: self._start(parse_words(line)),
            "stop": self._stop,
            "check": self._check,
            "where": self._where,
        }.get(verb, lambda: self._refuse("unknown-command"))
        return None if self.silent else act()

    def _hello(self) -> None:
        kvmapf, build_id = int(self._script.kvmapf), self._script.l2_build_id
        self._say(f"hello version=1 vcpus={self._vcpus} kvmapf={kvmapf} build_id={build_id}")
        for _ in range(REPORTS if self._running else 0):
            self._work()
            self._say(self._tally("progress"))

    def _load(self, words: dict[str, str]) -> None:
        if words["name"] not in LOADS:
            return self._refuse("unknown-load")
        if self._loaded:
            return self._refuse("already-loaded")
        self._loaded = loaded = Loaded(words["name"], int(words["mib"]) << 8, self._vcpus)
        self._pages.make(loaded.pages)
        ready = f"ready name={loaded.name} pages={loaded.pages} gva={GVA:#x} vcpus={self._vcpus}"
        return self._say(f"{ready} crews=1 window={words.get('window', 4)}")

    def _start(self, words: dict[str, str]) -> None:
        if not self._loaded or self._running:
            return self._refuse("already-running" if self._loaded else "nothing-loaded")
        part, parts, grain = (
            int(words.get(name, usual)) for name, usual in (("part", 0), ("parts", 1), ("grain", 1))
        )
        share = share_pages(self._loaded.pages, part, parts, grain)
        if not share:
            return self._refuse("empty-share")
        self._running, self.visits = True, [0] * self._vcpus
        self._pages.touch(share)
        if "laps" not in words:
            self._pages.touching = share
            return self._say("running")
        each = len(share) // (self._vcpus if self._loaded.name == "read-own" else 1)
        self.visits = [int(words["laps"]) * each] * self._vcpus
        self._say("running")
        return self._stop()

    def _work(self) -> None:
        """The vCPUs get on, those that do."""
        idle = self._script.idle_after if self._moved else ()
        self.visits = [count + VISITS * (vcpu not in idle) for vcpu, count in enumerate(self.visits)]

    def _stop(self) -> None:
        if not self._running:
            return self._refuse("not-running")
        self._running, self._pages.touching = False, frozenset()
        return self._say(self._tally("stopped"))

    def _tally(self, verb: str) -> str:
        writes = 0 if self._loaded and self._loaded.name.startswith("read-") else sum(self.visits)
        each = " ".join(f"v{vcpu}={count}" for vcpu, count in enumerate(self.visits))
        counts = f"reads={sum(self.visits)} writes={writes} laps=1 bad={self._script.bad_visits}"
        return f"{verb} t_ms=5 {counts} {each}"

    def _check(self) -> None:
        if not self._loaded or self._running:
            return self._refuse("still-running" if self._loaded else "nothing-loaded")
        for page in range(min(self._script.bad_pages, MOST_BAD_LINES)):
            self._say(f"bad page={page} offset=8 wanted=0x1 seen=0x2")
        pages = 0 if self._script.loses_pages else self._loaded.pages
        return self._say(f"checked pages={pages} bad={self._script.bad_pages}")

    def _where(self) -> None:
        """The first page is apart from the others."""
        if not self._loaded:
            return self._refuse("nothing-loaded")
        self._say(f"frames at=0 runs={FIRST_FRAME:x}+1,{FRAMES:x}+{self._loaded.pages // 2 - 1}")
        half = self._loaded.pages // 2
        self._say(f"frames at={half} runs={FRAMES + half:x}+{self._loaded.pages - half}")
        return self._say(f"where pages={self._loaded.pages}")
