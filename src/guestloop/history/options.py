# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of ``scripts/history``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def add_options(parser: argparse.ArgumentParser, path: Callable[[str], Path]) -> None:
    """Describe them to a parser; ``path`` reads one of a file or a directory."""
    parser.description = (
        "Flush requests for the same work of a guest, by call path and cell, over kernels and dates, from any"
        " number of results."
    )
    parser.epilog = (
        "Exit status: 0 if all was made, whatever it shows; 2 for wrong usage, for what is no result, and for"
        " a FILE that is no history: nothing is added then."
    )
    parser.add_argument("directories", nargs="*", type=path, metavar="DIR", help="result directories to add")
    parser.add_argument(
        "--store",
        type=path,
        metavar="FILE",
        help="keep what is needed of them in FILE (.jsonl.gz), beside what it has: the history can then be"
        " made again without the results. A result that it has already is not added again",
    )
    parser.add_argument(
        "--out",
        type=path,
        metavar="DIR",
        help="where to write history.html and history.csv; default: beside FILE, else results/history",
    )
    parser.add_argument(
        "--calibration",
        type=path,
        metavar="DIR",
        help="keep there the rounds of kernels that have two or more of a cell, as scripts/calibrate --store"
        " does: what verdicts on this class of machines learn from",
    )
