# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of ``scripts/run`` about another machine."""

from __future__ import annotations

import argparse

RECORD_FILE = "remote.json"
"""In a directory with results: they are of a run on another machine (record.py)."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe them to a parser."""
    parser.add_argument(
        "--host",
        metavar="[USER@]HOST[:PORT]",
        help="run on another machine, through ssh, and bring the results home. A lost connection does not end"
        " the run: the same command again, or --resume OUT, picks it up",
    )
    parser.add_argument(
        "--host-dir",
        metavar="DIR",
        help="of that machine, by its whole path: keep everything there, the cache too; default:"
        " ~/.guestloop, and the cache of that user",
    )
