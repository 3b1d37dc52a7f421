# SPDX-License-Identifier: GPL-2.0-or-later
"""What rounds count beside flushes, as rates: shown next to a verdict, deciding nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guestloop.results.records import Round


@dataclass(frozen=True)
class Rate:
    """How often something happened: on the reference and on a candidate, None where nothing was counted.

    ``per`` is the event it is counted per. A ``share`` is a part of those events and at most 1.
    """

    name: str
    per: str
    share: bool
    values: tuple[float | None, float | None]

    def render(self) -> str:
        """``false idle 0.1 % -> 0.4 %``, or per event ``halts 1.200 -> 1.310``."""
        return f"{self.name} {' -> '.join(self._render(value) for value in self.values)}"

    def _render(self, value: float | None) -> str:
        if value is None:
            return "-"
        return f"{100 * value:.1f} %" if self.share else f"{value:.3f}"


@dataclass(frozen=True)
class _Ratio:
    """A rate as rounds have it: ``part`` is the name of an event or of a counter of KVM."""

    name: str
    part: str
    per: str
    share: bool = False


KNOWN = (
    _Ratio("false idle", "false_idle", "touched", share=True),
    _Ratio("false young", "false_young", "untouched", share=True),
    # What became of page faults (arch/x86/kvm/mmu/mmu_internal.h: kvm_mmu_do_page_fault), and HLT of the
    # guest: a vCPU that is notified of a fault and has nothing else to run halts until its page is ready.
    _Ratio("fixed faults", "pf_fixed", "page_ready"),
    _Ratio("spurious faults", "pf_spurious", "page_ready"),
    _Ratio("halts", "halt_exits", "page_ready"),
)


def rates_of(reference: Sequence[Round], tested: Sequence[Round]) -> tuple[Rate, ...]:
    """The known rates that these rounds hold; those per event only where flushes are counted per it too."""
    rates = [
        Rate(item.name, item.per, item.share, (_rate(reference, item), _rate(tested, item)))
        for item in KNOWN
        if item.share or any(one.event == item.per for one in (*reference, *tested))
    ]
    return tuple(rate for rate in rates if rate.values != (None, None))


def _rate(rounds: Sequence[Round], ratio: _Ratio) -> float | None:
    """None as well where a round does not have the part: what was not read is not zero."""
    parts = [{**item.counters, **item.events}.get(ratio.part) for item in rounds]
    whole = sum(item.events.get(ratio.per, 0) for item in rounds)
    counted = [part for part in parts if part is not None]
    return sum(counted) / whole if whole and len(counted) == len(parts) else None
