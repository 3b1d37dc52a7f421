# SPDX-License-Identifier: GPL-2.0-or-later
"""The source of QEMU as Debian has it, in the version of the installed package, with Debian's patches."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from guestloop.debian.apt import PrivateApt
from guestloop.debian.installed import query_installed
from guestloop.debian.sources import find_release
from guestloop.ground import proc
from guestloop.ground.log import Step

PACKAGE = "qemu-system-x86"
TIMEOUT_S = 900.0
FETCH_HINT = (
    "the source comes from this machine's own apt sources (asked for deb-src): does `apt-get update` work,"
    f" and is {PACKAGE} up to date?"
)


@dataclass(frozen=True)
class DebianSource:
    """A source package by name and version, as dpkg knows it of an installed binary package."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def unpack(self, scratch: Path, progress: Step) -> Path:
        """Fetch into ``scratch`` and unpack with Debian's patches applied; gives the tree.

        Raises ProcessError when it cannot be fetched, LabError on a machine that is not Debian.
        """
        scratch.mkdir()
        apt = PrivateApt(scratch, find_release().render("deb-src"))
        progress.update("reading the lists of source packages")
        apt.update(FETCH_HINT)
        progress.update(f"fetching {self}")
        apt.run("source", "--download-only", f"{self.name}={self.version}", cwd=scratch, hint=FETCH_HINT)
        progress.update(f"unpacking {self}")
        (description,) = scratch.glob("*.dsc")  # apt has checked it against the signed lists
        tree = scratch / "source"
        argv: list[proc.Arg] = ["dpkg-source", "--no-check", "--extract", description, tree]
        proc.run(argv, cwd=scratch, env={"TMPDIR": os.fspath(scratch)}, timeout_s=TIMEOUT_S)
        return tree


def find_source() -> DebianSource:
    """The source package that the installed QEMU was made of. Raises LabError when it is not installed."""
    hint = "the emulator is built from Debian's source package"
    return DebianSource(*query_installed(PACKAGE, "source:Package", "source:Version", hint=hint))
