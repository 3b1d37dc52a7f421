# SPDX-License-Identifier: GPL-2.0-or-later
"""What threads die of that nobody waits for: kept until somebody asks, so that none dies unseen.

The lab and the agents serve each request in a thread, and its errors are answered. Other threads have no
caller: they measure the pace, boot ahead, read what a guest says, watch a migration. Whoever ends a round
calls ``raise_kept``, so that a fault of one of them is the reason of that round and not a silent hang.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from guestloop.ground.errors import InternalError

_lock = threading.Lock()
_kept: list[tuple[str, BaseException]] = []


def keep(who: str, error: BaseException) -> None:
    """Keep an error for ``raise_kept``. It is printed too: a log is read when nobody can ask any more."""
    traceback.print_exception(error)
    with _lock:
        _kept.append((who, error))


@contextmanager
def keeping(who: str) -> Iterator[None]:
    """Keep what the body raises, for threads that go on after it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - there is no caller who could see it
        keep(who, error)


def watch_threads() -> None:
    """From now on keep what any thread of this process dies of."""

    def died(fault: threading.ExceptHookArgs) -> None:
        if fault.exc_value is not None and not isinstance(fault.exc_value, SystemExit):
            keep(f"thread {fault.thread.name if fault.thread else '?'}", fault.exc_value)

    threading.excepthook = died


def raise_kept(process: str) -> None:
    """Raise InternalError when something was kept since the last time: the first, and how many more.

    ``process`` is what this process is called in the message.
    """
    with _lock:
        kept = list(_kept)
        _kept.clear()
    if not kept:
        return
    who, first = kept[0]
    more = f" (and {len(kept) - 1} more)" if len(kept) > 1 else ""
    raise InternalError(
        f"{who} of {process} failed: {type(first).__name__}: {first}{more}",
        traceback="".join(traceback.format_exception(first)),
    )
