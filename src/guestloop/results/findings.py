# SPDX-License-Identifier: GPL-2.0-or-later
"""What a round can find or fail on, as data: verdicts read kinds, people read texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Bearing(StrEnum):
    """What a finding means for the round that it was made in."""

    WRONG = "wrong"
    """About the kernel: the correctness of the round is ``fail``."""

    INVALID = "invalid"
    """About the round: it proves nothing."""

    SKIPPED = "skipped"
    """About what is there: the machine or the kernel lacks something that the cell needs."""


class FindingKind(StrEnum):
    """The kinds of findings; each knows its bearing, and its meaning in words.

    What a kernel does wrong comes first. An L1 that never came up is kept apart from one that broke
    later: no guest ran on it, so nothing is known about how it treats one.
    """

    bearing: Bearing
    meaning: str

    # The defaults are there for mypy, which takes FindingKind("contents") for a call of this.
    def __new__(cls, value: str, bearing: Bearing = Bearing.INVALID, meaning: str = "") -> FindingKind:
        member = str.__new__(cls, value)
        member._value_, member.bearing, member.meaning = value, bearing, meaning
        return member

    CONTENTS = "contents", Bearing.WRONG, "memory of the guest holds wrong data, or was lost"
    STUCK = "stuck", Bearing.WRONG, "a vCPU stands still although L1 had the time to serve it"
    WARNING = "warning", Bearing.WRONG, "the L1 kernel printed a warning"
    GUEST_CRASHED = "guest-crashed", Bearing.WRONG, "the L2 guest panicked, or reset without being asked"
    L1_PANICKED = "l1-panicked", Bearing.WRONG, "the L1 kernel panicked during the round"
    L1_REBOOTED = "l1-rebooted", Bearing.WRONG, "L1 rebooted without being asked"
    RATES = "rates", Bearing.WRONG, "far more pages than usual were taken for idle or for young"

    NOT_BOOTED = "not-booted", Bearing.INVALID, "L1 did not boot as far as its agent"
    GUEST_KILLED = "guest-killed", Bearing.INVALID, "the QEMU of the L2 guest was killed from outside"
    GUEST_FAILED = "guest-failed", Bearing.INVALID, "the QEMU of the L2 guest ended with an error of its own"
    MIGRATION_FAILED = "migration-failed", Bearing.INVALID, "a migration ended otherwise than it was meant to"
    L1_ENDED = "l1-ended", Bearing.INVALID, "the QEMU of L1 was killed, or ended with an error of its own"
    MACHINE_FAULT = "machine-fault", Bearing.INVALID, "L1 died of a known fault of the machine that runs it"
    TIMED_OUT = "timed-out", Bearing.INVALID, "a deadline passed, and the kernel is not known to be the cause"
    LINK_LOST = "link-lost", Bearing.INVALID, "the connection to L1 or to its agent broke"
    REFUSED = "refused", Bearing.INVALID, "QEMU refused a command"
    NOT_PROVEN = "not-proven", Bearing.INVALID, "the round cannot prove that it did its work"
    INCONSISTENT_COUNT = (
        "inconsistent-count",
        Bearing.INVALID,
        "the call paths do not account for KVM's own counter",
    )
    LAB = "lab", Bearing.INVALID, "something else broke on this machine or in guestloop"
    INTERRUPTED = "interrupted", Bearing.INVALID, "the round was ended before it was done"

    LACKING = "lacking", Bearing.SKIPPED, "the machine or the kernel lacks something that the cell needs"


@dataclass(frozen=True)
class Finding:
    """One thing that a round found or failed on; the first line of ``text`` stands alone."""

    kind: FindingKind
    text: str


def parse_finding(data: Mapping[str, Any]) -> Finding:
    """The inverse of ``asdict`` for a finding. Raises ValueError for an unknown kind."""
    return Finding(FindingKind(data["kind"]), data["text"])
