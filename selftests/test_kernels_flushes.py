# SPDX-License-Identifier: GPL-2.0-or-later
"""The number of KVM_REQ_TLB_FLUSH and the callers of the flush, from recorded output of objdump."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestloop.ground.errors import ConfigError
from guestloop.kernels.disassembly import OUTSIDE, Disassembly, Reference
from guestloop.kernels.flushes import find_flushes, unnamed_callers

DATA = Path(__file__).with_name("data") / "kernels"
FLUSH, REQUEST = "kvm_flush_remote_tlbs", "kvm_make_all_cpus_request"


def read(text: str, records: str = "") -> list[Reference]:
    disassembly = Disassembly()
    for line in text.splitlines():
        disassembly.line(line)
    for line in records.splitlines():
        disassembly.record(line)
    return list(disassembly.references())


def test_6_12_as_debian_builds_it() -> None:
    records = """\
RELOCATION RECORDS FOR [.rodata]:
OFFSET           TYPE              VALUE
0000000000000028 R_X86_64_64       .text+0x000000000000a1f0
RELOCATION RECORDS FOR [.orc_unwind_ip]:
OFFSET           TYPE              VALUE
0000000000000000 R_X86_64_PC32     .text+0x0000000000009e10
RELOCATION RECORDS FOR [__ksymtab_gpl]:
OFFSET           TYPE              VALUE
0000000000000000 R_X86_64_PC32     kvm_flush_remote_tlbs
"""
    flushes = find_flushes(read((DATA / "kvm-6.12.objdump").read_text(), records), "kvm.ko")
    assert flushes.request == 0x300
    assert flushes.callers == {
        FLUSH: (OUTSIDE, "kvm_flush_remote_tlbs_memslot"),
        "kvm_flush_remote_tlbs_memslot": (),
        REQUEST: (FLUSH,),
    }, "other requests (0x317, 0x319) are no flushes"


def test_who_calls_whom_in_6_12() -> None:
    seen = {(ref.function, ref.target) for ref in read((DATA / "kvm-6.12.objdump").read_text())}
    assert ("kvm_mmu_unmap_gfn_range", "kvm_unmap_gfn_range") in seen, "a tail call"
    assert ("kvm_unmap_gfn_range", "__kvm_rmap_zap_gfn_range") in seen, "a call that the assembler resolved"
    assert not any(caller == target for caller, target in seen), "jumps inside of a function"


def test_6_1_requests_with_the_wrapper_inlined() -> None:
    flushes = find_flushes(read((DATA / "kvm-6.1.objdump").read_text()), "kvm.ko")
    assert (flushes.request, flushes.callers[REQUEST]) == (0x300, (FLUSH,))


def function(name: str, *instructions: str, address: int = 0) -> str:
    lines = [f"{address:016x} <{name}>:", *(f"    {address:x}:\t{text}" for text in instructions), ""]
    return "\n".join(lines)


CALL = "call   5 <x+0x5>\n\t\t\t1: R_X86_64_PLT32\tkvm_make_all_cpus_request-0x4"


@pytest.mark.parametrize(
    ("instructions", "seen"),
    [
        (("mov    %ebx,%esi", CALL), "no constant"),
        (("mov    $0x300,%esi", "xor    %esi,%esi", CALL), "no constant"),
        (("mov    $0x300,%esi", CALL, "mov    $0x301,%esi", CALL), "0x300, 0x301"),
        (
            ("mov    $0x300,%esi", "call   5 <x+0x5>\n\t\t\t1: R_X86_64_PLT32\tsomething_else-0x4"),
            "no constant",
        ),
    ],
)
def test_what_is_not_understood_is_an_error_not_a_guess(instructions: tuple[str, ...], seen: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"KVM_REQ_TLB_FLUSH was not found: {FLUSH} passes {seen} to {REQUEST}"
    ):
        find_flushes(read(function(FLUSH, *instructions)), "kvm.ko")


def test_another_number_is_read_too() -> None:
    flush = function(FLUSH, "mov    $0x1007,%esi", CALL)
    other = function("kvm_mmu_notifier_change_pte.isra.0", "mov    $0x1007,%esi", CALL)
    cold = function("kvm_set_spte_gfn.cold", f"jmp    9 <{FLUSH}>", "jmp    9 <kvm_set_spte_gfn>")
    flushes = find_flushes(read(f"{flush}\n{other}\n{cold}"), "kvm.ko")
    assert flushes.request == 0x1007
    assert flushes.callers[REQUEST] == (FLUSH, "kvm_mmu_notifier_change_pte"), "one that gcc inlined it into"
    assert flushes.callers[FLUSH] == ("kvm_set_spte_gfn",)


def test_an_address_in_a_section_is_that_of_the_function_around_it() -> None:
    text = """\
Disassembly of section .text:

0000000000000000 <first>:
       0:\tret

0000000000000010 <second.part.0>:
      10:\tjmp    20 <third>
\t\t\t11: R_X86_64_PLT32\t.text.unlikely+0x1c
      15:\tmov    $0x0,%rdi
\t\t\t18: R_X86_64_32S\t.text+0x4
      1b:\tcall   20 <third>
\t\t\t1c: R_X86_64_PLT32\t__stack_chk_fail-0x4
      1d:\tmov    0x0(%rip),%rax        # 24 <third+0x4>
\t\t\t1f: R_X86_64_NONE\t*ABS*

Disassembly of section .text.unlikely:

0000000000000020 <third>:
      20:\tlea    0x0(%rip),%rsi        # 27 <third+0x7>
\t\t\t23: R_X86_64_PC32\t.rodata+0x4
      27:\tcall   0 <other>
"""
    seen = {(ref.function, ref.target) for ref in read(text)}
    assert seen == {
        ("second", "third"),
        ("second", "first"),
        ("second", "__stack_chk_fail"),
        ("second", "*ABS*"),
        ("third", "other"),
    }


def test_callers_that_no_path_names() -> None:
    callers = {
        REQUEST: (FLUSH, "new_requester"),
        FLUSH: ("kvm_flush_remote_tlbs_gfn", "kvm_vm_ioctl", OUTSIDE),
        "kvm_flush_remote_tlbs_gfn": ("mmu_set_spte", "set_new_thing", "dead_thing"),
        "mmu_set_spte": ("direct_page_fault",),
        "direct_page_fault": ("kvm_tdp_page_fault", OUTSIDE),
        "set_new_thing": ("loop", "kvm_mmu_page_fault"),
        "loop": ("set_new_thing", "new_ioctl"),
        "new_ioctl": (OUTSIDE,),
        "new_requester": (OUTSIDE,),
        "kvm_vm_ioctl": (OUTSIDE,),
        "dead_thing": (),
    }
    assert unnamed_callers(callers) == ("new_requester", "set_new_thing")
    assert unnamed_callers({}) == ()
