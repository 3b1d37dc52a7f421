# SPDX-License-Identifier: GPL-2.0-or-later
"""Who says whether a page was lost: the whole RAM, compared from outside, and the guest's own stamps."""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guestloop.ground.errors import GuestError
from guestloop.ground.units import PAGE
from guestloop.results.findings import FindingKind
from guestloop.workloads.measuring import Measuring
from guestloop.workloads.migration.explained import Area, areas_of, cause_of
from guestloop.workloads.migration.ledger import Entry, round_at, when_visited
from guestloop.workloads.migration.stamps import Layout, describe, own_words, page_of, visit_order

if TYPE_CHECKING:
    from guestloop.lab.client import L2

__all__ = ["Layout", "compare_ram", "read_areas"]

REPORTED = 4


def read_areas(guest: L2) -> list[Area]:
    """Where KVM writes into this guest's memory, as it told KVM when it booted."""
    threads = {cpu["thread-id"] for cpu in guest.qmp("query-cpus-fast")}
    histogram = guest.l1.agent.trace.read().get("kvm_msr")
    if histogram is None:
        raise GuestError("this L1 does not count the guest's writes of MSRs (tracepoint kvm:kvm_msr)")
    return areas_of(histogram, threads)


@dataclass(frozen=True)
class Difference:
    """A page whose contents differ at source and destination."""

    number: int
    source: bytes
    destination: bytes


@dataclass(frozen=True)
class Known:
    """What is known of the load from outside: the region, the reports on the source, and the dirty rounds."""

    layout: Layout
    ledger: Sequence[Entry]
    rounds: Mapping[str, float]


def compare_ram(this: Measuring, guest: L2, areas: Sequence[Area], known: Known, prefix: str = "") -> None:
    """Every byte of both RAM files must be the same, unless KVM is known to have written it.

    ``prefix`` is that of the hop: it begins the names of the facts, and of the file with the lost pages.
    """
    started = time.monotonic()
    found = guest.l1.agent.migration.compare()
    this.facts[f"{prefix}ram_compare_s"] = f"{time.monotonic() - started:.2f}"
    this.add_event("pages_compared", found.compared)
    differences = [
        Difference(number, *(b64decode(content) for content in pair))
        for number, pair in zip(found.differing, found.contents, strict=False)
    ]
    causes = {
        item.number: cause_of(areas, item.number, item.source, item.destination) for item in differences
    }
    explained = [f"{number * PAGE:#x}: {cause}" for number, cause in causes.items() if cause]
    this.facts[f"{prefix}ram_explained"] = "; ".join(explained) or "nothing"
    # Pages of the load first: of those it can be told what is wrong.
    lost = [item for item in differences if not causes[item.number]]
    lost.sort(key=lambda item: page_of(known.layout, item.source) is None)
    # Pages beyond those whose contents were reported cannot be explained by anything.
    count = len(found.differing) - len(explained)
    this.add_event("pages_lost", count)
    this.judge(
        count == 0,
        FindingKind.CONTENTS,
        f"{count} pages were lost: {'; '.join(render_lost(lost[:REPORTED], known))}",
    )
    if count:
        this.keep(f"{prefix}lost-pages.txt", "\n".join(render_lost(lost, known)) + "\n")


def render_lost(lost: Sequence[Difference], known: Known) -> list[str]:
    """Each lost page: address, both contents as stamps, and the dirty rounds of their writing."""
    return [
        f"{item.number * PAGE:#x}: source {describe(known.layout, item.source)}, "
        f"destination {describe(known.layout, item.destination)}{'; '.join(['', *rounds_of(item, known)])}"
        for item in lost
    ]


def rounds_of(item: Difference, known: Known) -> Iterator[str]:
    """When a vCPU wrote what the destination lacks, for loads that visit pages in their known order."""
    page = page_of(known.layout, item.source)
    if page is None:
        return
    order = visit_order(known.layout).index(page)
    pairs = zip(
        own_words(known.layout, page, item.source),
        own_words(known.layout, page, item.destination),
        strict=True,
    )
    for vcpu, (source, destination) in enumerate(pairs):
        if source == destination or not source.told:
            continue
        at_s = when_visited(known.ledger, vcpu, (source.told - 1) * known.layout.pages + order + 1)
        when = "after the last report" if at_s is None else f"in {round_at(known.rounds, at_s)}"
        yield f"v{vcpu} wrote it {when}"
