# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host looks for in its cache before a run: all that the run will take, and nothing is built."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_layout import room_of
from test_remote_baggage import options

from guestloop.cache import Cache
from guestloop.ground.codec import encode
from guestloop.ground.errors import CacheError, ConfigError, GuestloopError, LinkLost
from guestloop.job import sizing
from guestloop.machines.host import Vendor
from guestloop.remote.request import Request
from guestloop.remote.there import prime
from guestloop.remote.there.asking import NotThere
from guestloop.remote.there.runs import Run
from guestloop.results.files import write_json
from guestloop.results.sizes import USUAL, Sizes

ALL = ["qemu", "l1", "l2", "l2-kernel", "unpatched", "patched", "rest"]


class Host:
    """Notes what is looked for. ``fault`` is what then goes wrong."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.run, self.cache = Run(directory / "run"), Cache(directory / "cache")
        self.run.files.mkdir(parents=True)
        self.looked: list[str] = []
        self.cpus, self.sizes = 0, USUAL
        self.fault: GuestloopError = NotThere("to be built")
        kind = SimpleNamespace(find_qemu=self._look("qemu"), follows_host=True)
        machine = SimpleNamespace(kind=kind, vendor=Vendor.AMD)
        patch.setenv("XDG_CONFIG_HOME", "/that/of/this/user")
        patch.setattr(sizing, "read_room", lambda: room_of([8]))
        patch.setattr(prime, "find_machine", lambda _accel: (None, machine))
        patch.setattr(prime, "build_l1", self._look("l1"))
        patch.setattr(prime, "build_l2", self._look("l2"))
        patch.setattr(prime, "build_l2_kernel", self._l2_kernel)
        patch.setattr(prime, "find_subjects", self._subjects)
        patch.setattr(prime, "prepare", self._prepare)

    def _look(self, name: str) -> Callable[[Cache], None]:
        def look(cache: Cache) -> None:
            assert cache is self.cache
            self.looked.append(name)
            raise self.fault

        return look

    def _l2_kernel(self, cache: Cache, cpus: int) -> None:
        self.cpus = cpus
        self._look("l2-kernel")(cache)

    def _subjects(self, specs: Any, _module: str, _cache: Cache, _expect: Any) -> list[SimpleNamespace]:
        return [SimpleNamespace(obtain=self._look(spec.name)) for spec in specs]

    def _prepare(self, _subjects: Any, _machine: Any, _out: Path, cache: Cache, sizes: Sizes) -> None:
        self.sizes = sizes
        self._look("rest")(cache)

    def look(self, *words: str) -> None:
        """As for a run with these words."""
        write_json(self.run.request_file, encode(Request("0" * 32, words)), replace=True)
        prime.look_for_entries(self.run, self.cache, options)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_everything_is_looked_for_whatever_is_missing(host: Host) -> None:
    host.look("--profile", "smoke")
    assert host.looked == ALL
    assert (host.cpus, host.sizes) == (USUAL.most_l2_cpus, USUAL)
    assert os.environ["XDG_CONFIG_HOME"] == str(host.run.settings), "kernels and profiles are the user's"


@pytest.mark.parametrize(("words", "scale"), [((), 4), (("--labs", "2"), 2)])
def test_the_kernels_are_those_of_the_sizes_that_the_host_has_room_for(
    host: Host, words: tuple[str, ...], scale: int
) -> None:
    host.look("--profile", "lab", *words)
    assert (host.cpus, host.sizes) == (Sizes.of(scale).most_l2_cpus, Sizes.of(scale))


@pytest.mark.parametrize("fault", [CacheError("no space left"), LinkLost("gone")])
def test_what_a_run_could_not_tell_is_told(host: Host, fault: GuestloopError) -> None:
    host.fault = fault
    with pytest.raises(type(fault)):
        host.look()
    assert host.looked == ["qemu"]


def test_what_is_wrong_with_the_words_is_left_to_the_run(host: Host) -> None:
    for words in (("--profile", "gone"), ("--labs", "9"), ("--kernels", "unpatched,gone")):
        host.look(*words)
    host.fault = ConfigError("no kernel at all")
    host.look()
