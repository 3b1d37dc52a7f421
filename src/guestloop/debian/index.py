# SPDX-License-Identifier: GPL-2.0-or-later
"""Lists of packages and Release files of a Debian archive, as text (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_DEPENDENCY = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+.-]+)(?::\w+)?\s*(?:\(\s*(?P<relation>[<>=]+)\s*(?P<version>\S+)\s*\))?"
)
_PIECE = re.compile(r"(\D*)(\d*)")
_LAST = 0  # of a piece without digits; what is before a tilde is earlier even than the end


@dataclass(frozen=True)
class Dependency:
    """A package that another one depends on; ``exactly`` is a version, or empty if others will do."""

    name: str
    exactly: str


@dataclass(frozen=True)
class Package:
    """A binary package in the list of a suite. ``size`` is in bytes; ``depends`` has all alternatives."""

    name: str
    version: str
    architecture: str
    depends: tuple[Dependency, ...]
    sha256: str
    size: int
    suite: str

    @property
    def age(self) -> tuple[object, ...]:
        """Sorts packages by version, the oldest first."""
        return version_key(self.version)


def parse_packages(data: bytes, suite: str, prefix: str) -> Iterator[Package]:
    """Yield the packages of a ``Packages`` file whose names begin with ``prefix``.

    Such a file has 60 MB: only the paragraphs that are wanted are decoded and split.
    """
    data = b"\n\n" + data
    start = f"\n\nPackage: {prefix}".encode()
    at = data.find(start)
    while at >= 0:
        end = data.find(b"\n\n", at + len(start))
        yield parse_package(
            parse_fields(data[at : end if end >= 0 else None].decode(errors="replace")), suite
        )
        at = data.find(start, end) if end >= 0 else -1


def parse_package(fields: Mapping[str, str], suite: str) -> Package:
    """A package from the fields of its paragraph. Raises KeyError if one is missing."""
    return Package(
        name=fields["Package"],
        version=fields["Version"],
        architecture=fields["Architecture"],
        depends=parse_depends(fields.get("Depends", "")),
        sha256=fields["SHA256"],
        size=int(fields["Size"]),
        suite=suite,
    )


def parse_fields(paragraph: str) -> dict[str, str]:
    """The fields of a paragraph (deb822(5)) by name, the first line of each."""
    lines = (line.partition(":") for line in paragraph.splitlines() if not line.startswith((" ", "\t", "#")))
    return {name: value.strip() for name, colon, value in lines if colon}


def parse_depends(text: str) -> tuple[Dependency, ...]:
    """All packages that a ``Depends`` field names, alternatives included."""
    found = (_DEPENDENCY.match(word.strip()) for word in re.split("[,|]", text))
    return tuple(
        Dependency(match["name"], match["version"] if match["relation"] == "=" else "")
        for match in found
        if match
    )


def release_date(text: str) -> str:
    """The ``Date`` field of a Release file, signed or not; empty if it has none."""
    match = re.search(r"^Date:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else ""


def version_key(version: str) -> tuple[object, ...]:
    """A key that sorts versions as dpkg does (deb-version(7))."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return int(epoch), _pieces(upstream), _pieces(revision)


def _pieces(text: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    pieces = (match.groups() for match in _PIECE.finditer(text))
    return tuple(((*map(_weight, letters), _LAST), int(digits or 0)) for letters, digits in pieces)


def _weight(character: str) -> int:
    if character == "~":
        return _LAST - 1
    return ord(character) if character.isalpha() else ord(character) + 256
