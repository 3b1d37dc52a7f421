# SPDX-License-Identifier: GPL-2.0-or-later
"""The first error in make's output, as make, gcc, as, ld, modpost and kconfig print it."""

from __future__ import annotations

import pytest

from guestloop.kernels.diagnosis import LONGEST, diagnose

CHATTER = "  CC [M]  arch/x86/kvm/x86.o\n  AR      lib/lib.a\n"
GAVE_UP = """\
make[4]: *** [scripts/Makefile.build:229: arch/x86/kvm/mmu/mmu.o] Error 1
  CC      mm/swap_state.o
make[3]: *** [scripts/Makefile.build:478: arch/x86/kvm] Error 2
make[3]: *** Waiting for unfinished jobs....
"""

COMPILER = """\
In file included from include/linux/kvm_host.h:45,
                 from arch/x86/kvm/mmu/mmu.c:17:
arch/x86/kvm/mmu/mmu.c: In function 'mmu_spte_update':
arch/x86/kvm/mmu/mmu.c:521:17: error: 'flush_all' undeclared; did you mean 'flush'?
  521 |                 flush_all = true;
      |                 ^~~~~~~~~
      |                 flush
arch/x86/kvm/mmu/mmu.c:521:17: note: each undeclared identifier is reported only once
"""
HEADER = """\
arch/x86/kvm/mmu/mmu.c:18:10: fatal error: asm/no_such.h: No such file or directory
   18 | #include <asm/no_such.h>
      |          ^~~~~~~~~~~~~~~
compilation terminated.
"""
ASSEMBLER = """\
arch/x86/kvm/svm/vmenter.S: Assembler messages:
arch/x86/kvm/svm/vmenter.S:42: Error: no such instruction: `vmrunn %rax'
"""
LINKER = """\
ld: mm/rmap.o: in function `folio_referenced':
rmap.c:(.text+0x1f2): undefined reference to `kvm_age_all'
ld: mm/vmscan.o: in function `shrink_folio_list':
vmscan.c:(.text+0x88): undefined reference to `kvm_age_all'
"""
MODPOST = """\
ERROR: modpost: "kvm_tdp_mmu_nothing" [arch/x86/kvm/kvm.ko] undefined!
ERROR: modpost: "kvm_more_nothing" [arch/x86/kvm/kvm.ko] undefined!
"""
KCONFIG = """\
arch/x86/kvm/Kconfig:23: unknown statement "depnds"
arch/x86/kvm/Kconfig:24: syntax error
"""
CIRCLE = "arch/x86/kvm/Kconfig:20:error: recursive dependency detected!\n"
MAKEFILE = "arch/x86/kvm/Makefile:12: *** missing separator.  Stop.\n"
NO_RULE = "make[4]: *** No rule to make target 'arch/x86/kvm/no.o', needed by 'kvm.o'.  Stop.\n"
NOT_CLEAN = """\
*** The source tree is not clean, please run 'make mrproper'
*** in /work/source
"""
WERROR = """\
arch/x86/kvm/x86.c: In function 'f':
arch/x86/kvm/x86.c:7:6: error: unused variable 'x' [-Werror=unused-variable]
    7 |  int x;
      |      ^
cc1: all warnings being treated as errors
"""
OBJTOOL = "arch/x86/kvm/kvm.o: error: objtool: f+0x12: unannotated intra-function call\n"
GCC = "gcc: error: unrecognized command-line option '-fno-such'\n"


@pytest.mark.parametrize(
    ("printed", "first"),
    [
        (COMPILER, COMPILER.splitlines()[3]),
        (HEADER, HEADER.splitlines()[0]),
        (ASSEMBLER, ASSEMBLER.splitlines()[1]),
        (LINKER, LINKER.splitlines()[1]),
        (MODPOST, MODPOST.splitlines()[0]),
        (KCONFIG, KCONFIG.splitlines()[0]),
        (CIRCLE, CIRCLE.strip()),
        (MAKEFILE, MAKEFILE.strip()),
        (NO_RULE, NO_RULE.strip()),
        (WERROR, WERROR.splitlines()[1]),
        (OBJTOOL, OBJTOOL.strip()),
        (GCC, GCC.strip()),
    ],
)
def test_the_first_error_among_the_output_of_other_jobs(printed: str, first: str) -> None:
    later = printed.replace("arch/x86", "later")
    found = diagnose(f"{CHATTER}warning: nothing\n{printed}{GAVE_UP}{CHATTER}{later}{GAVE_UP}")
    assert (found.first, found.is_machine) == (first, False)
    assert not [line for line in found.lines if line.startswith(("  CC", "  AR", "make[3]", "later"))]


