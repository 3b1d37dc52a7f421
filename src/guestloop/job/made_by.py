# SPDX-License-Identifier: GPL-2.0-or-later
"""Which guestloop this is, for the results that it makes."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import guestloop
from guestloop.config import REPOSITORY
from guestloop.ground.date import now_utc
from guestloop.ground.errors import GuestloopError
from guestloop.results.plan import MadeBy, Plan
from guestloop.sources.git import Git


def signed(plan: Plan) -> Plan:
    """The plan of a run that begins now, with an id of its own, made by this guestloop."""
    made_by = describe_checkout(REPOSITORY)
    return replace(plan, started=now_utc(), run_id=str(uuid.uuid4()), made_by=made_by)


def describe_checkout(directory: Path) -> MadeBy:
    """The version, and the commit of the checkout that it is run from; no results fail for want of it."""
    try:
        commit = Git().line("rev-parse", "--verify", "HEAD", cwd=directory)
        changed = Git().line("status", "--porcelain", "--untracked-files=no", cwd=directory)
    except GuestloopError:  # no git, or no checkout
        return MadeBy(guestloop.__version__)
    return MadeBy(guestloop.__version__, commit, bool(changed))
