# SPDX-License-Identifier: GPL-2.0-or-later
"""A result directory belongs to one run at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guestloop.ground.errors import ConfigError


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Keep others from measuring into ``out`` while the body runs; the kernel ends it with this process.

    Raises ConfigError while another run does. A file system that knows no locks is taken as it is.
    """
    handle = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise ConfigError(
                    f"{out}: another run is measuring into it", hint="wait for its end, or end it"
                ) from error
        yield
    finally:
        os.close(handle)
