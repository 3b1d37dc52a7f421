# SPDX-License-Identifier: GPL-2.0-or-later
"""The source of QEMU as Debian has it, in the version of the installed package, with Debian's patches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guestloop.ground import proc
from guestloop.ground.log import Step
from guestloop.images.apt import fetch_options, find_release
from guestloop.kernels.source import query_installed

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
        apt = ["apt-get", *self._apt_options(scratch)]
        progress.update("reading the lists of source packages")
        _run([*apt, "update"], scratch)
        progress.update(f"fetching {self}")
        _run([*apt, "source", "--download-only", f"{self.name}={self.version}"], scratch)
        progress.update(f"unpacking {self}")
        (description,) = scratch.glob("*.dsc")  # apt has checked it against the signed lists
        tree = scratch / "source"
        _run(["dpkg-source", "--no-check", "--extract", description, tree], scratch)
        return tree

    def _apt_options(self, scratch: Path) -> Sequence[str]:
        """Sources, lists and cache of its own: the machine's apt is left alone, root is not needed."""
        sources, options = scratch / "debian.sources", scratch / "apt.conf"
        sources.write_text(find_release().render("deb-src"))
        options.write_text(fetch_options())
        for name in ("lists/partial", "cache/archives/partial"):
            (scratch / name).mkdir(parents=True)
        settings = {
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": scratch / "lists",
            "Dir::Cache": scratch / "cache",
            "APT::Sandbox::User": "root",  # the scratch directory need not be open to another user
        }
        return [f"--config-file={options}", *(f"--option={name}={value}" for name, value in settings.items())]


def find_source() -> DebianSource:
    """The source package that the installed QEMU was made of. Raises LabError when it is not installed."""
    hint = "the emulator is built from Debian's source package"
    return DebianSource(*query_installed(PACKAGE, "source:Package", "source:Version", hint=hint))


def _run(argv: Sequence[proc.Arg], directory: Path) -> None:
    env = {"LC_ALL": "C", "TMPDIR": os.fspath(directory)}
    proc.run(argv, cwd=directory, env=env, timeout_s=TIMEOUT_S, hint=FETCH_HINT)
