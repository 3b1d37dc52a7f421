# SPDX-License-Identifier: GPL-2.0-or-later
"""Proof that an L2's RAM is made of the pages that its cell names, whatever the defaults of L1's kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestloop.results.findings import FindingKind
from guestloop.workloads.measuring import Measuring

if TYPE_CHECKING:
    from guestloop.lab.client import L2


def prove_small(this: Measuring, l2: L2) -> None:
    """The round is invalid when any huge page is in its RAM, or mapped by KVM."""
    seen = l2.page_sizes()
    this.facts[f"l2.{l2.spec.name}.pages"] = f"4k={seen.mapped_4k} 2m={seen.mapped_2m} huge={seen.huge_pages}"
    if seen.mapped_2m or seen.huge_pages:
        text = (
            f"pages of 4k were wanted, seen: {seen.mapped_2m} of 2m mapped by KVM, "
            f"{seen.huge_pages} huge pages in QEMU"
        )
        this.find(FindingKind.NOT_PROVEN, text)


def prove_huge(this: Measuring, l2: L2, least: int) -> None:
    """The round is invalid unless so many huge pages of 2 MiB are in its RAM."""
    this.events["huge_pages"] = l2.page_sizes().huge_pages
    this.require("huge_pages", least)
