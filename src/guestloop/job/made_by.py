# SPDX-License-Identifier: GPL-2.0-or-later
"""Which guestloop this is, for the results that it makes."""

from __future__ import annotations

from pathlib import Path

import guestloop
from guestloop.ground.errors import GuestloopError
from guestloop.results.plan import MadeBy
from guestloop.sources.git import Git


def describe_checkout(directory: Path) -> MadeBy:
    """The version, and the commit of the checkout that it is run from; no results fail for want of it."""
    try:
        commit = Git().line("rev-parse", "--verify", "HEAD", cwd=directory)
        changed = Git().line("status", "--porcelain", "--untracked-files=no", cwd=directory)
    except GuestloopError:  # no git, or no checkout
        return MadeBy(guestloop.__version__)
    return MadeBy(guestloop.__version__, commit, bool(changed))
