# SPDX-License-Identifier: GPL-2.0-or-later
"""A private apt: what it is told, and what it is understood to complain of (recorded from apt 2.6)."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestloop.debian import apt
from guestloop.debian.apt import PrivateApt, Trouble, diagnose
from guestloop.ground import proc

NO_KEY = """\
Err:1 http://one.example/debian trixie-backports InRelease
  The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 6ED0E7B8
W: GPG error: http://one.example/debian trixie-backports InRelease: The following signatures couldn't be\
 verified because the public key is not available: NO_PUBKEY 6ED0E7B8 NO_PUBKEY 78DBA3BC
E: The repository 'http://one.example/debian trixie-backports InRelease' is not signed.
"""
NO_ROUTE = """\
Err:1 http://one.example/debian trixie-backports InRelease
  Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)
E: Failed to fetch http://one.example/debian/dists/trixie-backports/InRelease  Could not connect to\
 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)
E: Some index files failed to download. They have been ignored, or old ones used instead.
"""
NO_SUITE = """\
Ign:1 http://one.example/debian nosuch InRelease
Err:2 http://one.example/debian nosuch Release
  404  Not Found [IP: 203.0.113.80 80]
E: The repository 'http://one.example/debian nosuch Release' does not have a Release file.
"""
UNSIGNED = """\
Ign:3 file:/srv/unsigned x Release.gpg
E: The repository 'file:/srv/unsigned x Release' is not signed.
"""
BAD = """\
W: GPG error: http://one.example/debian sid InRelease: The following signatures were invalid: BADSIG 6ED0E7B8
E: The repository 'http://one.example/debian sid InRelease' is not signed.
"""


@pytest.mark.parametrize(
    ("output", "trouble", "words"),
    [
        (NO_KEY, Trouble.NO_KEY, "6ED0E7B8, 78DBA3BC"),
        (NO_ROUTE, Trouble.UNREACHABLE, "Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: C"),
        (NO_SUITE, Trouble.NO_SUITE, "http://one.example/debian nosuch Release"),
        (UNSIGNED, Trouble.UNSIGNED, "is not signed"),
        (BAD, Trouble.UNSIGNED, "The following signatures were invalid: BADSIG 6ED0E7B8"),
        ("E: Unable to lock directory", Trouble.UNREACHABLE, "Unable to lock directory"),
        ("", Trouble.UNREACHABLE, "no reason given"),
    ],
)
def test_complaints(output: str, trouble: Trouble, words: str) -> None:
    seen, told = diagnose(output)
    assert seen is trouble and told.startswith(words)


def test_what_was_read_before_is_no_answer_to_a_bad_signature() -> None:
    assert [each for each in Trouble if each.is_of_the_moment] == [Trouble.NO_SUITE, Trouble.UNREACHABLE]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    seen: list[tuple[list[str], dict[str, str]]] = []

    def run(argv: list[str], *, env: dict[str, str], **_: object) -> proc.Finished:
        seen.append((argv, env))
        return proc.Finished(tuple(argv), 0, "")

    monkeypatch.setattr(proc, "run", run)
    monkeypatch.setattr(apt, "fetch_options", lambda: 'Acquire::http::Proxy "http://proxy.example";\n')
    return seen


def test_it_has_all_state_of_its_own(tmp_path: Path, calls: list[tuple[list[str], dict[str, str]]]) -> None:
    """The machine's hooks of `apt-get update` and its state must stay out of it."""
    private = PrivateApt(tmp_path / "apt", "Types: deb\n")
    private.update()
    private.run("download", "linux-image-amd64=1")
    assert [argv[-1] for argv, _ in calls] == ["update", "linux-image-amd64=1"]
    options = Path(calls[0][1]["APT_CONFIG"]).read_text().splitlines()
    assert 'Acquire::http::Proxy "http://proxy.example";' in options
    for name in ("Etc::main", "Etc::parts", "Etc::sourceparts", "Etc::preferencesparts"):
        assert f'Dir::{name} "/dev/null";' in options
    for name in ("Etc::sourcelist", "State", "State::lists", "State::status", "Cache", "Log"):
        assert any(line.startswith(f'Dir::{name} "{tmp_path}/apt') for line in options), name


def test_what_is_not_signed_is_refused_whatever_the_machine_says(
    tmp_path: Path, calls: list[tuple[list[str], dict[str, str]]]
) -> None:
    PrivateApt(tmp_path, "").update()
    options = Path(calls[0][1]["APT_CONFIG"]).read_text()
    for name in ("InsecureRepositories", "WeakRepositories", "DowngradeToInsecureRepositories"):
        assert f'Acquire::Allow{name} "false";' in options
