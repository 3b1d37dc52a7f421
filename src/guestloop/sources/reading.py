# SPDX-License-Identifier: GPL-2.0-or-later
"""Read a series from files and folders, whatever they hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from guestloop.sources.mail import is_mail
from guestloop.sources.mailbox import read_mailbox
from guestloop.sources.series import Series, join, no_patches, read_bytes, read_diff


def read_series(paths: Sequence[Path]) -> Series:
    """Read the patches in files and folders, in this order; none of no paths.

    A file is a diff, a mail or a mailbox, also packed by gzip, xz or bzip2. Raises ConfigError for what has
    no diff, a damaged one or more than one series; the message names file and line, the hint what to do.
    """
    series = join(_read_file(path) for path in paths)
    if paths and not series.patches:
        raise no_patches(paths, series.notes)
    return series


def _read_file(path: Path) -> Series:
    data = read_bytes(path)
    return read_mailbox(path, data) if is_mail(data) else read_diff(path, data)