def test_an_error_comes_with_its_place_and_the_lines_of_the_source() -> None:
    lines = COMPILER.splitlines()
    assert diagnose(CHATTER + COMPILER + GAVE_UP).lines == (lines[3], *lines[:3], *lines[4:])


def test_what_the_kernels_own_makefile_says_is_said_first() -> None:
    """That a series brings a .config, as git add --all takes it along."""
    output = f"***\n{NOT_CLEAN}***\nmake[2]: *** [Makefile:659: outputmakefile] Error 1\n"
    assert diagnose(output).lines == tuple(NOT_CLEAN.splitlines())


def test_all_that_the_linker_or_modpost_miss_is_one_error() -> None:
    lines = LINKER.splitlines()
    assert diagnose(LINKER + GAVE_UP).lines == (lines[1], lines[0], *lines[2:])
    assert diagnose(MODPOST + GAVE_UP).lines == tuple(MODPOST.splitlines())


def test_an_error_of_many_lines_is_cut() -> None:
    many = "".join(f'ERROR: modpost: "f{number}" [a.ko] undefined!\n' for number in range(40))
    lines = diagnose(many).lines
    assert len(lines) == LONGEST + 1 and lines[-1] == f"({40 - LONGEST} more lines)"


def test_an_error_in_no_known_form_is_what_stands_before_make_gives_up() -> None:
    output = f"{CHATTER}tools/odd: line 3 is odd\n{GAVE_UP}{CHATTER}"
    found = diagnose(output)
    assert found.lines == ("tools/odd: line 3 is odd", GAVE_UP.splitlines()[0])
    assert diagnose("").lines == ("make said nothing",)


@pytest.mark.parametrize(
    "line",
    [
        "arch/x86/kvm/mmu/mmu.c:521:17: internal compiler error: Segmentation fault",
        "gcc: internal compiler error: Segmentation fault signal terminated program cc1",
        "gcc: fatal error: Killed signal terminated program cc1",
        "/usr/bin/gcc: fatal error: Killed signal terminated program cc1",
        "gcc: fatal error: cannot execute 'cc1': execvp: No such file or directory",
        "collect2: fatal error: ld terminated with signal 9 [Killed]",
        "make[3]: *** [scripts/Makefile.vmlinux:34: vmlinux] Killed",
        "make[3]: *** [Makefile:1: x] Error 137",
        "make[2]: *** [arch/x86/kvm/Makefile:3: y] Error 127",
        "cc1: out of memory allocating 65536 bytes after a total of 1234 bytes",
        "cc1.s: Assembler messages:\ncc1.s: Fatal error: can't write 22 bytes: No space left on device",
        "ld: final link failed: No space left on device",
        "ccache: error: Failed to create directory",
        "scripts/sign-file.c:25:10: fatal error: openssl/opensslv.h: No such file or directory",
        "make: fork: Resource temporarily unavailable",
        "bwrap: Creating new namespace failed: No space left on device",
    ],
)
def test_a_fault_of_the_machine_is_never_one_of_the_source(line: str) -> None:
    """Whatever else was printed: what fails on a machine that breaks proves nothing."""
    found = diagnose(f"{CHATTER}{COMPILER}{line}\n{GAVE_UP}")
    assert found.is_machine and found.first == line.splitlines()[-1]


@pytest.mark.parametrize(
    "printed",
    [
        'x.c:3:2: error: #error "No space left on device"\n    3 | #error "No space left on device"\n',
        "x.c:3:2: error: expected ';'\n    3 | \tpr_err(\"virtual memory exhausted\")\n      |   ^\n",
        "x.c:3:2: warning: 'out of memory'\nx.c:4:2: error: expected ';'\n",
        "touch: cannot touch 'arch/x86/new.h': Read-only file system\n",  # its source, to a build
    ],
)
def test_words_of_the_source_are_no_fault_of_the_machine(printed: str) -> None:
    assert not diagnose(printed + GAVE_UP).is_machine
