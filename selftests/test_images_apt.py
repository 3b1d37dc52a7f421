"""Which package sources of a machine are Debian's own, on trees made for the purpose."""

from pathlib import Path

import pytest

from guestloop.errors import ConfigError, LabError
from guestloop.images.apt import Source, find_release

OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\nVERSION_CODENAME=bookworm\n'
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
        f"deb [arch=amd64 signed-by={KEYRING}] http://mirror.invalid/debian bookworm main contrib # why\n"
        "deb http://mirror.invalid/debian-security bookworm-security main\n"
        "deb-src http://mirror.invalid/debian bookworm main\n"
    )
    release = find_release(machine(tmp_path, {"etc/apt/sources.list": text}))
    assert release.codename == "bookworm"
    assert release.sources == (
        Source(("http://mirror.invalid/debian",), ("bookworm",), ("main",), KEYRING),
        Source(("http://mirror.invalid/debian-security",), ("bookworm-security",), ("main",)),
    )


def test_paragraph_format(tmp_path: Path) -> None:
    text = (
        "# from the installer\nTypes: deb deb-src\nURIs: http://mirror.invalid/debian\n"
        "# in between\nSuites: bookworm bookworm-updates bookworm-backports\nComponents: main\n"
        f"Signed-By:\n {KEYRING}\n"
        "\n\nTypes: deb\nEnabled: no\nURIs: http://off.invalid/debian\nSuites: bookworm\nComponents: main\n"
    )
    release = find_release(machine(tmp_path, {"etc/apt/sources.list.d/debian.sources": text}))
    (source,) = release.sources
    assert source == Source(
        ("http://mirror.invalid/debian",), ("bookworm", "bookworm-updates"), ("main",), KEYRING
    )
    assert "off.invalid" not in release.render()


@pytest.mark.parametrize(
    "foreign",
    [
        "deb http://third.invalid/apt cloud-bookworm main",
        "deb http://third.invalid/linux/debian bookworm stable",
        "deb [signed-by=/usr/share/keyrings/vendor.gpg] http://third.invalid/debian/12/prod bookworm main",
        "deb http://third.invalid/packages bookworm main",
        "deb cdrom:[Debian]/debian bookworm main",
        "deb http://mirror.invalid/debian trixie main",
    ],
)
def test_third_parties_are_left_out(tmp_path: Path, foreign: str) -> None:
    files = {
        "etc/apt/sources.list": "deb http://mirror.invalid/debian bookworm main\n",
        "etc/apt/sources.list.d/foreign.list": foreign + "\n",
    }
    release = find_release(machine(tmp_path, files))
    assert [source.uris for source in release.sources] == [("http://mirror.invalid/debian",)]


def test_no_debian_source(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no package source of Debian bookworm") as caught:
        find_release(machine(tmp_path, {"etc/apt/sources.list": "\n"}))
    assert "sources.list.d" in caught.value.hint


def test_security_alone_is_not_enough(tmp_path: Path) -> None:
    text = "deb http://mirror.invalid/debian-security bookworm-security main\n"
    with pytest.raises(LabError):
        find_release(machine(tmp_path, {"etc/apt/sources.list": text}))


def test_another_distribution(tmp_path: Path) -> None:
    root = machine(tmp_path, {}, 'ID=fedora\nPRETTY_NAME="Fedora Linux 41"\n')
    with pytest.raises(ConfigError, match="Fedora Linux 41"):
        find_release(root)
