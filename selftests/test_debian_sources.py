# SPDX-License-Identifier: GPL-2.0-or-later
"""Which package sources of a machine are Debian's own, on trees made for the purpose."""

from pathlib import Path

import pytest

from guestloop.debian.sources import Source, find_release
from guestloop.ground.errors import ConfigError, LabError

OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\nVERSION_CODENAME=bookworm\n'
# Hosts that exist nowhere (RFC 2606).
MIRROR, OFF, THIRD = (f"http://{name}.example" for name in ("one", "two", "three"))
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def machine(root: Path, files: dict[str, str], os_release: str = OS_RELEASE) -> Path:
    for name, text in {"etc/os-release": os_release, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_one_line_format(tmp_path: Path) -> None:
    text = (
        "# a comment\n"
        f"deb [arch=amd64 signed-by={KEYRING}] {MIRROR}/debian bookworm main contrib # why\n"
        f"deb {MIRROR}/debian-security bookworm-security main\n"
        f"deb-src {MIRROR}/debian bookworm main\n"
    )
    release = find_release(machine(tmp_path, {"etc/apt/sources.list": text}))
    assert release.codename == "bookworm"
    assert release.sources == (
        Source((f"{MIRROR}/debian",), ("bookworm",), ("main",), KEYRING),
        Source((f"{MIRROR}/debian-security",), ("bookworm-security",), ("main",)),
    )


def test_paragraph_format(tmp_path: Path) -> None:
    text = (
        f"# from the installer\nTypes: deb deb-src\nURIs: {MIRROR}/debian\n"
        "# in between\nSuites: bookworm bookworm-updates bookworm-backports\nComponents: main\n"
        f"Signed-By:\n {KEYRING}\n"
        f"\n\nTypes: deb\nEnabled: no\nURIs: {OFF}/debian\nSuites: bookworm\nComponents: main\n"
    )
    release = find_release(machine(tmp_path, {"etc/apt/sources.list.d/debian.sources": text}))
    (source,) = release.sources
    assert source == Source((f"{MIRROR}/debian",), ("bookworm", "bookworm-updates"), ("main",), KEYRING)
    assert OFF not in release.render()


@pytest.mark.parametrize(
    "foreign",
    [
        f"deb {THIRD}/apt cloud-bookworm main",
        f"deb {THIRD}/linux/debian bookworm stable",
        f"deb [signed-by=/usr/share/keyrings/vendor.gpg] {THIRD}/debian/12/prod bookworm main",
        f"deb {THIRD}/packages bookworm main",
        "deb cdrom:[Debian]/debian bookworm main",
        f"deb {MIRROR}/debian trixie main",
    ],
)
def test_third_parties_are_left_out(tmp_path: Path, foreign: str) -> None:
    files = {
        "etc/apt/sources.list": f"deb {MIRROR}/debian bookworm main\n",
        "etc/apt/sources.list.d/foreign.list": foreign + "\n",
    }
    release = find_release(machine(tmp_path, files))
    assert [source.uris for source in release.sources] == [(f"{MIRROR}/debian",)]


def test_no_debian_source(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no package source of Debian bookworm") as caught:
        find_release(machine(tmp_path, {"etc/apt/sources.list": "\n"}))
    assert "sources.list.d" in caught.value.hint


def test_security_alone_is_not_enough(tmp_path: Path) -> None:
    text = f"deb {MIRROR}/debian-security bookworm-security main\n"
    with pytest.raises(LabError):
        find_release(machine(tmp_path, {"etc/apt/sources.list": text}))


def test_another_distribution(tmp_path: Path) -> None:
    root = machine(tmp_path, {}, 'ID=fedora\nPRETTY_NAME="Fedora Linux 41"\n')
    with pytest.raises(ConfigError, match="Fedora Linux 41"):
        find_release(root)


def test_another_suite_is_read_by_the_same_uris_and_key(tmp_path: Path) -> None:
    text = (
        f"deb [signed-by={KEYRING}] {MIRROR}/debian bookworm main\n"
        f"deb [signed-by={KEYRING}] {MIRROR}/debian bookworm-updates main\n"
        f"deb [signed-by={KEYRING}] {MIRROR}/debian-security bookworm-security main\n"
    )
    release = find_release(machine(tmp_path, {"etc/apt/sources.list": text}))
    assert release.suites == ("bookworm", "bookworm-updates", "bookworm-security")
    for suite in ("sid", "trixie-backports", "trixie-updates"):
        (source,) = release.for_suite(suite).sources
        assert source == Source((f"{MIRROR}/debian",), (suite,), ("main",), KEYRING)
    (source,) = release.for_suite("trixie-security").sources
    assert source.uris == (f"{MIRROR}/debian-security",)


def test_a_machine_without_security_updates_has_none_of_another_suite(tmp_path: Path) -> None:
    text = f"deb {MIRROR}/debian bookworm main\n"
    release = find_release(machine(tmp_path, {"etc/apt/sources.list": text}))
    with pytest.raises(ConfigError, match="no package source for suite trixie-security"):
        release.for_suite("trixie-security")


def test_a_comment_in_another_encoding_is_a_comment(tmp_path: Path) -> None:
    root = machine(tmp_path, {"etc/apt/sources.list": ""})
    lines = f"# J\xfcrgens Spiegel\ndeb {MIRROR}/debian bookworm main\n"
    (root / "etc/apt/sources.list").write_bytes(lines.encode("latin-1"))
    assert find_release(root).suites == ("bookworm",)
