# SPDX-License-Identifier: GPL-2.0-or-later
"""Directories as a stream of tar, with modes, times and holes as they are; owners are those of the taker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from guestloop.ground import proc
from guestloop.ground.errors import ProcessError
from guestloop.remote.wire import PIECE


def pack(directory: Path) -> Iterator[bytes]:
    """What is in a directory, as tar. Raises ProcessError when it cannot be read to its end."""
    argv = ["tar", "--create", "--sparse", "--numeric-owner", f"--directory={directory}", "."]
    with proc.spawn(argv, stdout=proc.PIPE, stderr=proc.NULL, quick=True) as process:
        assert process.stdout
        yield from iter(partial(process.stdout.read, PIECE), b"")
        if status := process.wait():
            raise ProcessError(argv, status, f"{directory} was not read to its end")


def unpack(pieces: Iterable[bytes], directory: Path) -> None:
    """The inverse. Raises ProcessError, with what tar says, and what ``pieces`` raises."""
    argv = ["tar", "--extract", "--preserve-permissions", "--no-same-owner", f"--directory={directory}"]
    with proc.spawn(argv, stdin=proc.PIPE, stdout=proc.PIPE, quick=True) as process:
        assert process.stdin and process.stdout
        rest = iter(pieces)
        with suppress(BrokenPipeError):
            for piece in rest:
                process.stdin.write(piece)
            process.stdin.close()
        said, status = process.stdout.read().decode(errors="replace"), process.wait()
        if status:
            raise ProcessError(argv, status, said)
