# SPDX-License-Identifier: GPL-2.0-or-later
"""Groups of words of the command line, and how their values are read."""

from __future__ import annotations

import argparse
from pathlib import Path

from guestloop.machines.choice import AUTO, KINDS


def names(text: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(name for name in text.split(",") if name)


def word(text: str) -> str:
    """Any text but none at all."""
    if not text:  # a variable that is not set, and neither the default nor the current directory
        raise argparse.ArgumentTypeError("a value was wanted, seen: ''")
    return text


def path(text: str) -> Path:
    """A file or directory."""
    return Path(word(text))


def count(text: str) -> int:
    """A number of 1 or more."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a number of 1 or more was wanted, seen: {text!r}")
    return int(text)


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """The words of ``scripts/doctor``."""
    parser.description = "What this machine can run, why not more, and what would spoil a measurement."
    parser.epilog = "Changes nothing. Exit status: 0 if anything can be run, 3 if nothing, 2: wrong usage."
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--features",
        action="store_true",
        help="print the labels that a scheduler wants, such as svm,npt or vmx,ept,eptad,pml: what an L1 on"
        " hardware gets here; tcg where there is only the emulator",
    )
    form.add_argument("--json", action="store_true", help="print everything, for programs")


def add_calibrate(parser: argparse.ArgumentParser) -> None:
    """The words of ``scripts/calibrate``."""
    parser.add_argument(
        "directory",
        type=path,
        metavar="DIR",
        help="holds the sittings; can be resumed. A file of docs/calibration: counts what its rounds promise",
    )
    parser.add_argument("--sittings", type=int, default=6, metavar="N", help="default: 6; 0 measures nothing")
    parser.add_argument("--kernel", default="unpatched", metavar="K", help="default: unpatched")
    parser.add_argument("--profile", default="default")
    parser.add_argument("--tests", type=names, default=(), metavar="T,...", help="default: all")
    parser.add_argument("--rounds", type=count, default=2, metavar="N", help="of a sitting; default: 2")
    parser.add_argument("--accel", choices=(AUTO, *(kind.name for kind in KINDS)), default=AUTO)
    parser.add_argument("--runs", type=count, default=1000, metavar="N", help="to draw; default: 1000")
    parser.add_argument(
        "--store", type=path, metavar="DIR", help="keep the rounds there; default: they are not kept"
    )


def add_change(parser: argparse.ArgumentParser) -> None:
    """One change that is compared with what it is made to, in place of ``--kernels``."""
    parser.add_argument(
        "change",
        nargs="*",
        metavar="PATCH",
        help="patches, mailboxes, folders of patches, or a message-id: all of them one series, compared with"
        " --base; with --git also BASE..BRANCH, BASE...BRANCH (their merge base), one revision (against its"
        " parent) or two",
    )
    parser.add_argument("--base", type=word, metavar="KERNEL", help="of kernels/*.yaml; default: unpatched")
    parser.add_argument("--git", type=path, metavar="TREE", help="work tree or bare repository")
    parser.add_argument("--dirty", action="store_true", help="TREE as it stands, against HEAD or BASE")
    parser.add_argument("--3way", dest="threeway", action="store_true", help="as in git am")
    parser.add_argument(
        "--config-a", type=path, metavar="FILE", help="a whole .config, for both kernels or the reference"
    )
    parser.add_argument("--config-b", type=path, metavar="FILE", help="that of the candidate")
    parser.add_argument(
        "--expect",
        action="append",
        default=[],
        metavar="PATH:fewer",
        help="what the change is for, on a call path: fewer or more flush requests; can be repeated",
    )
