# SPDX-License-Identifier: GPL-2.0-or-later
"""How far each kernel of a run got."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from guestloop.compare.expectations import ExpectationVerdict
from guestloop.ground.errors import Kind
from guestloop.results.findings import FindingKind
from guestloop.results.provenance import Failure
from guestloop.results.records import VMLINUX_BUILD_ID, Round


class KernelState(StrEnum):
    """How far a kernel got."""

    MEASURED = "measured"
    NOT_APPLIED = "not-applied"
    NOT_BUILT = "not-built"
    NOT_BOOTED = "not-booted"


@dataclass(frozen=True)
class KernelVerdict:
    """What a run shows about one kernel itself.

    ``identity`` is the build id of its vmlinux as it was read back in L1, empty when no L1 ran. ``late`` has
    the lines in which its L1 complained, or panicked, after its last round. ``reason`` says why a kernel did
    not boot, and ``console`` how its console ended then; or why there was no kernel, with the hunk or the
    compiler's lines in ``details``. ``absent_paths`` are the call paths that it has no functions for, as far
    as a round has looked. ``expectations`` are what its series is for, and what came of it.
    ``regression``: it does not compile or boot, and the reference, which is another build, does.
    """

    state: KernelState
    identity: str
    late: tuple[str, ...] = ()
    reason: str = ""
    console: tuple[str, ...] = ()
    absent_paths: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    expectations: tuple[ExpectationVerdict, ...] = ()
    regression: bool = False

    @property
    def booted(self) -> bool:
        return self.state is KernelState.MEASURED


def describe_failure(failure: Failure) -> KernelVerdict:
    """The state of a kernel that could not be built. One that cannot be configured is not built either."""
    state = KernelState.NOT_APPLIED if failure.kind is Kind.NOT_APPLIED else KernelState.NOT_BUILT
    return KernelVerdict(state, "", reason=failure.reason, details=failure.details)


def describe_kernel(rounds: Sequence[Round], late: Sequence[str] = ()) -> KernelVerdict:
    """The state of a kernel from all rounds on it: it did not boot when that is why each of them failed."""
    identities = (item.facts.get(VMLINUX_BUILD_ID, "") for item in rounds)
    identity = next(filter(None, identities), "")
    absent = tuple(dict.fromkeys(path for item in rounds for path in item.absent_paths))
    said = [_why_not_booted(item) for item in rounds]
    if not said or not all(said):
        return KernelVerdict(KernelState.MEASURED, identity, tuple(late), absent_paths=absent)
    reason, *console = said[0].splitlines()
    return KernelVerdict(KernelState.NOT_BOOTED, identity, tuple(late), reason, tuple(console))


def _why_not_booted(item: Round) -> str:
    """Empty when it did."""
    said = (finding.text for finding in item.findings if finding.kind is FindingKind.NOT_BOOTED)
    return next(said, "")
