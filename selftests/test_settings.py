# SPDX-License-Identifier: GPL-2.0-or-later
"""The settings that each round finds: on files that answer as the kernel's do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from scripted.lab import ScriptedLab, cell, lab

from guestloop.agent.settings import HUGE_PAGES, NOT_HERE, Setting, Settings
from guestloop.ground.errors import GuestError
from guestloop.results.findings import FindingKind

__all__ = ["lab"]  # a fixture

AS_BOOTED = {
    Setting.THP: "[always] madvise never",
    Setting.THP_DEFRAG: "always defer defer+madvise [madvise] never",
    Setting.LRU_GEN: "0x0007",
    Setting.DAMON_STAT: "Y",
    Setting.SWAPPINESS: "60",
    Setting.PAGE_CLUSTER: "3",
}
CHOICES = ("always", "defer", "defer+madvise", "madvise", "never")


class Files:
    """Settings on files that answer what is written to them in the kernel's way; ``stubborn`` ones do not."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.written = root, list[tuple[str, str]]()
        self.stubborn: set[Setting] = set()
        for setting, text in AS_BOOTED.items():
            path = root / setting.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        self._write: Callable[[Path, str], int] = Path.write_text
        monkeypatch.setattr(Path, "write_text", lambda *given: self.write(*given))  # noqa: PLW0108 - to be a method

    def write(self, path: Path, value: str) -> int:
        setting = next(item for item in Setting if self.root / item.file == path)
        self.written.append((setting, value))
        if setting in self.stubborn:
            return 0
        if setting is Setting.LRU_GEN:
            value = f"{int(value):#06x}"
        elif setting.name.startswith("THP"):
            value = " ".join(f"[{choice}]" if choice == value else choice for choice in CHOICES)
        return self._write(path, f"{value}\n")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    return Files(tmp_path, monkeypatch)


def test_the_ground_is_the_same_whatever_the_kernel_booted_with(files: Files) -> None:
    seen = Settings(files.root).lay_ground()
    assert list(seen) == [setting.value for setting in Setting]
    assert {name: value for name, value in seen.items() if value != NOT_HERE} == {
        "thp.enabled": "never",
        "thp.defrag": "madvise",
        "lru_gen.enabled": "0x0000",
        "damon_stat.enabled": "N",
        "swappiness": "60",
        "page_cluster": "0",
    }


def test_only_what_differs_is_written(files: Files) -> None:
    Settings(files.root).lay_ground()
    written = [("thp.enabled", "never"), ("lru_gen.enabled", "0"), ("damon_stat.enabled", "N")]
    assert files.written == [*written, ("page_cluster", "0")]
    Settings(files.root).lay_ground()
    assert len(files.written) == 4


def test_what_a_kernel_does_not_have_cannot_be_changed(files: Files) -> None:
    assert Settings(files.root).change({Setting.KSM: "1"}) == {"ksm.run": NOT_HERE}
    assert not (files.root / Setting.KSM.file).exists()


def test_what_does_not_read_back_as_written_is_an_error(files: Files) -> None:
    files.stubborn = {Setting.THP}
    with pytest.raises(GuestError) as raised:
        Settings(files.root).lay_ground()
    assert str(raised.value) == f"/{Setting.THP.file}: never was written, always reads back"


def test_what_the_kernel_refuses_is_an_error(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(path: Path, value: str) -> int:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "write_text", busy)
    wanted = rf"^L1's kernel refuses madvise in /{Setting.THP.file}: Device or resource busy$"
    with pytest.raises(GuestError, match=wanted):
        Settings(files.root).change(HUGE_PAGES)


@pytest.mark.parametrize(
    ("setting", "wanted", "seen", "agrees"),
    [
        *[(Setting.LRU_GEN, "7", "0x0003", True), (Setting.LRU_GEN, "7", "0x0000", False)],
        *[(Setting.LRU_GEN, "0", "0x0001", False), (Setting.LRU_GEN, "0", "0x0000", True)],
        *[(Setting.LRU_GEN, "1", "0x0007", False), (Setting.ZSWAP, "N", "0", True)],
        *[(Setting.ZSWAP, "N", "Y", False), (Setting.ZSWAP, "Y", "1", True)],
        *[(Setting.SWAPPINESS, "60", "60", True), (Setting.SWAPPINESS, "60", "6", False)],
    ],
)
def test_what_agrees(setting: Setting, wanted: str, seen: str, agrees: bool) -> None:
    assert setting.agrees(wanted, seen) is agrees


def test_names_and_files_are_each_setting_own() -> None:
    assert len({setting.file for setting in Setting}) == len(list(Setting))
    for setting in Setting:
        assert setting.usual and setting.file.startswith(("sys/", "proc/sys/")), setting
        assert Setting(setting.value) is setting, "as it comes over the link"


# --- in a round ------------------------------------------------------------------------------------


def test_each_round_records_what_read_back(lab: ScriptedLab) -> None:
    lab.script.defaults = {Setting.THP: "always", Setting.SWAPPINESS: "100"}
    facts = lab.measure(cell("asyncpf")).record.facts
    settings = {name: value for name, value in facts.items() if name.startswith("settings.")}
    assert settings == {f"settings.{setting}": setting.usual for setting in Setting}


def test_a_round_records_what_its_cell_changed(lab: ScriptedLab) -> None:
    assert lab.measure(cell("asyncpf", way="thp")).record.facts["settings.thp.enabled"] == "madvise"
    assert lab.measure(cell("asyncpf"), number=2).record.facts["settings.thp.enabled"] == "never"


def test_a_setting_that_the_kernel_does_not_take_makes_the_round_invalid(
    lab: ScriptedLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Settings, setting: Setting, value: str) -> None:
        raise GuestError(f"L1's kernel refuses {value} in /{setting.file}: Invalid argument")

    lab.script.defaults = {Setting.THP: "always"}
    monkeypatch.setattr(Settings, "_write", refuse)
    ended = lab.measure(cell("asyncpf"))
    assert (ended.status, ended.kinds) == ("ERROR", [FindingKind.LAB])
    assert ended.record.reason.startswith("L1's kernel refuses never in /sys/kernel/mm/transparent_hugepage")
