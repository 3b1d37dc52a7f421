# SPDX-License-Identifier: GPL-2.0-or-later
"""A cell has the sizes of pages that it names, and proves it."""

from __future__ import annotations

import pytest
from scripted.lab import ScriptedLab, cell, lab

from guestloop.agent.page_sizes import huge_bytes
from guestloop.agent.settings import Setting
from guestloop.results.findings import FindingKind

__all__ = ["lab"]  # a fixture

# Of a QEMU on Linux 6.1, in part.
ROLLUP = """\
558d5f4a6000-7ffc2d9e1000 ---p 00000000 00:00 0                          [rollup]
Rss:              151552 kB
Anonymous:        143360 kB
AnonHugePages:    {thp} kB
ShmemPmdMapped:       {shmem} kB
FilePmdMapped:        0 kB
Shared_Hugetlb:       0 kB
Private_Hugetlb:   {hugetlb} kB
Swap:                  0 kB
"""
SMALL = [("asyncpf", {}), ("aging", {"driver": "page-idle"}), ("migration", {})]


def test_huge_pages_of_every_kind_count() -> None:
    assert huge_bytes(ROLLUP.format(thp=0, shmem=0, hugetlb=0)) == 0
    assert huge_bytes(ROLLUP.format(thp=2048, shmem=4096, hugetlb=8192)) == 14 << 20


@pytest.mark.parametrize(("test", "variant"), SMALL)
def test_small_pages_are_proven(lab: ScriptedLab, test: str, variant: dict[str, str]) -> None:
    lab.script.defaults = {Setting.THP: "always"}
    ended = lab.measure(cell(test, **variant))
    assert ended.kinds == []
    proofs = {name: value for name, value in ended.record.facts.items() if name.endswith(".pages")}
    assert set(proofs.values()) == {"4k=900 2m=0 huge=0"}
    assert len(proofs) == (2 if test == "migration" else 1), "also where it was migrated to"


@pytest.mark.parametrize(("test", "variant"), SMALL)
def test_a_huge_page_makes_the_round_invalid(lab: ScriptedLab, test: str, variant: dict[str, str]) -> None:
    lab.script.stray_huge_pages = True
    ended = lab.measure(cell(test, **variant))
    assert set(ended.kinds) == {FindingKind.NOT_PROVEN}
    assert "pages of 4k were wanted, seen: " in ended.record.reason
    assert " of 2m mapped by KVM, " in ended.record.reason


@pytest.mark.parametrize(("test", "variant"), [("asyncpf", {"way": "thp"}), ("migration", {"pages": "2m"})])
@pytest.mark.parametrize(("share", "kinds"), [(1.0, []), (0.0, [FindingKind.NOT_PROVEN])])
def test_huge_pages_are_proven(
    lab: ScriptedLab, test: str, variant: dict[str, str], share: float, kinds: list[FindingKind]
) -> None:
    lab.script.huge_pages = share
    ended = lab.measure(cell(test, **variant))
    assert ended.kinds == kinds
    assert (ended.record.events["huge_pages"] > 0) is bool(share)
