# SPDX-License-Identifier: GPL-2.0-or-later
"""From the rounds of a result directory to its verdict and report, without a guest."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

from guestloop.compare import Verdict, compare
from guestloop.ground import proc
from guestloop.ground.errors import ConfigError, GuestloopError
from guestloop.ground.log import can_colour, say
from guestloop.job.calibration import load_calibration
from guestloop.report import (
    VERDICT_FILE,
    render_brief,
    render_text,
    result_of,
    write_formats,
    write_verdict,
)
from guestloop.results.good_rounds import RunClass
from guestloop.results.late import read_late
from guestloop.results.plan import PLAN_FILE, Plan, read_plan
from guestloop.results.records import read_rounds
from guestloop.results.sittings import read_sittings, with_all_looks

READ_ONLY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
GIT_S = 10.0


def conclude(out: Path, *, replace_old: bool = False, verbose: bool = False) -> Verdict:
    """Compare the rounds of a result directory, write its verdict and report, and print what matters of it.

    With ``replace_old`` a directory that cannot be written, as that of another user, still has its verdict
    printed. ``verbose`` prints every figure.
    """
    plan, verdict = _judge(out, replace_old)
    colour = can_colour(sys.stdout)
    if verbose:
        text = render_text(plan, verdict, colour, out)
    else:
        text = render_brief(result_of(plan, verdict, read_sittings(out)), out, colour=colour)
    print(text, flush=True)
    return verdict


def conclude_interrupted(out: Path) -> None:
    """Write the verdict and report on what there is of a run that ends otherwise, as far as can be."""
    try:
        _judge(out, replace_old=True)
    except (GuestloopError, OSError) as error:
        say(f"==> there is no verdict on what was measured: {error}")


def _judge(out: Path, replace_old: bool) -> tuple[Plan, Verdict]:
    sittings = read_sittings(out)
    plan = with_all_looks(read_plan(out), sittings)
    verdict = compare(plan, read_rounds(out), read_late(out), load_calibration(RunClass.of(plan)))
    try:
        write_verdict(out, plan, verdict, sittings, replace=replace_old)
    except OSError as error:
        if not replace_old or error.errno not in READ_ONLY:
            raise
        say(f"==> {out / VERDICT_FILE} is left as it is: {error.strerror}")
    else:
        _report(out)
    return plan, verdict


def _report(out: Path) -> None:
    """Make the files of the report; a verdict that is written keeps its exit status if one cannot be made."""
    try:
        write_formats(out, find_sender())
    except Exception as error:  # noqa: BLE001 - its exit status would mean something else
        say(f"==> the report in {out} is not whole: {type(error).__name__}: {error}")
        say(f"      scripts/report {out} makes it again")


def report(out: Path) -> tuple[Path, ...]:
    """Make the files of a report again.

    Raises ConfigError if ``out`` holds no results, and what ``write_formats`` raises.
    """
    if not (out / PLAN_FILE).exists() and not (out / VERDICT_FILE).exists():
        raise ConfigError(f"{out} is not a result directory (no {PLAN_FILE}, no {VERDICT_FILE})")
    return write_formats(out, find_sender())


def find_sender() -> str:
    """``Jane Doe <jane@example.org>``, as git has it for who runs this; empty if it has none."""
    name, address = (_git_config(f"user.{key}") for key in ("name", "email"))
    return f"{name} <{address}>" if name and address else ""


def _git_config(key: str) -> str:
    try:
        answer = proc.read(["git", "config", "--get", key], timeout_s=GIT_S, check=False)
    except (GuestloopError, OSError):
        return ""
    return answer.stdout.decode(errors="replace").strip()
