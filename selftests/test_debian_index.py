# SPDX-License-Identifier: GPL-2.0-or-later
"""Lists of packages as text, recorded ones where it matters; the order of versions as dpkg has it."""

from __future__ import annotations

import itertools
from pathlib import Path

from guestloop.debian.index import Dependency, parse_depends, parse_packages, release_date, version_key

DATA = Path(__file__).parent / "data/kernels"

# deb-version(7), and versions of linux that the archive has had.
ASCENDING = (
    *("6.1.9-1", "6.1.99-1", "6.1.187-1", "6.1.192-1~deb11u1", "6.1.192-1", "6.1.192-1+b1", "6.1.192-2"),
    *("6.12~rc7-1~exp1", "6.12~rc7-1", "6.12-1~exp1", "6.12-1", "6.12.1-1", "6.12.10-1", "7.2.13-1"),
    *("1:1.0~", "1:1.0", "1:1.0a", "1:1.0+b", "1:1.0.1"),
)


def test_versions_sort_as_dpkg_does() -> None:
    for older, newer in itertools.pairwise(ASCENDING):
        assert version_key(older) < version_key(newer), (older, newer)
    assert version_key("1.0") == version_key("0:1.0") and version_key("1.01") == version_key("1.1")


def test_recorded_packages() -> None:
    packages = list(parse_packages((DATA / "packages-sid.txt").read_bytes(), "sid", "linux-image-7"))
    assert [package.name for package in packages] == [
        "linux-image-7.2.13+deb14-amd64",
        "linux-image-7.2.13+deb14-cloud-amd64",
    ]
    first = packages[0]
    assert (first.version, first.architecture, first.size, first.suite) == ("7.2.13-1", "amd64", 1892, "sid")
    assert first.sha256 == "28dc3dd3c1446246ced2f9e4bf4e93475aae3815d03eaedebe20b168cb944b10"
    assert Dependency("linux-modules-7.2.13+deb14-amd64", "7.2.13-1") in first.depends


def test_the_first_and_the_last_paragraph_count() -> None:
    paragraphs = [f"Package: linux-{n}\nVersion: 1\nArchitecture: all\nSHA256: x\nSize: 1\n" for n in "abc"]
    for text in ("\n".join(paragraphs), "\n".join(paragraphs).rstrip("\n")):
        assert [one.name for one in parse_packages(text.encode(), "sid", "linux-")] == [
            "linux-a",
            "linux-b",
            "linux-c",
        ]
    assert list(parse_packages(b"", "sid", "linux-")) == []


def test_dependencies_with_alternatives_and_relations() -> None:
    text = "dracut | initramfs-tools (>= 0.120), linux-base-7.2 (= 7.2-1), kmod:any, foo(=2)"
    assert parse_depends(text) == (
        Dependency("dracut", ""),
        Dependency("initramfs-tools", ""),
        Dependency("linux-base-7.2", "7.2-1"),
        Dependency("kmod", ""),
        Dependency("foo", "2"),
    )
    assert parse_depends("") == ()


def test_the_date_of_a_release_file() -> None:
    text = "-----BEGIN PGP SIGNED MESSAGE-----\n\nSuite: sid\nDate: Fri, 30 Oct 2026 08:08:01 UTC\nMD5Sum:\n"
    assert release_date(text) == "Fri, 30 Oct 2026 08:08:01 UTC"
    assert release_date("Suite: sid\n") == ""
