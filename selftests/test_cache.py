# SPDX-License-Identifier: GPL-2.0-or-later
"""The cache: an entry exists whole or not at all, whoever dies, and is made once."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from guestloop.cache.store import MANIFEST, Cache, content_key, default_root, file_digest
from guestloop.ground.errors import CacheError

INPUTS = {"source": "abc", "options": {"x": 1, "y": 2}}

MAKER = """
import json, sys, time
from pathlib import Path
from guestloop.cache import Cache

def make(directory):
    (directory / "part").write_text("half")
    with Path(sys.argv[2]).open("a") as log:
        log.write("made\\n")
    print("making", flush=True)
    if sys.argv[3] == "hang":
        sys.stdin.read()
    time.sleep(0.3)
    (directory / "part").write_text("whole")

print(Cache(Path(sys.argv[1])).obtain("kind", json.loads(sys.argv[4]), make))
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def make(directory: Path) -> None:
    (directory / "part").write_text("whole")


def entries(cache: Cache) -> list[str]:
    """Everything under the kind's directory, hidden and partial entries included."""
    kind = cache.root / "kind"
    return sorted(path.name for path in kind.iterdir()) if kind.exists() else []


def start_maker(cache: Cache, log: Path, how: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", MAKER, str(cache.root), str(log), how, json.dumps(INPUTS)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_made_once_and_found_after(cache: Cache) -> None:
    made: list[Path] = []

    def remember(directory: Path) -> None:
        made.append(directory)
        make(directory)

    assert cache.find("kind", INPUTS) is None
    entry = cache.obtain("kind", INPUTS, remember)
    assert (entry / "part").read_text() == "whole"
    assert cache.obtain("kind", INPUTS, remember) == cache.find("kind", INPUTS) == entry
    assert Cache(cache.root).find("kind", INPUTS) == entry
    assert len(made) == 1 and made[0] != entry
    assert entries(cache) == [entry.name]


def test_other_inputs_or_another_kind_are_another_entry(cache: Cache) -> None:
    entry = cache.obtain("kind", INPUTS, make)
    assert cache.find("kind", {**INPUTS, "source": "abd"}) is None
    assert cache.find("other", INPUTS) is None
    assert cache.obtain("kind", {**INPUTS, "source": "abd"}, make) != entry


def test_key_does_not_depend_on_order() -> None:
    turned = {"options": {"y": 2, "x": 1}, "source": "abc"}
    assert content_key(INPUTS) == content_key(turned)
    assert content_key({"a": "1"}) != content_key({"a": 1})


def test_a_maker_that_fails_leaves_nothing(cache: Cache) -> None:
    for error in (ValueError("no"), KeyboardInterrupt()):

        def fail(directory: Path, error: BaseException = error) -> None:
            make(directory)
            raise error

        with pytest.raises(type(error)):
            cache.obtain("kind", INPUTS, fail)
        assert entries(cache) == [] and cache.find("kind", INPUTS) is None
    assert cache.obtain("kind", INPUTS, make).exists()


def test_kill_in_the_middle(cache: Cache, tmp_path: Path) -> None:
    with start_maker(cache, tmp_path / "log", "hang") as maker:
        assert maker.stdout and maker.stdout.readline() == "making\n"
        maker.send_signal(signal.SIGKILL)
    assert cache.find("kind", INPUTS) is None
    assert [name for name in entries(cache) if name.endswith(".partial")]

    def nothing_of_the_old(directory: Path) -> None:
        assert list(directory.iterdir()) == []
        make(directory)

    entry = cache.obtain("kind", INPUTS, nothing_of_the_old)
    assert entries(cache) == [entry.name]


def test_two_processes_make_it_once(cache: Cache, tmp_path: Path) -> None:
    makers = [start_maker(cache, tmp_path / "log", "go") for _ in range(2)]
    lines = [maker.communicate(timeout=20)[0].splitlines() for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0]
    assert (tmp_path / "log").read_text() == "made\n"
    assert {each[-1] for each in lines} == {str(cache.path("kind", INPUTS))}
    assert (cache.path("kind", INPUTS) / "part").read_text() == "whole"


def test_an_entry_without_its_manifest_is_none(cache: Cache) -> None:
    """What a copy of a cache that was cut short may leave."""
    cache.path("kind", INPUTS).mkdir(parents=True)
    assert cache.find("kind", INPUTS) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(cache: Cache, number: int) -> None:
    def fill(directory: Path) -> None:
        make(directory)
        raise OSError(number, os.strerror(number))

    with pytest.raises(CacheError, match=rf"no space left in the cache {cache.root} \(\d+ MiB") as raised:
        cache.obtain("kind", INPUTS, fill)
    assert "GUESTLOOP_CACHE" in raised.value.hint and raised.value.exit_status == 3
    assert entries(cache) == []


def test_a_disk_that_really_is_full(tiny_disk: Path) -> None:
    def fill(directory: Path) -> None:
        (directory / "big").write_bytes(bytes(1 << 20))

    cache = Cache(tiny_disk / "cache")
    with pytest.raises(CacheError, match=r"no space left in the cache .*\(0 MiB free\)"):
        cache.obtain("kind", INPUTS, fill)
    assert entries(cache) == []
    assert cache.obtain("kind", INPUTS, make).exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("file/cache", "Not a directory"), ("x" * 300, "File name too long"), ("/proc/x", "No such file")],
)
def test_a_root_that_cannot_be_written(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / name)
    with pytest.raises(CacheError, match=f"the cache {cache.root} cannot be written: {reason}") as raised:
        cache.obtain("kind", INPUTS, make)
    assert "GUESTLOOP_CACHE" in raised.value.hint


def test_other_errors_of_a_maker_pass_through(cache: Cache) -> None:
    def lose(directory: Path) -> None:
        (directory / "none" / "file").read_text()

    with pytest.raises(FileNotFoundError):
        cache.obtain("kind", INPUTS, lose)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("GUESTLOOP_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_root() == Path("/home/me/.cache/guestloop")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_root() == Path("/xdg/guestloop")
    monkeypatch.setenv("GUESTLOOP_CACHE", "/own")
    assert default_root() == Path("/own")
    monkeypatch.setenv("GUESTLOOP_CACHE", "~/own")
    assert default_root() == Path("/home/me/own"), "no shell has read it"
    monkeypatch.delenv("GUESTLOOP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_root() == Path("/home/me/.cache/guestloop"), "which the specification wants ignored"


def test_manifest_tells_what_went_in(cache: Cache) -> None:
    entry = cache.obtain("kind", INPUTS, make)
    assert '"source": "abc"' in (entry / MANIFEST).read_text()
    assert file_digest(entry / "part").startswith("5d5766cf")
