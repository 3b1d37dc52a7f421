# SPDX-License-Identifier: GPL-2.0-or-later
"""From a tarball straight into git, without unpacking it.

The members are streamed into ``git fast-import``. It takes names, modes and bytes as they are: no .gitignore,
which leaves out files that a kernel ships, and no .gitattributes. No deltas are looked for and zlib works at
level 1, since the pack is read a few times and never sent.

Measured with Debian's linux-source-6.12 (1.5 GB in 87000 files, 145 MB as .xz): 49 CPU-s of a slow core, of
which Python takes 9, and a pack of 324 MB.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from guestloop.ground import proc
from guestloop.ground.errors import ConfigError, ProcessError
from guestloop.sources.git import Git

EXPECT_S = 40.0

_REF = "refs/heads/base"
# A larger one is slower: tarfile copies what is left in it after each read.
_BLOCK = 1 << 16
# By the first bytes of the file. A large .xz consists of blocks, which xz can unpack on all CPUs.
_UNPACK = {
    b"\xfd7zXZ\0": ("xz", "-T0", "-dc"),
    b"\x1f\x8b": ("gzip", "-dc"),
    b"BZh": ("bzip2", "-dc"),
    b"\x28\xb5\x2f\xfd": ("zstd", "-dcq"),
}


def import_tarball(path: Path, git: Git) -> str:
    """Read a tarball into an empty repository; gives the id of the tree below its top-level directory.

    Raises ConfigError if the tarball is damaged or a name leads out of it, ProcessError if git fails.
    """
    argv = git.argv("fast-import", "--quiet", "--done", "--depth=0")
    with (
        TemporaryFile() as log,  # not in the cache: what git says if that is full would be lost
        _open(path) as archive,
        proc.spawn(
            argv, env=git.environment, bare=True, stdin=proc.PIPE, stdout=log, stderr=log, quick=True
        ) as importer,
    ):
        assert importer.stdin
        with suppress(BrokenPipeError):  # its status and words follow
            for part in _stream(archive, path):
                importer.stdin.write(part)
            importer.stdin.close()
        if status := importer.wait():
            log.seek(0)
            raise ProcessError(argv, status, log.read().decode(errors="replace"))
    return _below_top(git)


@contextmanager
def _open(path: Path) -> Iterator[tarfile.TarFile]:
    """A tarball to be read once, from front to back. Raises ConfigError if it is damaged."""
    try:
        with (
            _unpacked(path) as stream,
            tarfile.open(
                fileobj=stream, mode="r|", bufsize=_BLOCK, encoding="utf-8", errors="surrogateescape"
            ) as archive,
        ):
            yield archive
            # What pads the archive: a program that cannot write it would end with an error.
            while stream.read(_BLOCK):
                pass
    except (tarfile.TarError, EOFError) as error:
        raise ConfigError(f"{path}: damaged tarball: {error}", hint="fetch or make it again") from error


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb", buffering=0) as file:  # a buffer would hold what the program is to read
        magic = file.read(6)
        program = next((argv for start, argv in _UNPACK.items() if magic.startswith(start)), None)
        file.seek(0)
        if program is None:
            yield file
            return
        with proc.spawn(
            program, bare=True, stdin=file, stdout=proc.PIPE, stderr=proc.NULL, quick=True
        ) as process:
            assert process.stdout
            yield process.stdout
            process.stdout.close()
            if process.wait():
                raise EOFError(f"{program[0]} ended with status {process.returncode}")


def _stream(archive: tarfile.TarFile, path: Path) -> Iterator[bytes]:
    """The members of an archive in the format of git-fast-import(1)."""
    yield f"commit {_REF}\ncommitter guestloop <guestloop@localhost> 0 +0000\ndata 0\n\n".encode()
    for member in archive:
        if name := _clean(member.name, path):
            yield from _entry(archive, member, _quote(name), path)
        archive.members = []  # type: ignore[attr-defined]  # else all of them are kept
    yield b"done\n"


def _clean(name: str, path: Path) -> bytes:
    """A name in the tree; empty for what is not of it: its top, and a repository that was packed along."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise ConfigError(f"{path}: a name leads out of the tarball: {name!r}")
    return b"" if any(part.lower() == ".git" for part in parts) else os.fsencode("/".join(parts))


def _quote(name: bytes) -> bytes:
    escaped = name.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return b'"%s"' % escaped


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo, name: bytes, path: Path) -> Iterator[bytes]:
    if member.isreg():
        mode = b"100755" if member.mode & 0o100 else b"100644"
        yield b"M %s inline %s\ndata %d\n" % (mode, name, member.size)
        yield from _content(archive, member)
        yield b"\n"
    elif member.issym():
        target = os.fsencode(member.linkname)
        yield b"M 120000 inline %s\ndata %d\n%s\n" % (name, len(target), target)
    elif member.islnk():
        yield b"C %s %s\n" % (_quote(_clean(member.linkname, path)), name)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    content = archive.extractfile(member)
    assert content
    left = member.size
    while left:
        block = content.read(min(left, _BLOCK))
        if not block:
            raise EOFError(f"the archive ends inside of {member.name}")
        left -= len(block)
        yield block


def _below_top(git: Git) -> str:
    """The tree below all directories that are alone: linux-6.12/ in most tarballs, none in others."""
    tree = ""
    while True:
        entries = git.run("ls-tree", "-z", tree or _REF).stdout.split(b"\0")[:-1]
        if len(entries) != 1 or not entries[0].startswith(b"040000 tree "):
            return tree or git.line("rev-parse", f"{_REF}^{{tree}}")
        tree = entries[0].split(b"\t")[0].split(b" ")[2].decode()
