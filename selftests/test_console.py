# SPDX-License-Identifier: GPL-2.0-or-later
"""What counts as a panic or a complaint on a kernel's console."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestloop.ground.console import find_panic
from guestloop.vm.console import Console

LINES = {
    "[    9.1] Kernel panic - not syncing: sysrq triggered crash\r": (
        "Kernel panic - not syncing: sysrq triggered crash"
    ),
    "[    9.1] Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI": "Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI",
    "[    9.1] kernel BUG at arch/x86/kvm/mmu/mmu.c:7!": "kernel BUG at arch/x86/kvm/mmu/mmu.c:7!",
    "general protection fault, probably for non-canonical address 0xdead: 0000 [#1]": (
        "general protection fault, probably for non-canonical address 0xdead: 0000 [#1]"
    ),
}


@pytest.mark.parametrize("line", LINES)
def test_a_panic_is_quoted_without_its_timestamp(line: str) -> None:
    assert find_panic(f"[    0.1] booted\n{line}\n[    9.2] CPU: 0 PID: 1\n") == LINES[line]


def test_the_first_message_is_the_cause() -> None:
    assert find_panic("x Oops: 0002\nKernel panic - not syncing: Fatal exception\n") == "Oops: 0002"


@pytest.mark.parametrize(
    "text", ["", "[    0.1] booted\n", "panic=-1 oops=panic\n", "WARNING: CPU: 0 PID: 1\n"]
)
def test_everything_else_is_no_panic(text: str) -> None:
    assert find_panic(text) == ""


def test_complaints_are_whole_lines_and_panics_are_among_them(tmp_path: Path) -> None:
    console = Console(tmp_path / "console.log")
    assert (console.panic(), console.warnings()) == ("", [])
    console.path.write_text(
        "[    1.0] Command line: panic=-1 oops=panic\n"
        "[    2.0] WARNING: CPU: 0 PID: 1 at mm/slub.c:1\n"
        "[    3.0] BUG: Bad page state in process x\n"
        "[    4.0] Kernel panic - not syncing: the end\n"
    )
    assert [line.partition("] ")[2][:7] for line in console.warnings()] == ["WARNING", "BUG: Ba", "Kernel "]
    assert console.panic() == "Kernel panic - not syncing: the end"
