# SPDX-License-Identifier: GPL-2.0-or-later
"""Trees of /proc, /sys and /dev of whole hosts, kept as one text each in ``data/hosts``.

A text begins with comments: what host it is, and whether it was recorded or composed. ``-- PATH -- WHO``
begins a file, WHO being the function of the kernel that prints it where it was composed. ``PATH xN`` is
repeated for N processors, ``{n}`` being their number. A path that ends in ``/*`` has a file on each line, its
name and then what is in it; one that ends in ``/`` is a directory.
"""

from __future__ import annotations

import re
from pathlib import Path

DATA = Path(__file__).parent / "data/hosts"
NAMES = sorted(path.stem for path in DATA.glob("*.txt"))

_HEAD = re.compile(r"^-- (\S+)(?: x(\d+))? --(?: (.+))?\n", re.MULTILINE)


def about(name: str) -> str:
    """The comments of a host."""
    return (DATA / f"{name}.txt").read_text().partition("\n--")[0]


def printers(name: str) -> dict[str, str]:
    """Who prints the files of a host, by their paths."""
    return {path: who for path, _, who in _HEAD.findall((DATA / f"{name}.txt").read_text())}


def lay(name: str, root: Path) -> Path:
    """Make the tree of a host below ``root``; returns that."""
    _, *pieces = _HEAD.split((DATA / f"{name}.txt").read_text())
    for path, repeated, content in zip(pieces[::4], pieces[1::4], pieces[3::4], strict=True):
        if path.endswith("/"):
            (root / path).mkdir(parents=True)
        elif path.endswith("/*"):
            for line in content.splitlines():
                own, _, value = line.partition(" ")
                put(root / path.removesuffix("*") / own, f"{value}\n")
        else:
            numbers = range(int(repeated or 1))
            put(root / path, "".join(content.replace("{n}", f"{number}") for number in numbers))
    return root


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
