# SPDX-License-Identifier: GPL-2.0-or-later
"""``USER@LAB:PORT`` (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from guestloop.ground.errors import ConfigError

_FORM = re.compile(
    r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<bracketed>[^\]\s]+)\]|(?P<host>[^@\s:\[\]]+))(?::(?P<port>\d{1,5}))?"
)
HINT = "USER@HOST, USER@HOST:PORT or a Host of ~/.ssh/config; an IPv6 address is in brackets: [fe80::1]"


@dataclass(frozen=True)
class Address:
    """A host as the user named it. What is empty or None is as ~/.ssh/config has it."""

    host: str
    user: str = ""
    port: int | None = None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"{user}{f'[{self.host}]' if ':' in self.host else self.host}{port}"


def parse_address(option: str, text: str) -> Address:
    """What an option names. Raises ConfigError for what is no address."""
    match = _FORM.fullmatch(text)
    host = match and (match["bracketed"] or match["host"])
    # ssh and its configuration would take a leading dash for an option.
    if not match or not host or host.startswith("-") or (match["user"] or "").startswith("-"):
        raise ConfigError(f"{option} {text}: not an address of a host", hint=HINT)
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port < 65536:
        raise ConfigError(f"{option} {text}: a port is a number from 1 to 65535", hint=HINT)
    return Address(host, match["user"] or "", port)


@dataclass(frozen=True)
class Where:
    """What ``--host`` and ``--host-dir`` say."""

    address: Address
    directory: str = ""


def parse_where(host: str | None, directory: str | None) -> Where | None:
    """What the options say; None without ``--host``. Raises ConfigError for what cannot be."""
    if host is None:
        if directory is not None:
            raise ConfigError(f"--host-dir {directory}: of which host?", hint="--host USER@HOST")
        return None
    if directory is not None and not directory.startswith("/"):
        raise ConfigError(
            f"--host-dir {directory}: a whole path was wanted, as /srv/guestloop",
            hint="without it everything is kept in ~/.guestloop there",
        )
    return Where(parse_address("--host", host), directory.rstrip("/") if directory else "")
