# SPDX-License-Identifier: GPL-2.0-or-later
"""The frequency of this host's time-stamp counter, which is also that of an emulated CPU.

QEMU's emulator answers RDTSC with the host's counter (accel/tcg and softmmu/cpu-timers.c: cpu_get_ticks). A
kernel that boots in it calibrates that counter against timers that are emulated too, and on a busy host
these come late: an L1 found 414 MHz in place of 2445, and its clock ran six times too fast from then on, as
did every time limit in it. So it is told the frequency, measured here where nothing is emulated.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

X86 = frozenset({"x86_64", "amd64"})
# rdtsc; shl $32,%rdx; or %rdx,%rax; ret
READ_TSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")
APART_S = 0.1
TRIES = 500

Clock = Callable[[], int]


class Instant(NamedTuple):
    """A value of the counter, and of CLOCK_MONOTONIC_RAW in nanoseconds, at the same time."""

    ticks: int
    ns: int


def measure_tsc_khz() -> int:
    """Ticks of the counter in a millisecond; 0 where it cannot be read (not x86, no executable memory)."""
    if platform.machine().lower() not in X86:
        return 0
    try:
        with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as code:
            code.write(READ_TSC)
            return _khz(_reader(code))
    except OSError:
        return 0


def _reader(code: mmap.mmap) -> Clock:
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    function = ctypes.CFUNCTYPE(ctypes.c_uint64)(address)
    return lambda: int(function())


def _khz(read_ticks: Clock) -> int:
    first = take_instant(read_ticks)
    threading.Event().wait(APART_S)
    return khz_between(first, take_instant(read_ticks))


def take_instant(read_ticks: Clock, read_ns: Clock | None = None) -> Instant:
    """Read both clocks; of many tries the one that took least time, as others were interrupted."""
    now = read_ns or (lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW))
    best: tuple[int, Instant] | None = None
    for _ in range(TRIES):
        before, ticks, after = now(), read_ticks(), now()
        if best is None or after - before < best[0]:
            best = after - before, Instant(ticks, (before + after) // 2)
    assert best
    return best[1]


def khz_between(first: Instant, second: Instant) -> int:
    """The frequency that two instants show, in kHz."""
    return round((second.ticks - first.ticks) * 1_000_000 / (second.ns - first.ns))
