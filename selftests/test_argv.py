# SPDX-License-Identifier: GPL-2.0-or-later
"""Command lines of QEMU against recorded ones, and what must hold whatever they become.

After a wanted change, ``.venv/bin/python selftests/test_argv.py`` writes data/argv/ anew.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from guestloop.machines.choice import KINDS, kind_named
from guestloop.machines.kind import MachineKind
from guestloop.results.sizes import USUAL, Sizes
from guestloop.vm.argv import Backing, Incoming, L1Spec, L2Spec, l1_argv, l2_argv

GOLDEN = Path(__file__).parent / "data" / "argv"
DIRECTORY = Path("/out/lab/patched.1")


def l1(kind: MachineKind, sizes: Sizes = USUAL) -> list[str]:
    spec = L1Spec(
        name="patched",
        program=Path("/cache/emulator/cdef/qemu-system-x86_64"),
        cpu_argv=kind.cpu_argv,
        kernel_words=("tsc_early_khz=2445430",) if kind.name == "tcg" else (),
        kernel=Path("/cache/kernel/0123/vmlinux"),
        root=Path("/cache/l1/4567/root.ext4"),
        payload=Path("/cache/payload/89ab/payload.tar"),
        console=DIRECTORY / "console.log",
        qmp_fd=5,
        swap_fd=6,
        sizes=sizes,
    )
    return l1_argv(spec)


CASES = {
    **{f"l1-{kind.name}": l1(kind) for kind in KINDS},
    "l1-large": l1(kind_named("kvm"), Sizes.of(8)),
    "l2-default": l2_argv(L2Spec("storm")),
    "l2-large": l2_argv(L2Spec("storm", memory_mib=512, vcpus=8)),
    "l2-without-async-pf": l2_argv(L2Spec("storm", kvmapf=False)),
    "l2-source": l2_argv(L2Spec("source", backing=Backing.FILE, dirty_ring=4096)),
    "l2-destination": l2_argv(L2Spec("target", backing=Backing.HUGE_FILE, incoming=Incoming.REST)),
    "l2-destination-that-runs-on": l2_argv(L2Spec("target", backing=Backing.FILE, incoming=Incoming.RUN)),
    "l2-elsewhere": l2_argv(L2Spec("target", backing=Backing.FILE, ram_directory="/run/small")),
}
ALL = pytest.mark.parametrize("name", CASES)
L1_CASES = pytest.mark.parametrize("name", [name for name in CASES if name.startswith("l1")])


def lines(argv: list[str]) -> str:
    """An option and its value on one line, as a reader wants them."""
    text = argv[0]
    for word in argv[1:]:
        text += f"\n{word}" if word.startswith("-") else f" {word}"
    return text + "\n"


def values(argv: list[str], option: str) -> list[str]:
    return [after for word, after in pairwise(argv) if word == option]


@ALL
def test_is_as_recorded(name: str) -> None:
    recorded = (GOLDEN / f"{name}.txt").read_text()
    assert lines(CASES[name]) == recorded, "wanted? .venv/bin/python selftests/test_argv.py records it"


def test_every_recording_is_compared() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


@ALL
def test_nothing_that_a_shell_or_a_careless_join_would_change(name: str) -> None:
    for word in CASES[name]:
        assert word and re.fullmatch(r"[\w@%+=:,./ -]+", word), word
        assert not word.startswith(" ") and not word.endswith(" ")
    with_spaces = [word for word in CASES[name] if " " in word]
    assert with_spaces == values(CASES[name], "-append")


@ALL
def test_nothing_is_there_that_was_not_asked_for(name: str) -> None:
    argv = CASES[name]
    assert {"-nodefaults", "-no-user-config", "-no-reboot"} <= set(argv)
    assert values(argv, "-display") == ["none"]
    assert len(values(argv, "-accel")) == 1
    assert "panic=-1" in values(argv, "-append")[0], "a panic must end QEMU, not hang it"


@L1_CASES
def test_l1_is_reached_from_this_machine_only(name: str) -> None:
    (network,) = values(CASES[name], "-netdev")
    assert "restrict=on" in network.split(",")
    forwards = [part for part in network.split(",") if "fwd" in part]
    assert forwards == ["hostfwd=tcp:127.0.0.1:0-:22"]
    for word in CASES[name]:
        assert "vnc" not in word and "server=on" not in word and "-gdb" not in word


@L1_CASES
def test_shared_disks_are_read_only_and_nothing_else_has_a_name(name: str) -> None:
    for disk in values(CASES[name], "-blockdev"):
        shared = "filename=/cache/" in disk
        assert ("read-only=on" in disk) == shared
        assert shared or "filename=/dev/fdset/1" in disk
    assert values(CASES[name], "-add-fd") == ["fd=6,set=1"]


def test_an_initramfs_is_given_only_to_a_kernel_that_needs_one() -> None:
    spec = L1Spec("a", Path("/q"), ("-accel", "x"), (), Path("/k"), Path("/r"), Path("/p"), Path("/c"), 5, 6)
    assert values(l1_argv(spec), "-initrd") == []
    assert values(l1_argv(replace(spec, initramfs=Path("/i"))), "-initrd") == ["/i"]


def test_a_comma_in_a_path_is_part_of_it() -> None:
    """To QEMU a comma ends a value, and two are one."""
    disks = Path("/ca,che/r"), Path("/p")
    spec = L1Spec("a", Path("/q"), ("-accel", "x"), (), Path("/k"), *disks, Path("/c"), 5, 6)
    (root,) = (disk for disk in values(l1_argv(spec), "-blockdev") if "node-name=root" in disk)
    assert "filename=/ca,,che/r,read-only=on" in root


def test_l1_accelerators() -> None:
    assert values(CASES["l1-kvm"], "-accel") == ["kvm"] and values(CASES["l1-kvm"], "-cpu") == ["host,-la57"]
    assert values(CASES["l1-tcg"], "-accel")[0].startswith("tcg,")
    model = values(CASES["l1-tcg"], "-cpu")[0].split(",")
    assert {"+svm", "-la57"} <= set(model), "four levels of page tables, as on hardware"


def test_l2_has_no_network_and_no_disk() -> None:
    for name in (name for name in CASES if name.startswith("l2")):
        assert not {"-netdev", "-nic", "-drive", "-blockdev"} & set(CASES[name])


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for old in GOLDEN.iterdir():
        old.unlink()
    for case, argv in CASES.items():
        (GOLDEN / f"{case}.txt").write_text(lines(argv))
