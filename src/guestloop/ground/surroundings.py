# SPDX-License-Identifier: GPL-2.0-or-later
"""What of this process's environment other programs get to see: a list, and not whatever happens to be set.

``ARCH``, ``MAKEFLAGS``, ``GIT_DIR``, ``LD_PRELOAD``, ``TAR_OPTIONS``, ``LC_ALL`` and many others change what
a program does. The keys of the cache know nothing of them, so they must not reach a program either. What
shall change a result is an option, and part of a key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

PASSED_ON = frozenset(
    {
        *("HOME", "USER", "LOGNAME", "TERM"),
        # Programs that fetch something. curl takes the first of these in lower case only.
        *("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"),
        *("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
        # Coverage of the processes that tests start (coverage's patch "subprocess").
        *("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"),
    }
)
"""Variables that every program gets, besides PATH and TMPDIR, which are checked first."""

PASSED_ON_PREFIXES = ("XDG_", "PIP_", "GUESTLOOP_")

SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Directories that PATH always has: cron's has no sbin, in which mke2fs and mkswap are."""

LOCALE = {"LC_ALL": "C.UTF-8"}
NO_HOME = "/nonexistent"


def inherited(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a program that may know the user and the network."""
    given = os.environ if given is None else given
    own = {name: value for name, value in given.items() if _is_passed_on(name)}
    if "HOME" not in own and (user := home()):  # cron and others leave it to passwd(5)
        own["HOME"] = os.fspath(user)
    return bare(given) | own


def bare(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a build: where programs and space for temporary files are, and nothing of a user.

    A HOME that does not exist keeps the settings and packages in the user's own out of it.
    """
    given = os.environ if given is None else given
    temporary = Path(given.get("TMPDIR", ""))
    usable = temporary.is_absolute() and temporary.is_dir() and os.access(temporary, os.W_OK | os.X_OK)
    own = {"TMPDIR": os.fspath(temporary)} if usable else {}
    return {"PATH": search_path(given), "HOME": NO_HOME, **LOCALE, **own}


def search_path(given: Mapping[str, str] | None = None) -> str:
    """PATH with the directories of the system. Relative ones are left out: they would be of a source tree."""
    given = os.environ if given is None else given
    own = [name for name in given.get("PATH", "").split(os.pathsep) if name.startswith("/")]
    return os.pathsep.join(dict.fromkeys([*own, *SYSTEM_PATH]))


def home() -> Path | None:
    """The user's home directory; None for a user whom this machine does not know, when HOME is not set."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _is_passed_on(name: str) -> bool:
    return name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
