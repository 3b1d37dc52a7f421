"""Start the agent: ``python3 -m guestloop.agent PORT DIRECTORY`` in L1, as root."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from guestloop.agent import counters, memory
from guestloop.agent.aging import Aging
from guestloop.agent.guests import Guests
from guestloop.agent.migration import Migration
from guestloop.agent.modules import Kvm, build_id
from guestloop.agent.trace import Trace
from guestloop.ground.rpc import Methods, Server


def hello() -> dict[str, Any]:
    """Facts about L1 that L0 checks against what it booted."""
    return {
        "release": os.uname().release,
        "build_id": build_id("vmlinux"),
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "cpus": os.cpu_count(),
        "uptime_s": float(Path("/proc/uptime").read_text().split()[0]),
    }


def swap_on(serial: str) -> int:
    """Use the disk with this serial as swap; gives the swap space in KiB.

    Read-ahead from swap is switched off: each page is then a fault of its own.
    """
    Path("/proc/sys/vm/page-cluster").write_text("0")
    for disk in Path("/sys/block").iterdir():
        file = disk / "serial"
        if file.exists() and file.read_text().strip() == serial:
            return memory.swap_on(Path("/dev") / disk.name)
    raise LookupError(f"no disk has the serial {serial!r}")


def main() -> None:
    """Serve until L1 goes away."""
    port, directory = int(sys.argv[1]), Path(sys.argv[2])
    trace = Trace()
    kvm, guests = Kvm(directory / "modules", trace), Guests(directory / "l2")
    methods = Methods()
    methods.add("agent", hello)
    methods.add("kvm", kvm.load, kvm.unload)
    methods.add("memory", swap_on, counters.read_vmstat)
    methods.add("trace", trace.read)
    methods.add(
        "guests",
        guests.launch,
        guests.start,
        guests.command,
        guests.listen,
        guests.qmp,
        guests.counters,
        guests.console,
        guests.page_out,
        guests.stop,
        guests.stop_all,
    )
    aging = Aging(guests)
    methods.add(
        "aging",
        aging.lacks,
        aging.huge_pages,
        aging.watch,
        aging.move_vcpus,
        aging.mark,
        aging.idle,
        aging.swapped,
        aging.flagged,
        aging.reclaim,
        aging.mglru,
        aging.generation,
        aging.evict,
        aging.damon_start,
        aging.damon_watch,
        aging.damon_seen,
        aging.damon_stop,
    )
    migration = Migration(guests, trace)
    methods.add(
        "migration",
        migration.prepare,
        migration.pause,
        migration.begin,
        migration.release,
        migration.wait,
        migration.mark,
        migration.take_marks,
        migration.evidence,
        migration.compare,
        migration.progress,
        migration.pin,
        migration.huge_pages,
        migration.connections,
        migration.break_at,
        migration.small_tmpfs,
    )
    Server(port, methods).serve_forever()


if __name__ == "__main__":
    main()
