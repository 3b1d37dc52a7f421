# SPDX-License-Identifier: GPL-2.0-or-later
"""How far each kernel of a run got."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from guestloop.results.findings import FindingKind
from guestloop.results.records import VMLINUX_BUILD_ID, Round


class KernelState(StrEnum):
    """How far a kernel got.

    Today a run stops at a series that does not apply or build, so that a verdict has only ``measured``
    and ``not-booted``.
    """

    MEASURED = "measured"
    NOT_APPLIED = "not-applied"
    NOT_BUILT = "not-built"
    NOT_BOOTED = "not-booted"


@dataclass(frozen=True)
class KernelVerdict:
    """What a run shows about one kernel itself.

    ``identity`` is the build id of its vmlinux as it was read back in L1, empty when no L1 ran. ``late`` has
    the lines in which its L1 complained, or panicked, after its last round.
    """

    state: KernelState
    identity: str
    late: tuple[str, ...] = ()


def describe_kernel(rounds: Sequence[Round], late: Sequence[str] = ()) -> KernelVerdict:
    """The state of a kernel from all rounds on it: it did not boot when that is why each of them failed."""
    stopped = bool(rounds) and all(_did_not_boot(item) for item in rounds)
    state = KernelState.NOT_BOOTED if stopped else KernelState.MEASURED
    identities = (item.facts.get(VMLINUX_BUILD_ID, "") for item in rounds)
    return KernelVerdict(state, next(filter(None, identities), ""), tuple(late))


def _did_not_boot(item: Round) -> bool:
    return any(finding.kind is FindingKind.NOT_BOOTED for finding in item.findings)
