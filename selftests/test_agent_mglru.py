# SPDX-License-Identifier: GPL-2.0-or-later
"""The multi-gen LRU, aged and evicted by hand, on a stand-in for its debugfs file."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from guestloop.agent import mglru
from guestloop.agent.guests import Roster
from guestloop.agent.mglru import EVERYTHING, Mglru
from guestloop.ground.errors import GuestError

TEXT = (Path(__file__).parent / "data" / "lru_gen-6.12.txt").read_text()


NEXT = "          8         10          3           0 \n"


class Kernel:
    """The control file, which shows a text and takes commands."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.control = directory / "lru_gen"
        self.commands: list[str] = []
        self.begins = True
        self.unknown: list[str] = []
        """Values of swappiness that this kernel refuses."""
        self.control.write_text(TEXT)
        monkeypatch.setattr(mglru, "CONTROL", self.control)
        monkeypatch.setattr(mglru, "_write", self.obey)

    def obey(self, command: str) -> None:
        if command.split()[4] in self.unknown:
            raise OSError(errno.EINVAL, "Invalid argument")
        self.commands.append(command)
        if command.startswith("+") and self.begins:
            lines = TEXT.replace("/l2-aging\n node     0\n", f"/l2-aging\n node     0\n{NEXT}")
            assert lines != TEXT
            self.control.write_text(lines)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path, monkeypatch)


@pytest.fixture
def service() -> Mglru:
    roster, guest = Roster(), SimpleNamespace(cgroup=SimpleNamespace(name="l2-aging"))
    running: dict[str, Any] = roster.running
    running["aging"] = guest
    return Mglru(roster)


def test_age_asks_for_a_generation_beyond_the_youngest(kernel: Kernel, service: Mglru) -> None:
    assert service.age("aging") == {4: 2, 5: 2445, 6: 518, 7: 0, 8: 3}
    assert kernel.commands == ["+ 14 0 7 max 1"]


def test_a_generation_that_was_not_begun_is_missed(kernel: Kernel, service: Mglru) -> None:
    kernel.begins = False
    with pytest.raises(GuestError, match=r"^MGLRU began no generation of /l2-aging after 7$"):
        service.age("aging")


def test_evict_leaves_the_two_youngest(kernel: Kernel, service: Mglru) -> None:
    service.evict("aging")
    assert kernel.commands == [f"- 14 0 5 max {EVERYTHING}"]


def test_a_kernel_without_the_word_for_anonymous_pages_gets_a_number(kernel: Kernel, service: Mglru) -> None:
    kernel.unknown = ["max"]
    service.evict("aging")
    assert kernel.commands == [f"- 14 0 5 200 {EVERYTHING}"]
    kernel.unknown = ["max", "200"]
    refused = "MGLRU refused '- 14 0 5 {} .*: Invalid argument"
    with pytest.raises(GuestError, match="; ".join(map(refused.format, kernel.unknown))):
        service.evict("aging")


def test_a_cgroup_that_mglru_does_not_know(kernel: Kernel, service: Mglru) -> None:
    kernel.control.write_text(TEXT.replace("/l2-aging", "/l2-other"))
    with pytest.raises(LookupError, match="knows no cgroup /l2-aging"):
        service.age("aging")
    with pytest.raises(GuestError, match="no L2 is called 'none'"):
        service.evict("none")
    assert kernel.commands == []


def test_a_kernel_without_it(kernel: Kernel, service: Mglru) -> None:
    assert service.lacks() == ""
    kernel.control.unlink()
    assert "CONFIG_LRU_GEN" in service.lacks()


def test_a_command_is_written_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses one that comes in pieces (mm/vmscan.c: lru_gen_seq_write)."""
    (tmp_path / "lru_gen").write_text("")
    monkeypatch.setattr(mglru, "CONTROL", tmp_path / "lru_gen")
    descriptors = set(Path("/proc/self/fd").iterdir())
    mglru._write("+ 14 0 7 200 1")
    assert (tmp_path / "lru_gen").read_text() == "+ 14 0 7 200 1"
    assert set(Path("/proc/self/fd").iterdir()) == descriptors
