# SPDX-License-Identifier: GPL-2.0-or-later
"""Unpack package files and tarballs. No script of a package runs, and nothing is installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import says_no_space
from guestloop.config.existing import TARBALLS
from guestloop.debian.index import parse_fields
from guestloop.ground import proc
from guestloop.ground.errors import ConfigError, ProcessError

DEBIAN, RPM = ".deb", ".rpm"
ARCHITECTURE = "amd64"
END = bytes(1024)

# What GNU tar calls for an ending, and the package that has it.
_COMPRESSORS = {".zst": ("zstd", "zstd"), ".xz": ("xz", "xz-utils"), ".bz2": ("bzip2", "bzip2")}


@dataclass(frozen=True)
class Identity:
    """What a package file says of itself."""

    name: str
    version: str


def identify(path: Path, argument: str) -> Identity | None:
    """Name and version of a Debian package; None for files of other kinds, which are named by their kernel.

    Raises ConfigError for another architecture, and for what is not whole.
    """
    if path.suffix != DEBIAN:
        return None
    fields = parse_fields(_run(["dpkg-deb", "--field", path], path, argument))
    if fields.get("Architecture") not in {ARCHITECTURE, "all"}:
        seen = fields.get("Architecture", "none")
        raise ConfigError(f"--kernels {argument}: {path.name} is for {seen}; {ARCHITECTURE} was wanted")
    return Identity(fields.get("Package", path.name), fields.get("Version", ""))


def unpack(path: Path, into: Path, argument: str) -> None:
    """Unpack a file into a directory. Raises ConfigError if it is damaged, LabError without the program."""
    into.mkdir(exist_ok=True)
    if path.suffix == ".tar" and not _has_end(path):
        raise _damaged(path, argument, "it has no end")
    _run(_command(path, into), path, argument)


def _command(path: Path, into: Path) -> Sequence[proc.Arg]:
    if path.suffix == DEBIAN:
        return [proc.find_program("dpkg-deb"), "--extract", path, into]
    if path.suffix == RPM:
        bsdtar = proc.find_program("bsdtar", hint="apt-get install libarchive-tools: it reads .rpm files")
        return [bsdtar, "-x", "--no-same-owner", "-f", path, "-C", into]
    assert path.name.endswith(TARBALLS)
    if path.suffix in _COMPRESSORS:
        program, package = _COMPRESSORS[path.suffix]
        proc.find_program(program, hint=f"apt-get install {package}: it reads {path.suffix} files")
    return ["tar", "--extract", "--no-same-owner", f"--file={path}", f"--directory={into}"]


def _run(argv: Sequence[proc.Arg], path: Path, argument: str) -> str:
    try:
        return proc.read(argv).text
    except ProcessError as error:
        if says_no_space(error.output):
            raise
        reason = (error.output.strip().splitlines() or [f"exit status {error.status}"])[0]
        raise _damaged(path, argument, reason) from error


def _has_end(path: Path) -> bool:
    """Does a tar file end with its end marker? tar takes one that is cut between two files for complete."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - len(END), 0))
        return file.read() == END


def _damaged(path: Path, argument: str, reason: str) -> ConfigError:
    return ConfigError(
        f"--kernels {argument}: {path.name} cannot be unpacked: {reason}",
        hint="is it whole? Compare its size and checksum with where it came from",
    )
