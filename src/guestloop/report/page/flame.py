# SPDX-License-Identifier: GPL-2.0-or-later
"""Who asked for the flushes: call stacks merged from the inside out, as boxes of a flame graph.

KVM's request is the first row, its call path the second, and below each function stands who called it. The
kernel keeps 16 frames of a stack, so that its outer end may be missing: merged from there, stacks of one path
would fall apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from guestloop.counters import Stack

WIDTH = 1000
"""Of the widest graph of a cell, in units of the drawing."""

ROW = 18
LETTER = 6.3
"""The width of a letter of its font."""

LEAST_WIDTH = 3.0
"""Narrower boxes are left out: nobody could see what they are."""

MOST_ROWS = 14

REQUEST = "kvm_make_all_cpus_request"
"""Up to here a stack has what counts it: the probe's own frames."""

ENTRY = frozenset({"x64_sys_call", "do_syscall_64", "entry_SYSCALL_64_after_hwframe"})
"""The outer end of every system call."""


_Way = tuple[tuple[str, ...], int]
"""The names below a box that a request went by, and how many did."""


@dataclass(frozen=True)
class Box:
    """A function in the graph, in units of the drawing; ``label`` is as much of its name as fits."""

    x: float
    y: int
    width: float
    name: str
    label: str
    hits: int
    path: str

    @property
    def cut(self) -> bool:
        """Its name does not fit."""
        return self.label != self.name

    @property
    def kind(self) -> str:
        """What the first two rows are: no functions."""
        return {0: "root", ROW: "path"}.get(self.y, "")

    @property
    def outline(self) -> str:
        """A rectangle with a gap to its right and below, as a path."""
        width = f"{self.width - 1:.4g}"
        return f"M{self.x:.4g} {self.y}h{width}v{ROW - 1}h-{width}z"

    @property
    def left(self) -> str:
        """Where its label begins."""
        return f"{self.x + 3:.4g}"


@dataclass(frozen=True)
class Flame:
    """A graph of ``hits`` requests; ways that are too narrow have no box."""

    boxes: tuple[Box, ...]
    height: int
    hits: int

    width = WIDTH

    @property
    def paths(self) -> dict[str, int]:
        """Requests by path, as far as they have a box."""
        return {box.path: box.hits for box in self.boxes if box.y == ROW}


def draw(stacks: Iterable[Stack], scale: float) -> Flame:
    """The graph of all flush requests among ``stacks``; ``scale`` is how many requests are WIDTH wide."""
    ways = [((stack.path, *_callers(stack.frames)), stack.hits) for stack in stacks if stack.is_flush]
    boxes = tuple(_boxes(ways, "flush requests", "", 0.0, 0, WIDTH / scale)) if ways else ()
    return Flame(boxes, max((box.y for box in boxes), default=0) + ROW, _sum(ways))


def count(stacks: Iterable[Stack]) -> int:
    """All flush requests."""
    return sum(stack.hits for stack in stacks if stack.is_flush)


def _callers(frames: tuple[str, ...]) -> tuple[str, ...]:
    """The frames that tell something: neither those of the probe nor those of every system call."""
    inner = frames.index(REQUEST) + 1 if REQUEST in frames else 0
    return tuple(frame for frame in frames[inner:] if frame not in ENTRY)


def _boxes(ways: list[_Way], name: str, path: str, x: float, row: int, unit: float) -> Iterator[Box]:
    """The box of what all these ways have in common, and those of its callers below it, the widest first."""
    hits = _sum(ways)
    width = hits * unit
    if width < LEAST_WIDTH or row > MOST_ROWS:
        return
    yield Box(x, row * ROW, width, name, _fit(name, width), hits, path)
    callers: dict[str, list[_Way]] = {}
    for names, count in ways:
        if names:
            callers.setdefault(names[0], []).append((names[1:], count))
    for caller, below in sorted(callers.items(), key=lambda item: (-_sum(item[1]), item[0])):
        yield from _boxes(below, caller, path or caller, x, row + 1, unit)
        x += _sum(below) * unit


def _sum(ways: Iterable[_Way]) -> int:
    return sum(hits for _, hits in ways)


def _fit(name: str, width: float) -> str:
    letters = int((width - 6) / LETTER)
    if len(name) <= letters:
        return name
    return f"{name[: letters - 1]}…" if letters > 3 else ""
