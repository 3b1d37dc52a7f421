# SPDX-License-Identifier: GPL-2.0-or-later
"""What L1's kernel is told before each round, so that its own defaults do not decide what is measured.

``Setting`` is the one table of them. Kernels differ in their defaults by version and by configuration: the
classic LRU or MGLRU, huge pages for whoever asks or for all, a DAMON that runs by itself. A file that this
kernel does not have is recorded as that.
"""

from __future__ import annotations

import re
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from guestloop.ground.errors import GuestError

NOT_HERE = "not in this kernel"

_CHOSEN = re.compile(r"\[([^]]*)\]")
_TRUE, _FALSE = frozenset({"1", "Y", "y", "true"}), frozenset({"0", "N", "n", "false"})


class Setting(StrEnum):
    """A setting of the kernel: its name, its file below ROOT, and what it has unless a cell wants another.

    ``min_free_kbytes`` is what a kernel with THP computes for an L1 of 2 GiB, so that it stays when THP is
    switched (mm/khugepaged.c: set_recommended_min_free_kbytes).
    """

    file: str
    usual: str

    # The defaults are there for mypy, which takes Setting("thp.enabled") for a call of this.
    def __new__(cls, value: str, file: str = "", usual: str = "") -> Setting:
        member = str.__new__(cls, value)
        member._value_, member.file, member.usual = value, file, usual
        return member

    THP = "thp.enabled", "sys/kernel/mm/transparent_hugepage/enabled", "never"
    THP_DEFRAG = "thp.defrag", "sys/kernel/mm/transparent_hugepage/defrag", "madvise"
    THP_SHMEM = "thp.shmem_enabled", "sys/kernel/mm/transparent_hugepage/shmem_enabled", "never"
    LRU_GEN = "lru_gen.enabled", "sys/kernel/mm/lru_gen/enabled", "0"
    LRU_GEN_MIN_TTL_MS = "lru_gen.min_ttl_ms", "sys/kernel/mm/lru_gen/min_ttl_ms", "0"
    DAMON_STAT = "damon_stat.enabled", "sys/module/damon_stat/parameters/enabled", "N"
    DAMON_RECLAIM = "damon_reclaim.enabled", "sys/module/damon_reclaim/parameters/enabled", "N"
    DAMON_LRU_SORT = "damon_lru_sort.enabled", "sys/module/damon_lru_sort/parameters/enabled", "N"
    KSM = "ksm.run", "sys/kernel/mm/ksm/run", "0"
    ZSWAP = "zswap.enabled", "sys/module/zswap/parameters/enabled", "N"
    NUMA_BALANCING = "numa_balancing", "proc/sys/kernel/numa_balancing", "0"
    SWAPPINESS = "swappiness", "proc/sys/vm/swappiness", "60"
    # Each page that comes back from swap is a fault of its own.
    PAGE_CLUSTER = "page_cluster", "proc/sys/vm/page-cluster", "0"
    MIN_FREE = "min_free_kbytes", "proc/sys/vm/min_free_kbytes", "45056"
    WATERMARK_BOOST = "watermark_boost_factor", "proc/sys/vm/watermark_boost_factor", "15000"
    WATERMARK_SCALE = "watermark_scale_factor", "proc/sys/vm/watermark_scale_factor", "10"
    # Compaction in the background moves pages of guests, which is a flush for each.
    COMPACTION = "compaction_proactiveness", "proc/sys/vm/compaction_proactiveness", "0"
    OVERCOMMIT = "overcommit_memory", "proc/sys/vm/overcommit_memory", "0"

    def agrees(self, wanted: str, seen: str) -> bool:
        """Is ``seen``, as ``Settings`` reads it, what was asked for?

        MGLRU is a set of bits, and a kernel or CPU may lack some (mm/vmscan.c: enabled_show).
        """
        if self is Setting.LRU_GEN:
            asked, got = int(wanted, 0), int(seen, 0)
            return not got & ~asked and bool(got) == bool(asked)
        if wanted in ("Y", "N"):
            return seen in (_TRUE if wanted == "Y" else _FALSE)
        return seen == wanted


HUGE_PAGES = {Setting.THP: "madvise"}
"""Huge pages for whoever asks for them, as QEMU does for a guest's RAM (softmmu/physmem.c: ram_block_add)."""


class Settings:
    """Service: the settings of L1's kernel. ``root`` is where /proc and /sys are."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def lay_ground(self) -> dict[str, str]:
        """Have every setting as usual; returns what reads back, by name. Raises what ``change`` raises."""
        return self.change({setting: setting.usual for setting in Setting})

    def change(self, wanted: dict[Setting, str]) -> dict[str, str]:
        """Have these settings like this; returns what reads back, by name.

        Raises GuestError when the kernel refuses one or it reads back otherwise.
        """
        for setting, value in wanted.items():
            self._write(setting, value)
        seen = {setting.value: self.read(setting) for setting in wanted}
        for setting, value in wanted.items():
            self._check(setting, value, seen[setting])
        return seen

    def read(self, setting: Setting) -> str:
        """The value now; of a choice the one in brackets. NOT_HERE without the file."""
        text = self._read_file(setting)
        if text is None:
            return NOT_HERE
        chosen = _CHOSEN.search(text)
        return chosen[1] if chosen else text.strip()

    def _read_file(self, setting: Setting) -> str | None:
        with suppress(FileNotFoundError):
            return (self._root / setting.file).read_text()
        return None

    def _write_file(self, setting: Setting, value: str) -> None:
        (self._root / setting.file).write_text(value)

    def _write(self, setting: Setting, value: str) -> None:
        """Only what differs: to be told what it does already, a kernel may refuse (EBUSY)."""
        seen = self.read(setting)
        if seen == NOT_HERE or setting.agrees(value, seen):
            return
        try:
            self._write_file(setting, value)
        except OSError as error:
            raise GuestError(f"L1's kernel refuses {value} in /{setting.file}: {error.strerror}") from error

    def _check(self, setting: Setting, value: str, seen: str) -> None:
        if seen != NOT_HERE and not setting.agrees(value, seen):
            raise GuestError(f"/{setting.file}: {value} was written, {seen} reads back")
