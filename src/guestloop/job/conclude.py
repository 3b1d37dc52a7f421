# SPDX-License-Identifier: GPL-2.0-or-later
"""From the rounds of a result directory to its verdict, without a guest."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

from guestloop.compare import Verdict, compare
from guestloop.ground.log import can_draw, say
from guestloop.job.calibration import load_calibration
from guestloop.report import VERDICT_FILE, render_text, write_verdict
from guestloop.results.good_rounds import RunClass
from guestloop.results.late import read_late
from guestloop.results.plan import read_plan
from guestloop.results.records import read_rounds
from guestloop.results.sittings import read_sittings, with_all_looks

READ_ONLY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def conclude(out: Path, *, replace_old: bool = False) -> Verdict:
    """Compare the rounds of a result directory, write its verdict, and print it.

    With ``replace_old`` a directory that cannot be written, as that of another user, still has its verdict
    printed.
    """
    sittings = read_sittings(out)
    plan = with_all_looks(read_plan(out), sittings)
    verdict = compare(plan, read_rounds(out), read_late(out), load_calibration(RunClass.of(plan)))
    try:
        write_verdict(out, plan, verdict, sittings, replace=replace_old)
    except OSError as error:
        if not replace_old or error.errno not in READ_ONLY:
            raise
        say(f"==> {out / VERDICT_FILE} is left as it is: {error.strerror}")
    print(render_text(plan, verdict, colour=can_draw(sys.stdout), out=out), flush=True)
    return verdict
