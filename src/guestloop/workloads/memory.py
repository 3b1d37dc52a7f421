"""What several workloads do with an L2's memory: check it, and have KVM log its writes."""

from __future__ import annotations

from guestloop.ground.wait import wait_for
from guestloop.lab.client import L2
from guestloop.workloads.measuring import Measuring

CHECK_S = 120.0
# QEMU's longest; the L2 ends before.
DIRTY_LOG_S = 60
# A round is a second of the clock; the rest is for a machine that is busy.
DIRTY_ROUND_S = 120.0


def check_contents(this: Measuring, l2: L2) -> None:
    """Every byte of every page of the load must be what was last written to it."""
    lines = l2.command("check", until="checked", timeout_s=CHECK_S)
    checked = dict(word.split("=", 1) for word in lines[-1].split()[1:])
    pages, bad = int(checked["pages"]), int(checked["bad"])
    this.events["pages_checked"] = pages
    this.judge(bad == 0, f"{bad} of {pages} pages hold wrong data: {'; '.join(lines[:-1][:4])}")
    if pages == 0:
        this.invalidate("no page was checked")


def start_dirty_log(this: Measuring, l2: L2) -> None:
    """Have KVM log dirty pages for a minute, by QEMU's measuring of the dirty rate.

    QEMU's migration/dirtyrate.c (calculate_dirtyrate_dirty_bitmap) starts the global dirty log, clears
    it once, which write-protects what is mapped, and stops it at the end.
    """
    arguments = {"calc-time": DIRTY_LOG_S, "mode": "dirty-bitmap"}
    l2.call("qmp", command="calc-dirty-rate", arguments=arguments)
    wait_for("QEMU to log dirty pages", lambda: _is_logging(l2) or None, 10.0)
    this.facts["dirty_log"] = "on"


def dirty_round(l2: L2) -> int:
    """One round of the dirty log, of a second: all is write-protected, then the log is read. Gives 1."""
    arguments = {"calc-time": 1, "mode": "dirty-bitmap"}
    l2.call("qmp", command="calc-dirty-rate", arguments=arguments)
    # The status stays at "unstarted" until QEMU's thread for it runs, so only "measured" is the end.
    wait_for("QEMU to read the dirty log", lambda: _dirty_rate(l2) == "measured" or None, DIRTY_ROUND_S)
    return 1


def prove_dirty_log(this: Measuring, l2: L2) -> None:
    """The round is invalid unless dirty pages are still logged."""
    if not _is_logging(l2):
        this.invalidate("dirty logging ended before the work did")


def _is_logging(l2: L2) -> bool:
    return _dirty_rate(l2) == "measuring"


def _dirty_rate(l2: L2) -> str:
    """DirtyRateStatus of QEMU's qapi/migration.json: unstarted, measuring, measured."""
    return str(l2.call("qmp", command="query-dirty-rate", arguments={})["status"])
