# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether functions run: a kprobe at the entry of each counts its calls (kernel/trace/trace_kprobe.c).

The probes are armed before KVM is loaded and stay while it is exchanged: the kernel arms those of a module
again when the module comes. So what runs while KVM is loaded is seen too. A probe that is never hit costs
nothing: the function is never called. One that is hit takes time, so the probes of what is known to run are
removed before anything is counted.

``kprobe_profile`` has the calls of each probe, and those that were missed because another probe was being
served on that CPU. A probe has to be armed for that, but nothing should be written to the ring buffer. The
trigger ``traceon`` does that: tracing is on already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from guestloop.agent.rcu import expedited_grace_periods
from guestloop.agent.trace import TRACEFS, write_control
from guestloop.ground.errors import GuestError

SYS_MODULE = Path("/sys/module")
PROBES = "guestloop/changed_{}"
TRIGGER = "traceon"
MOST = 200
"""More probes are not armed: each takes some milliseconds, and so many functions run in any guest."""


@dataclass(frozen=True)
class Watched:
    """A function, and the symbols at which it begins, as kprobes name them (``kvm:foo.constprop.0``)."""

    function: str
    symbols: tuple[str, ...]


@dataclass(frozen=True)
class Hits:
    """The calls of each function that was watched, and why some could not be, or not at each entry.

    ``counts`` are all calls for as long as the probes of a function were there, ``disturbing`` those that
    were served while the workload was counted.
    """

    counts: dict[str, int]
    unprobed: dict[str, str]
    disturbing: int = 0


class Changed:
    """Service: the functions that are watched, see Kvm.watch."""

    def __init__(self, probes: Probes) -> None:
        self._probes = probes

    def begin_counting(self) -> None:
        """What was called by now is known to run: its probes are removed before they can disturb a count."""
        with expedited_grace_periods():
            self._probes.retire()

    def end_counting(self) -> None:
        """Calls from here on disturb nothing."""
        self._probes.note_disturbing()

    def read(self) -> Hits:
        """Their calls since this load of KVM began, without those of rounds in it that are over."""
        return self._probes.read()


class Probes:
    """The kprobes of an L1, by the functions that are watched."""

    def __init__(self, root: Path = TRACEFS, modules: Path = SYS_MODULE) -> None:
        self._root, self._modules = root, modules
        self.watched: tuple[Watched, ...] = ()
        self._armed: dict[str, str] = {}  # function by probe
        self._unprobed: dict[str, str] = {}
        self._absent: dict[str, str] = {}  # modules that were not loaded, by function
        self._of_load: Counter[str] = Counter()
        self._begun: Counter[str] = Counter()
        self._retired: Counter[str] = Counter()  # their calls in this round
        self._counting: Counter[str] = Counter()
        self._disturbing = 0

    @property
    def are_whole(self) -> bool:
        """No probe was removed since they were armed."""
        return not self._retired

    def arm(self, watched: tuple[Watched, ...]) -> None:
        """Watch these functions and no others. KVM must be loaded, or what it refuses is not known."""
        self.disarm()
        self.watched = watched
        symbols = [(one.function, symbol) for one in watched for symbol in one.symbols]
        if len(symbols) > MOST:
            why = f"{len(symbols)} probes would be needed, at most {MOST} are armed"
            self._unprobed = {one.function: why for one in watched}
            return
        for number, (function, symbol) in enumerate(symbols):
            module = symbol.partition(":")[0]
            if ":" in symbol and not (self._modules / module).exists():
                self._absent[function] = module
            else:
                self._arm(PROBES.format(number), function, symbol)

    def _arm(self, probe: str, function: str, symbol: str) -> None:
        try:
            write_control(self._root / "kprobe_events", f"p:{probe} {symbol}")
            self._armed[probe] = function
            write_control(self._root / "events" / probe / "trigger", TRIGGER)
        except GuestError as error:
            self._unprobed[function] = error.first_line

    def disarm(self) -> None:
        """Remove all probes."""
        self._remove(list(self._armed))
        self.watched = ()
        for functions in (self._unprobed, self._absent):
            functions.clear()
        for calls in (self._of_load, self._begun, self._retired, self._counting):
            calls.clear()
        self._disturbing = 0

    def _remove(self, probes: Iterable[str]) -> None:
        for probe in probes:
            with suppress(GuestError, FileNotFoundError):  # it was refused
                write_control(self._root / "events" / probe / "trigger", f"!{TRIGGER}")
            write_control(self._root / "kprobe_events", f"-:{probe}")
            del self._armed[probe]

    @contextmanager
    def loading(self) -> Iterator[None]:
        """KVM is loaded in the body: calls in it count for each round that follows."""
        before = self._read_profile()
        yield
        self._of_load = self._read_profile() - before

    def begin(self) -> None:
        """A round begins."""
        self._begun = self._read_profile()
        self._disturbing = 0

    def retire(self) -> None:
        """Remove the probes of functions that were called in this round already; the others stay."""
        seen = self._calls()
        self._remove([probe for probe, function in self._armed.items() if seen[function]])
        self._retired = seen
        self._counting = self._read_profile()

    def note_disturbing(self) -> None:
        """The calls since ``retire`` have disturbed what was counted."""
        self._disturbing += (self._read_profile() - self._counting).total()

    def read(self) -> Hits:
        """The calls of this round, and of the load of KVM that it runs with."""
        seen = self._calls()
        unprobed = dict(self._unprobed)
        for function, module in self._absent.items():
            if (self._modules / module).exists():
                unprobed[function] = f"{module} was loaded after the probes were armed"
        functions = [one.function for one in self.watched]
        counts = {name: seen[name] for name in functions if seen[name] or name not in unprobed}
        return Hits(counts, unprobed, self._disturbing)

    def _calls(self) -> Counter[str]:
        """By function; of those whose probes were removed, until then."""
        armed = set(self._armed.values())
        now = self._of_load + (self._read_profile() - self._begun)
        gone = {function: calls for function, calls in self._retired.items() if function not in armed}
        return Counter({**now, **gone})

    def _read_profile(self) -> Counter[str]:
        """Calls by function: lines of probe, hits, misses (trace_kprobe.c: probes_profile_seq_show)."""
        seen: Counter[str] = Counter()
        if not self._armed:
            return seen
        functions = {probe.rpartition("/")[2]: function for probe, function in self._armed.items()}
        for line in (self._root / "kprobe_profile").read_text().splitlines():
            probe, hits, missed = line.split()
            if probe in functions:
                seen[functions[probe]] += int(hits) + int(missed)
        return seen
