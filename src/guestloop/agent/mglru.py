# SPDX-License-Identifier: GPL-2.0-or-later
"""Multi-gen LRU through its debugfs file (Documentation/admin-guide/mm/multigen_lru.rst): age, evict."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guestloop.agent.guests import Roster
from guestloop.ground.errors import GuestError

CONTROL = Path("/sys/kernel/debug/lru_gen")
# Anonymous pages only, in kernels that have a word for it (mm/vmscan.c: lru_gen_seq_write); in others 200 is
# as near to it as they come.
SWAPPINESS = ("max", "200")
EVERYTHING = 1 << 30


@dataclass(frozen=True)
class Generations:
    """The generations of one memory cgroup on node 0: anonymous pages by generation number."""

    memcg: int
    anon: Mapping[int, int]

    @property
    def youngest(self) -> int:
        return max(self.anon)


def parse_generations(text: str, cgroup: str) -> Generations | None:
    """What the file says about a cgroup (its path, ``/l2-name``); None when it is not there."""
    memcg, inside, anon = 0, False, dict[int, int]()
    for line in text.splitlines():
        words = line.split()
        if words[0] == "memcg":
            inside = words[2:] == [cgroup]
            memcg = int(words[1]) if inside else memcg
        elif inside and words[0] != "node":
            anon[int(words[0])] = int(words[2])
    return Generations(memcg, anon) if anon else None


def read_generations(cgroup: str) -> Generations:
    """The generations of a cgroup now. Raises LookupError when MGLRU does not know it."""
    found = parse_generations(CONTROL.read_text(), cgroup)
    if found is None:
        raise LookupError(f"{CONTROL} knows no cgroup {cgroup}")
    return found


class Mglru:
    """Service: the multi-gen LRU, aged and evicted by hand."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def lacks(self) -> str:
        """Why this L1 cannot do it; empty when it can."""
        return "" if CONTROL.exists() else "L1's kernel has no CONFIG_LRU_GEN (or no debugfs)"

    def age(self, name: str) -> dict[int, int]:
        """Begin a new generation: used pages move to what was the youngest. Returns pages by generation.

        Raises GuestError when none was begun: some kernels say so and others do not (mm/vmscan.c: run_aging).
        """
        cgroup = self._cgroup(name)
        before = read_generations(cgroup)
        _command(f"+ {before.memcg} 0 {before.youngest}", "1")
        after = read_generations(cgroup)
        if after.youngest <= before.youngest:
            raise GuestError(f"MGLRU began no generation of {cgroup} after {before.youngest}")
        return dict(after.anon)

    def evict(self, name: str) -> None:
        """Page out all but the two youngest generations (a kernel evicts no younger ones)."""
        now = read_generations(self._cgroup(name))
        _command(f"- {now.memcg} 0 {now.youngest - 2}", f"{EVERYTHING}")

    def _cgroup(self, name: str) -> str:
        """The path of an L2's cgroup, as MGLRU calls it."""
        return f"/{self._roster[name].cgroup.name}"


def _command(which: str, option: str) -> None:
    """Give a command with the first swappiness that the kernel accepts.

    Raises GuestError with all refusals.
    """
    refusals: list[str] = []
    for swappiness in SWAPPINESS:
        line = f"{which} {swappiness} {option}"
        try:
            _write(line)
        except OSError as error:
            refusals.append(f"MGLRU refused {line!r} in {CONTROL}: {error.strerror}")
        else:
            return
    raise GuestError("; ".join(refusals))


def _write(line: str) -> None:
    file = os.open(CONTROL, os.O_WRONLY)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
