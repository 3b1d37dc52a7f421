# SPDX-License-Identifier: GPL-2.0-or-later
"""Read a series from files and folders, whatever they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from guestloop.config.change import PATCHES, is_patch_name
from guestloop.ground.errors import ConfigError
from guestloop.ground.words import listed
from guestloop.sources.mail import is_mail
from guestloop.sources.mailbox import in_given_order, in_order, read_mailbox
from guestloop.sources.series import Series, join, no_patches, read_bytes, read_diff

QUILT = "series"
SHOWN = 3  # names of other files in a folder

_QUILT_LINE = re.compile(r"(?P<name>\S+)(?:\s+-p\s*(?P<strip>\d+|ab))?")
_DIGITS = re.compile(r"(\d+)")


def read_series(paths: Sequence[Path]) -> Series:
    """Read the patches in files and folders, in this order; none of no paths.

    A file is a diff, a mail or a mailbox, also packed by gzip, xz or bzip2. A folder has such files, as
    ``git format-patch`` writes them, a quilt ``series`` that names them, or is a Maildir. What else is in it
    is in the notes. Raises ConfigError for what has no diff, a damaged one or more than one series; the
    message names file and line, the hint what to do.
    """
    series = in_given_order(join(_read(path) for path in paths))
    if paths and not series.patches:
        raise no_patches(paths, series.notes)
    return series


def _read(path: Path) -> Series:
    if path.is_dir():
        return _read_folder(path)
    return _read_quilt(path) if path.name == QUILT else _read_file(path)


def _read_file(path: Path) -> Series:
    data = read_bytes(path)
    return read_mailbox(path, data) if is_mail(data) else read_diff(path, data)


def _read_folder(folder: Path) -> Series:
    inside = _files(folder)  # which says so if the folder cannot be read
    for quilt in (folder / QUILT, folder / "patches" / QUILT, folder / "debian/patches" / QUILT):
        if quilt.is_file():
            return _read_quilt(quilt)
    if (folder / "cur").is_dir() and (folder / "new").is_dir():
        files, others = [path for part in ("cur", "new") for path in _files(folder / part)], []
    else:
        files = [path for path in inside if is_patch_name(path.name)]
        others = [path.name for path in inside if not is_patch_name(path.name)]
    if not files:
        known = ", ".join(f"*{suffix}" for suffix in PATCHES)
        raise ConfigError(
            f"{folder}: no patches in this folder: no file {QUILT}, and no {known}",
            hint="the changes of a git tree are named by --git" if (folder / ".git").exists() else "",
        )
    series = in_order(join(_read_file(path) for path in files), str(folder))
    if not others:
        return series
    note = f"{folder}: by their names no patches, left out: {listed(others, SHOWN)}"
    return replace(series, notes=(*series.notes, note))


def _files(folder: Path) -> list[Path]:
    """The files of a folder in their order, without what editors leave. Raises ConfigError."""
    try:
        found = [path for path in folder.iterdir() if not path.name.startswith(".") and not path.is_dir()]
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}") from error
    return sorted((path for path in found if not path.name.endswith("~")), key=_natural)


def _natural(path: Path) -> list[object]:
    """Sorts 9-x.patch before 10-x.patch."""
    parts = _DIGITS.split(path.name)
    return [int(part) if number % 2 else part for number, part in enumerate(parts)]


def _read_quilt(quilt: Path) -> Series:
    """The patches that a ``series`` file of quilt names, each with its ``-p`` option."""
    return join(list(_quilt(quilt)))


def _quilt(quilt: Path) -> Iterator[Series]:
    for number, line in enumerate(read_bytes(quilt).decode(errors="replace").splitlines(), start=1):
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if not text:
            continue
        match = _QUILT_LINE.fullmatch(text)
        if not match:
            raise ConfigError(
                f"{quilt}: line {number}: not a patch and at most -pN: {text!r}",
                hint="a series file of quilt names a patch per line",
            )
        path = quilt.parent / match["name"]
        if not path.is_file():
            raise ConfigError(f"{quilt}: line {number}: no such patch: {path}", hint="is the folder whole?")
        found = _read_file(path)
        strip = int(match["strip"].replace("ab", "1")) if match["strip"] else None
        yield replace(found, patches=tuple(replace(patch, strip=strip) for patch in found.patches))
