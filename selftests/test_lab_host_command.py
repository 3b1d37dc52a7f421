# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/test --lab-host from options to an exit status, with stand-ins for emulator and host."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from samples import CANDIDATE, REFERENCE, SHADOW, compare, make_round, plan_of

from guestloop.ground import proc
from guestloop.ground.errors import LabError, LinkLost
from guestloop.report import write_verdict
from guestloop.results.plan import write_plan
from guestloop.results.records import Round
from labhost import command
from labhost.command import NESTED, REPORT, run_lab_host
from labhost.trials import PACKAGE, STAYS, Size

GOOD = (make_round(SHADOW, "unpatched", 1, 450), make_round(SHADOW, "patched", 1, 5))
BLIND = (make_round(SHADOW, "unpatched", 1, 450), make_round(SHADOW, "patched", 1, 452))


def write_results(out: Path, accelerator: str, profile: str, rounds: Sequence[Round] = GOOD) -> None:
    plan = replace(plan_of(REFERENCE, CANDIDATE, rounds=1), accelerator=accelerator, profile=profile)
    out.mkdir(parents=True)
    write_plan(out, plan)
    write_verdict(out, plan, compare(plan, rounds))


def option(argv: Sequence[object], name: str) -> str:
    words = list(map(str, argv))
    return words[words.index(name) + 1]


@dataclass
class World:
    """A lab host that runs everything at once. ``breaks`` are profiles whose runs lose the host."""

    there: Path
    rounds: Sequence[Round] = GOOD
    status: int = 0
    breaks: tuple[str, ...] = ()
    leaves: bool = True

    def run(self, argv: Sequence[str], environment: Mapping[str, str], on_line: Callable[[str], None]) -> int:
        assert argv[0].endswith("/scripts/run") and option(argv, "--accel") == "kvm"
        assert environment["GUESTLOOP_CACHE"] == "/lab/there/cache"
        profile, out = option(argv, "--profile"), Path(option(argv, "--out"))
        if profile in self.breaks:
            raise LinkLost("the lab host is gone")
        if self.leaves:
            write_results(self.there / out.name, "kvm", profile, self.rounds)
        on_line("measured")
        return self.status

    def fetch(self, directory: str, into: Path) -> None:
        assert directory == "/lab/results"
        for results in self.there.iterdir():
            if not (into / results.name).exists():
                results.rename(into / results.name)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path / "there")
    world.there.mkdir()

    @contextmanager
    def running_host(_parts: object, directory: Path, _cache: object) -> Iterator[World]:
        directory.mkdir(parents=True)
        yield world

    def emulate(argv: Sequence[object], **_: object) -> None:
        write_results(Path(option(argv, "--out")), option(argv, "--accel"), option(argv, "--profile"))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("build_root", "build_environment", "make_stage"):
        monkeypatch.setattr(command, name, lambda *_: None)
    monkeypatch.setattr(
        command, "find_host_kernel", lambda name, _: SimpleNamespace(name=name[:3], release="6.12")
    )
    monkeypatch.setattr(command, "running_host", running_host)
    monkeypatch.setattr(proc, "run", emulate)
    return world


def test_all_trials_are_run_and_their_results_come_home(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_lab_host(Size.SHORT, out) == 0
    for trial in ("smoke", "cells", "smoke-on-packaged"):
        assert (out / NESTED / trial / "verdict.json").is_file()
    report = (out / REPORT).read_text()
    assert report.count("as it should be") == 3 and "async_page_ready" in report
    said = capsys.readouterr().err
    assert report in said and "==> 3 of 3: profile smoke on a lab host with 6.12" in said
    assert not list(out.glob("stage-*"))


def test_one_run_that_is_not_as_it_should_be_fails_it_all(world: World, tmp_path: Path) -> None:
    world.rounds, world.status = BLIND, 4
    assert run_lab_host(Size.FULL, tmp_path / "out") == 1
    report = (tmp_path / "out" / REPORT).read_text()
    assert re.search(r"^==> full: exit status 4 in \S+ s, NOT AS IT SHOULD BE$", report, re.MULTILINE)
    assert "asyncpf/shadow/read-shared: same, and not fewer flushes on async_page_ready" in report


def test_a_run_that_leaves_nothing_fails_too(world: World, tmp_path: Path) -> None:
    world.status, world.leaves = 3, False
    assert run_lab_host(Size.FULL, tmp_path / "out") == 1
    assert "      no verdict.json" in (tmp_path / "out" / REPORT).read_text()


def test_what_was_reached_is_reported_when_the_host_is_lost(world: World, tmp_path: Path) -> None:
    world.breaks = ("lab-host",)
    with pytest.raises(LinkLost):
        run_lab_host(Size.SHORT, tmp_path / "out")
    report = (tmp_path / "out" / REPORT).read_text()
    assert "==> smoke: exit status 0" in report and "cells: exit status" not in report


def test_a_run_through_ssh_brings_its_own_results_home(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Path] = []

    def through_ssh(words: Sequence[str], *_: object) -> int:
        write_results(Path(option(words, "--out")), "kvm", option(words, "--profile"))
        return 0

    monkeypatch.setattr(command, "run_through_ssh", through_ssh)
    monkeypatch.setattr(command, "check_home", lambda home, *_: checked.append(home))
    monkeypatch.setattr(world, "run", lambda argv, *_: 0 if argv[:2] == ["rm", "-r"] else pytest.fail(argv))
    assert run_lab_host(Size.SSH, tmp_path / "out") == 0
    assert checked == [tmp_path / "out" / NESTED / "smoke-through-ssh"]
    assert "smoke-through-ssh: exit status 0" in (tmp_path / "out" / REPORT).read_text()


def test_only_root_can_make_a_lab_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="this is user 1000"):
        run_lab_host(Size.SHORT, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_host_runs_a_packaged_kernel_once() -> None:
    assert [stay.kernel for stay in STAYS[Size.SHORT]].count(PACKAGE) == 1
