# SPDX-License-Identifier: GPL-2.0-or-later
"""What several workloads do with an L2's memory: check it, and have KVM log its writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestloop.ground.wait import wait_for
from guestloop.ground.words import parse_words
from guestloop.results.findings import FindingKind
from guestloop.workloads.measuring import Measuring

if TYPE_CHECKING:
    from guestloop.lab.client import L2

DIRTY_LOG_S = 60
"""QEMU's longest measurement of the dirty rate; the L2 ends before."""

DIRTY_ROUND_S = 120.0
"""A round takes a second of the clock; the rest is for a machine that is busy."""

REPORTED = 4


def check_contents(this: Measuring, l2: L2, when: str = "") -> None:
    """Every byte of every page of the load must be what was last written to it.

    The payload compares them with what its ledger says was written. ``when`` begins a finding's text.
    """
    lines = l2.command("check", until="checked")
    checked = parse_words(lines[-1])
    pages, bad = int(checked["pages"]), int(checked["bad"])
    this.events["pages_checked"] = pages
    wrong = [line for line in lines if line.startswith("bad ")]
    what = f"{bad} of {pages} pages hold wrong data: {'; '.join(wrong[:REPORTED])}"
    this.judge(bad == 0, FindingKind.CONTENTS, f"{when}, {what}" if when else what)
    if pages == 0:
        this.find(FindingKind.NOT_PROVEN, "no page was checked")


def start_dirty_log(this: Measuring, l2: L2) -> None:
    """Have KVM log dirty pages for a minute, by QEMU's measurement of the dirty rate.

    QEMU's migration/dirtyrate.c (calculate_dirtyrate_dirty_bitmap) starts the global dirty log, clears
    it once, which write-protects what is mapped, and stops it at the end.
    """
    l2.qmp("calc-dirty-rate", calc_time=DIRTY_LOG_S, mode="dirty-bitmap")
    wait_for("QEMU to log dirty pages", lambda: _is_logging(l2) or None, DIRTY_ROUND_S)
    this.facts["dirty_log"] = "on"


def dirty_round(l2: L2) -> None:
    """One round of the dirty log, of a second: all is write-protected, then the log is read."""
    l2.qmp("calc-dirty-rate", calc_time=1, mode="dirty-bitmap")
    # The status stays at "unstarted" until QEMU's thread for it runs, so only "measured" is the end.
    wait_for("QEMU to read the dirty log", lambda: _dirty_rate(l2) == "measured" or None, DIRTY_ROUND_S)


def prove_dirty_log(this: Measuring, l2: L2) -> None:
    """The round is invalid unless dirty pages are still logged."""
    if not _is_logging(l2):
        this.find(FindingKind.NOT_PROVEN, "dirty logging ended before the work did")


def _is_logging(l2: L2) -> bool:
    return _dirty_rate(l2) == "measuring"


def _dirty_rate(l2: L2) -> str:
    """DirtyRateStatus of QEMU's qapi/migration.json: unstarted, measuring, measured."""
    return str(l2.qmp("query-dirty-rate")["status"])
