# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel made of what it was told at boot, on files that look like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestloop.agent import kvm
from guestloop.agent.boot_facts import (
    UNKNOWN,
    compiler,
    mitigations,
    page_table_levels,
    preemption,
    read_boot_facts,
)

DYNAMIC = "#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1 (2026-10-20)"


def test_a_kernel_that_tells_nothing(tmp_path: Path) -> None:
    facts = read_boot_facts(tmp_path)
    assert facts["command_line"] == facts["clocksource"] == UNKNOWN
    assert facts["mitigations"] == "off"


def test_the_command_line_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cmdline").write_text("console=ttyS0 nokaslr\n")
    assert read_boot_facts(tmp_path)["command_line"] == "console=ttyS0 nokaslr"


@pytest.mark.parametrize(("flags", "levels"), [("fpu la57 svm", "5"), ("fpu svm", "4")])
def test_levels_of_page_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, levels: str
) -> None:
    monkeypatch.setattr(kvm, "CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert page_table_levels() == levels


def test_only_what_is_mitigated_is_named(tmp_path: Path) -> None:
    for name, text in (
        ("spectre_v2", "Vulnerable; IBPB: disabled"),
        ("meltdown", "Not affected"),
        ("spectre_v1", "Mitigation: usercopy/swapgs barriers and __user pointer sanitization"),
        ("retbleed", "Mitigation: untrained return thunk"),
    ):
        (tmp_path / name).write_text(f"{text}\n")
    assert mitigations(tmp_path) == "retbleed spectre_v1"
    for name in ("spectre_v1", "retbleed"):
        (tmp_path / name).write_text("Vulnerable\n")
    assert mitigations(tmp_path) == "off"


@pytest.mark.parametrize(
    ("chosen", "version", "model"),
    [
        ("none (voluntary) full\n", DYNAMIC, "voluntary"),
        ("", DYNAMIC, "preempt_dynamic"),
        ("", "#1 SMP PREEMPT_RT Debian", "preempt_rt"),
        ("", "#1 SMP Thu Nov 26", "none or voluntary"),
    ],
)
def test_the_preemption_model(tmp_path: Path, chosen: str, version: str, model: str) -> None:
    file = tmp_path / "preempt"
    if chosen:
        file.write_text(chosen)
    assert preemption(file, version) == model


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        (
            "Linux version 6.12.117+deb13-cloud-amd64 (debian-kernel@lists.debian.org) "
            "(x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0, GNU ld (GNU Binutils) 2.44) #1 SMP",
            "x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0, GNU ld (GNU Binutils) 2.44",
        ),
        ("Linux version 6.12.0", UNKNOWN),
    ],
)
def test_the_compiler_is_the_one_that_the_kernel_names(version: str, wanted: str) -> None:
    assert compiler(version) == wanted
