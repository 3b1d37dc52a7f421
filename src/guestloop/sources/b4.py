# SPDX-License-Identifier: GPL-2.0-or-later
"""Series by message-id, fetched by b4 where it is installed and the network allows it."""

from __future__ import annotations

from pathlib import Path

from guestloop.cache import Cache
from guestloop.ground import proc
from guestloop.ground.errors import LabError, ProcessError
from guestloop.ground.log import step
from guestloop.sources.reading import read_series

MAIL_KIND = "mail"  # of cache entries
FETCH_EXPECT_S = 10.0
FETCH_S = 120.0
SAVE_HINT = "save the raw mail or mailbox (on lore the link 'raw' or 'mbox.gz') and name the file"


def fetch_series(message_id: str, cache: Cache) -> Path:
    """The mailbox with the series that a mail belongs to, from the cache or fetched now.

    Raises LabError if b4 is not installed or gets nothing, ConfigError if that is no whole series.
    """
    entry = cache.obtain(MAIL_KIND, {"message_id": message_id}, lambda into: _fetch(message_id, into))
    return _mailbox(entry)


def _fetch(message_id: str, into: Path) -> None:
    if not proc.has_program("b4"):
        raise LabError(f"{message_id}: b4, which fetches mails, is not installed", hint=SAVE_HINT)
    with step(f"fetch {message_id} by b4", expect_s=FETCH_EXPECT_S):
        try:
            proc.run(["b4", "am", "-o", into, message_id], timeout_s=FETCH_S)
        except LabError as error:
            raise LabError(
                f"{message_id}: b4 does not get it: {_last_line(error)}", hint=SAVE_HINT
            ) from error
    if not list(into.glob("*.mbx")):
        raise LabError(f"{message_id}: b4 found no patches", hint=SAVE_HINT)
    read_series([_mailbox(into)])  # what is not whole now may be so tomorrow, so it must not stay


def _last_line(error: LabError) -> str:
    said = error.output if isinstance(error, ProcessError) else str(error)
    return next(filter(None, map(str.strip, reversed(said.splitlines()))), "it says nothing")


def _mailbox(entry: Path) -> Path:
    return next(entry.glob("*.mbx"))
