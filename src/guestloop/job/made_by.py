# SPDX-License-Identifier: GPL-2.0-or-later
"""Which guestloop this is, for the results that it makes."""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import guestloop
from guestloop.config import REPOSITORY
from guestloop.ground.codec import decode
from guestloop.ground.date import now_utc
from guestloop.ground.errors import GuestloopError
from guestloop.results.plan import MadeBy, Plan
from guestloop.sources.git import Git

MADE_BY_FILE = ".made-by.json"
"""At the top of a copy of a checkout, which has no repository (remote/checkout.py)."""


def signed(plan: Plan) -> Plan:
    """The plan of a run that begins now, with an id of its own, made by this guestloop."""
    made_by = describe_checkout(REPOSITORY)
    return replace(plan, started=now_utc(), run_id=str(uuid.uuid4()), made_by=made_by)


def describe_checkout(directory: Path) -> MadeBy:
    """The version, and the commit of the checkout that it is run from; no results fail for want of it.

    A copy that ``--host`` has made of a checkout says which one it is of.
    """
    with suppress(FileNotFoundError):
        return decode(MadeBy, json.loads((directory / MADE_BY_FILE).read_text()))
    try:
        commit = Git().line("rev-parse", "--verify", "HEAD", cwd=directory)
        changed = Git().line("status", "--porcelain", "--untracked-files=no", cwd=directory)
    except GuestloopError:  # no git, or no checkout
        return MadeBy(guestloop.__version__)
    return MadeBy(guestloop.__version__, commit, bool(changed))
