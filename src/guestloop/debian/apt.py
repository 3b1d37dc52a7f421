# SPDX-License-Identifier: GPL-2.0-or-later
"""apt with sources, lists and a cache of its own: the machine's apt is left alone, and root is not needed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from guestloop.debian.sources import fetch_options
from guestloop.ground import proc

TIMEOUT_S = 900.0
NULL = "/dev/null"


class PrivateApt:
    """apt below one directory, which may be used again: lists that did not change are not fetched again.

    Of the machine's configuration only how packages are fetched is taken (proxies, retries), and the keys
    and credentials in /etc/apt. Its hooks do not run. What is not signed is refused, whatever the machine's
    configuration says.
    """

    def __init__(self, directory: Path, sources: str) -> None:
        self.directory = directory
        self._sources = directory / "debian.sources"
        self._options = directory / "apt.conf"
        for name in ("lists/partial", "cache/archives/partial"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / "status").touch()
        self._sources.write_text(sources)
        self._options.write_text(fetch_options() + self._render())

    @property
    def lists(self) -> Path:
        """Where the Release files and the lists of packages are."""
        return self.directory / "lists"

    def update(self, hint: str = "") -> None:
        """Read the lists anew. Raises ProcessError if one cannot be read or is not signed."""
        # The index of all lists takes longer than the rest, and whoever reads the lists does not need it.
        self.run("--option=pkgCacheFile::Generate=false", "update", hint=hint)

    def run(self, *arguments: str, cwd: Path | None = None, hint: str = "") -> proc.Finished:
        """Run ``apt-get``. Raises ProcessError if it fails."""
        env = {"TMPDIR": os.fspath(self.directory), "APT_CONFIG": os.fspath(self._options)}
        return proc.run(["apt-get", *arguments], cwd=cwd, env=env, timeout_s=TIMEOUT_S, hint=hint)

    def _render(self) -> str:
        return "".join(f'{name} "{value}";\n' for name, value in self._settings().items())

    def _settings(self) -> Mapping[str, object]:
        """Options of apt.conf(5). The file of ``APT_CONFIG`` is read first and says where others would be."""
        return {
            "Dir::Etc::main": NULL,
            "Dir::Etc::parts": NULL,
            "Dir::Etc::sourcelist": self._sources,
            "Dir::Etc::sourceparts": NULL,
            "Dir::Etc::preferences": NULL,
            "Dir::Etc::preferencesparts": NULL,
            "Dir::State": self.directory,
            "Dir::State::lists": self.lists,
            "Dir::State::status": self.directory / "status",
            "Dir::Cache": self.directory / "cache",
            "Dir::Cache::pkgcache": "",  # an index of the lists, as large as they are and soon made again
            "Dir::Cache::srcpkgcache": "",
            "Dir::Log": self.directory,
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "root",  # the directory need not be open to another user
            "APT::Update::Error-Mode": "any",  # lists of before are not good enough in silence
            "Acquire::AllowInsecureRepositories": "false",
            "Acquire::AllowWeakRepositories": "false",
            "Acquire::AllowDowngradeToInsecureRepositories": "false",
            "Acquire::Languages": "none",
            "Acquire::PDiffs": "false",
        }


class Trouble(StrEnum):
    """Why package sources cannot be read."""

    NO_KEY = "no key"
    UNSIGNED = "unsigned"
    NO_SUITE = "no suite"
    UNREACHABLE = "unreachable"

    @property
    def is_of_the_moment(self) -> bool:
        """What was read before is still as good as it was then."""
        return self in {Trouble.NO_SUITE, Trouble.UNREACHABLE}


# What apt 2.6 prints (apt-pkg/acquire-item.cc, methods/gpgv.cc, methods/connect.cc), the most telling first.
_TROUBLES = (
    (Trouble.NO_KEY, re.compile(r"NO_PUBKEY (\w+)")),
    (Trouble.UNSIGNED, re.compile(r"(The following signatures (?:were invalid|couldn't be verified)[^\n]*)")),
    (Trouble.UNSIGNED, re.compile(r"repository '[^']*' (is (?:not|no longer) signed)")),
    (Trouble.NO_SUITE, re.compile(r"repository '([^']*)' (?:does not have|no longer has) a Release file")),
    (Trouble.UNREACHABLE, re.compile(r"^E: (?:Failed to fetch \S+\s+)?(.*)$", re.MULTILINE)),
)


def diagnose(output: str) -> tuple[Trouble, str]:
    """What apt-get complained of, and its own words for it: keys, an address, a reason (pure)."""
    for trouble, pattern in _TROUBLES:
        if found := pattern.findall(output):
            return trouble, ", ".join(dict.fromkeys(found)) if trouble is Trouble.NO_KEY else found[0]
    return Trouble.UNREACHABLE, output.strip() or "no reason given"
