# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of files that the other end gives: they must not lead out of the directory they are meant for."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from guestloop.ground.errors import LabError


def within(directory: Path, name: str) -> Path:
    """The path of ``name`` below a directory. Raises LabError for one that is elsewhere, or behind a link."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise LabError(f"a name from the other end of --host leads elsewhere: {name!r}")
    path = directory
    for part in parts[:-1]:
        path = path / part
        if path.is_symlink():
            raise LabError(f"a name from the other end of --host leads through a link: {name!r}")
    return path / parts[-1]
