# SPDX-License-Identifier: GPL-2.0-or-later
"""The functions of KVM in /proc/kallsyms, on a text as a kernel prints it."""

from __future__ import annotations

from pathlib import Path

from guestloop.agent.symbols import read_functions

TEXT = """\
ffffffff81000000 T startup_64
ffffffff81a00000 T kvm_make_all_cpus_request
ffffffffc0300000 t virtblk_probe\t[virtio_blk]
ffffffffc0400000 T kvm_mmu_load\t[kvm]
ffffffffc0400100 t mmu_shrink_scan.isra.0\t[kvm]
ffffffffc0400200 t kvm_set_memslot.cold\t[kvm]
ffffffffc0400300 d kvm_stats\t[kvm]
ffffffffc0400400 r __ksymtab_kvm_mmu_load\t[kvm]
ffffffffc0500000 t svm_flush_tlb_asid\t[kvm_amd]
ffffffffc0600000 t irq_bypass_register_producer\t[irqbypass]
"""


def test_functions_of_kvm_without_suffixes(tmp_path: Path) -> None:
    (tmp_path / "kallsyms").write_text(TEXT)
    seen = read_functions(tmp_path / "kallsyms")
    assert seen == {"kvm_mmu_load", "mmu_shrink_scan", "kvm_set_memslot", "svm_flush_tlb_asid"}


def test_a_kernel_without_kvm_or_without_symbols(tmp_path: Path) -> None:
    (tmp_path / "kallsyms").write_text("ffffffff81000000 T startup_64\n")
    assert read_functions(tmp_path / "kallsyms") == read_functions(tmp_path / "none") == frozenset()
