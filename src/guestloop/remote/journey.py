# SPDX-License-Identifier: GPL-2.0-or-later
"""A run on a host, from here: all of its steps, again after each lost connection, until its results are here.

Each step does nothing where it was done already, so there is no state but the record, and what was printed.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from guestloop.cache import Cache
from guestloop.ground.errors import Exit, GuestloopError, LabError, LinkLost, TimedOut
from guestloop.ground.log import say
from guestloop.ground.wait import wait_for
from guestloop.remote.baggage import Baggage
from guestloop.remote.checkout import Checkout
from guestloop.remote.fetch import fetch
from guestloop.remote.host import Host, InUse, Target, bring_checkout
from guestloop.remote.options import RECORD_FILE
from guestloop.remote.printing import Printing
from guestloop.remote.record import Record, write_record
from guestloop.remote.request import About, Standing, State
from guestloop.remote.ssh import Connection
from guestloop.remote.wire import Kind

RECONNECT_S = 300.0
RETRY_S = 3.0
MOST_LOSSES = 5
"""Connections that are lost in a row before anything was done over them."""


class Leave(KeyboardInterrupt):
    """This process is to end, and the run there is to go on: a terminal was closed, a machine shuts down."""


class Journey:
    """One attempt at a run, and its way home into ``out``. ``connect`` logs in to its host."""

    def __init__(
        self,
        out: Path,
        record: Record,
        connect: Callable[[], Connection],
        checkout: Checkout,
        cache: Cache,
        baggage: Baggage | None = None,
    ) -> None:
        self.out, self.record = out, record
        self._connect, self._checkout, self._cache, self._baggage = connect, checkout, cache, baggage
        self._printing: Printing | None = None
        self._stopping = self._reached = False
        self._steps = 0

    def go(self) -> int:
        """Have it run, or pick it up; returns its exit status when all results are here.

        The first Ctrl-C is passed on to it. The second, and any before it has begun, ends this process alone.
        Raises LabError when the host cannot be reached for some minutes, and whatever goes wrong.
        """
        with _leaving_when_told():
            while True:
                try:
                    return self._until_home()
                except KeyboardInterrupt as interrupt:
                    if not self.record.begun:
                        self._forget()
                        raise
                    if self._stopping or isinstance(interrupt, Leave):
                        say(f"guestloop: left {self.record.host}; {self._pick_up()}")
                        return Exit.INTERRUPTED
                    self._stopping = True
                    say(f"==> ending the run on {self.record.host}; Ctrl-C again leaves it as it is")
                except GuestloopError:
                    if not self.record.begun:
                        self._forget()
                    elif not self.record.home:
                        say(f"==> {self._pick_up()}")
                    raise

    def _command(self) -> str:
        where = f" --host-dir {self.record.directory}" if self.record.directory else ""
        return f"scripts/run --host {self.record.host}{where} --resume {self.out}"

    def _pick_up(self) -> str:
        return f"what runs there goes on: {self._command()} picks it up"

    def _forget(self) -> None:
        """Nothing has begun there, and there is nothing to pick up."""
        (self.out / RECORD_FILE).unlink(missing_ok=True)
        if not any(self.out.iterdir()):
            self.out.rmdir()

    def _until_home(self) -> int:
        """Again with each new connection."""
        losses = 0
        while True:
            before = self._steps
            try:
                with closing(self._connected()) as connection:
                    return self._steps_over(Target(connection, self.record.directory))
            except (LinkLost, InUse) as lost:
                losses = losses + 1 if self._steps == before else 0
                if not self._reached or losses > MOST_LOSSES:
                    raise
                goes_on = "what runs there goes on" if self.record.begun else "nothing has begun there yet"
                say(f"==> {lost.first_line}; {goes_on}")

    def _connected(self) -> Connection:
        """A host that does not answer at all is told at once; one that did may come back."""
        connection = self._reconnect() if self._reached else self._connect()
        self._reached = True
        return connection

    def _reconnect(self) -> Connection:
        last: LinkLost | None = None

        def attempt() -> Connection | None:
            nonlocal last
            try:
                return self._connect()
            except LinkLost as error:
                last = error
                return None

        try:
            return wait_for(
                f"a connection to {self.record.host}",
                attempt,
                RECONNECT_S,
                interval=RETRY_S,
                last_seen=lambda: str(last),
            )
        except TimedOut as error:
            raise LabError(str(error)) from error

    # --- the steps ---

    def _steps_over(self, target: Target) -> int:
        host = bring_checkout(target, self._checkout)
        self._steps += 1
        about = About(self.record.request.run, self.record.attempt, self.record.limit)
        there = self._begin(host, about).out
        if self._stopping:
            host.interrupt(about)
        standing = self._follow(host, about, there)
        fetched = fetch(host, about.run, self.out)
        self._note(replace(self.record, home=True))
        if fetched.files:
            say(f"==> {self.out}: {fetched}, as they are on {self.record.host}")
        elif standing.state is State.ENDED:
            self._forget()  # as a run here, which leaves nothing when it has no results
        return self._status(standing)

    def _begin(self, host: Host, about: About) -> Standing:
        if not self.record.begun:
            assert self._baggage, "a run that has not begun is forgotten"
            host.lay(self._baggage, self._cache)
            self._steps += 1
            host.prime(about.run, self._cache)
            self._note(replace(self.record, begun=True))
        standing = host.begin(about)
        self._steps += 1
        return standing

    def _follow(self, host: Host, about: About, there: str) -> Standing:
        if self._printing is None:
            say(f"==> runs on {self.record.host}, in {there}")
            self._printing = Printing(there, self.out)
        printing = self._printing

        def take(kind: Kind, data: bytes) -> None:
            self._steps += 1
            printing.take(kind, data)

        return host.follow(replace(about, offsets=printing.offsets), take)

    def _note(self, record: Record) -> None:
        write_record(self.out, record)
        self.record = record

    def _status(self, standing: Standing) -> int:
        """The exit status. Raises LabError for a run that was killed, as far as its results are here."""
        if standing.state is State.ENDED and standing.status in set(Exit):
            assert standing.status is not None
            return standing.status
        how = "it was killed, or the host was rebooted"
        if standing.status is not None:
            how = f"it ended with status {standing.status}"
        raise LabError(
            f"{self.record.host}: the run came to no end of its own: {how}",
            hint=f"{self._command()} goes on with it there. A host that ends what users leave behind"
            " (logind.conf: KillUserProcesses) has to be told not to",
        )


@contextmanager
def _leaving_when_told() -> Iterator[None]:
    """SIGTERM and SIGHUP are no Ctrl-C: they are about this process, and not about the run."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise Leave

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
