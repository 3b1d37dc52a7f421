# SPDX-License-Identifier: GPL-2.0-or-later
"""Parser for a tracefs histogram that is keyed by call stack.

The format is the one that ``hist_trigger_show()``, ``hist_trigger_print_key()`` and
``hist_trigger_stacktrace_print()`` of 6.12 print (kernel/trace/trace_events_hist.c)::

    # event histogram
    #
    # trigger info: hist:keys=common_stacktrace,req:vals=hitcount:sort=hitcount:size=2048 [active]
    #

    { common_stacktrace:
             kvm_make_all_cpus_request+0x5/0xb0 [kvm]
             mmu_set_spte+0x1f9/0x4c0 [kvm]
    , req:        768} hitcount:         12

    Totals:
        Hits: 12
        Entries: 1
        Dropped: 0

A stack has at most 16 frames (``HIST_STACKTRACE_DEPTH``, kernel/trace/trace.h), innermost first, so
frames may be missing at the outer end. A stack that is stored in a field of its own is printed as
``<field>.stacktrace``, and its name does not have a line of its own. Before 6.3 the key is ``stacktrace``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from guestloop.counters.snapshot import diff
from guestloop.ground.errors import LabError

_Stack = tuple[tuple[str, ...], tuple[tuple[str, int], ...]]

_HEADER = "# event histogram"
_TOTALS = "\nTotals:\n"
_ENTRY = re.compile(r"^\{ (?P<key>.*?)\} hitcount: +(?P<hits>\d+)[^\n]*$", re.DOTALL | re.MULTILINE)
_TOTAL = re.compile(r"^ +(Hits|Entries|Dropped): (\d+)$", re.MULTILINE)
_STACK_NAME = re.compile(r"(?:^|, )(?:(?:common_)?stacktrace:|\w+\.stacktrace:?)")
_FIELD = re.compile(r"(?:^|, )(\w+): +(\d+)")
_OFFSET = re.compile(r"\+0x[0-9a-f]+/0x[0-9a-f]+.*$")


@dataclass(frozen=True)
class StackCount:
    """The number of times that one call stack was seen with one set of other keys.

    ``frames`` are symbols, innermost first. Offset and module are removed, the compiler's suffix
    (``.isra.0``) is kept. An address without a symbol stays an address (``0xffffffffc0a01234``).
    """

    frames: tuple[str, ...]
    keys: Mapping[str, int]
    hits: int


@dataclass(frozen=True)
class Histogram:
    """A histogram as it was read.

    ``hits`` counts the events that were recorded. ``dropped`` counts those that were not, because the
    table of ``size`` entries was full. A histogram with drops lacks whole call paths, which makes a
    round invalid.
    """

    entries: tuple[StackCount, ...]
    hits: int
    dropped: int


def parse_histogram(text: str) -> Histogram:
    """Parse the ``hist`` file of an event that has exactly one histogram trigger.

    Raises LabError if there is no histogram or more than one, or if entries are missing because the
    read was cut short. The message says what was seen.
    """
    if (found := text.count(_HEADER)) != 1:
        raise LabError(
            f"call-path histogram: expected exactly one trigger, found {found}",
            hint="another run may have left its trigger on the event",
        )
    body, separator, foot = text.partition(_TOTALS)
    totals = {name: int(value) for name, value in _TOTAL.findall(foot)}
    if not separator or totals.keys() != {"Hits", "Entries", "Dropped"}:
        raise LabError(f"call-path histogram: the totals are missing; the text ends with {text[-80:]!r}")
    entries = tuple(_parse_entries(body))
    if len(entries) != totals["Entries"]:
        raise LabError(
            f"call-path histogram: the totals say {totals['Entries']} entries, {len(entries)} could be parsed"
        )
    return Histogram(entries, totals["Hits"], totals["Dropped"])


def subtract(late: Histogram, early: Histogram) -> Histogram:
    """Return what was counted between two readings of one histogram, without unchanged stacks.

    Raises LabError if a count decreased, because the readings are then not of the same histogram.
    """
    moved = diff(_by_stack(early), _by_stack(late))
    entries = tuple(StackCount(frames, dict(keys), hits) for (frames, keys), hits in moved.items() if hits)
    return Histogram(entries, late.hits - early.hits, late.dropped - early.dropped)


def _by_stack(histogram: Histogram) -> dict[_Stack, int]:
    """Return hits by symbols and keys. Entries that differ only in the offsets of their frames are merged."""
    counts: dict[_Stack, int] = {}
    for entry in histogram.entries:
        stack = entry.frames, tuple(sorted(entry.keys.items()))
        counts[stack] = counts.get(stack, 0) + entry.hits
    return counts


def _parse_entries(body: str) -> Iterator[StackCount]:
    for match in _ENTRY.finditer(body):
        # All text that is not a frame line forms one row of fields: "common_stacktrace:, req: 768".
        rows = [(_STACK_NAME.split(row)) for row in match["key"].split("\n")]
        frames = tuple(_symbol(cell) for row in rows for cell in row[-1:] if cell.startswith(" " * 8))
        fields = "".join(part for row in rows for part in row if not part.startswith(" " * 8))
        keys = {name: int(value) for name, value in _FIELD.findall(fields)}
        yield StackCount(frames, keys, int(match["hits"]))


def _symbol(line: str) -> str:
    return _OFFSET.sub("", line.strip())
