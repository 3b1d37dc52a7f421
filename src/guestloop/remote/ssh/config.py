# SPDX-License-Identifier: GPL-2.0-or-later
"""How to reach a host: ``~/.ssh/config`` and ``/etc/ssh/ssh_config``, of which paramiko knows no Include."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko

from guestloop.ground.errors import ConfigError
from guestloop.ground.surroundings import home
from guestloop.remote.address import Address, parse_address

SYSTEM = Path("/etc/ssh")
DEEPEST = 16  # as in ssh (readconf.c: READCONF_MAX_DEPTH)
TIMEOUT_S = 30

ALONE = frozenset({"all", "canonical", "final"})
CRITERIA = ALONE | {"host", "originalhost", "user", "localuser"}
"""What paramiko knows of Match without running a program."""


@dataclass(frozen=True)
class Login:
    """How a host is reached, and whom it has to be.

    ``known_as`` are the names that known_hosts may have it by, in the order in which ssh looks for them.
    ``jumps`` are the hosts on the way, the nearest first; ``proxy`` is a command in place of them.
    """

    address: Address
    machine: str
    port: int
    user: str
    known_as: tuple[str, ...]
    known_hosts: tuple[Path, ...]
    identities: tuple[Path, ...] = ()
    only_these: bool = False
    agent: bool = True
    jumps: tuple[Address, ...] = ()
    proxy: str = ""
    timeout_s: float = TIMEOUT_S


def find_login(address: Address, *, system: Path = SYSTEM) -> Login:
    """What the configuration says of a host. Raises ConfigError if it cannot be read."""
    own = (home() or Path("/nonexistent")) / ".ssh"
    said = _look_up(address, own, system)
    machine, port = said["hostname"], _number(address, said, "port", 22)
    alias = said.get("hostkeyalias", "")
    jump = said.get("proxyjump", "none")
    return Login(
        address=address,
        machine=machine,
        port=port,
        user=said.get("user", ""),
        known_as=(alias,) if alias else _names(machine, port),
        known_hosts=tuple(_known_hosts(said, own, system)),
        identities=tuple(Path(name) for name in said.get("identityfile", ())),
        only_these=said.get("identitiesonly", "no") == "yes",
        agent=said.get("identityagent", "") != "none",
        jumps=() if jump == "none" else tuple(_parse_jump(one) for one in jump.split(",")),
        proxy=said.get("proxycommand") or "",
        timeout_s=_number(address, said, "connecttimeout", TIMEOUT_S),
    )


def _number(address: Address, said: paramiko.SSHConfigDict, option: str, usual: int) -> int:
    value = said.get(option, str(usual))
    if not value.isdecimal():
        raise _unusable(address, f"{option} {value}")
    return int(value)


def _unusable(address: Address, why: object) -> ConfigError:
    return ConfigError(f"--host {address}: the configuration of ssh cannot be used: {why}")


def _look_up(address: Address, own: Path, system: Path) -> paramiko.SSHConfigDict:
    # The first value of an option is the one that counts, so that of the command line goes first.
    given = [f"User {address.user}"] if address.user else []
    given += [f"Port {address.port}"] if address.port else []
    lines = [*given, *_read(own / "config", own), "Host *", *_read(system / "ssh_config", system)]
    try:
        return paramiko.SSHConfig.from_text("\n".join(lines)).lookup(address.host)
    # A line that is none, a name that cannot be made canonical.
    except (paramiko.SSHException, LookupError, ValueError) as error:
        raise _unusable(address, error) from error


def _read(path: Path, directory: Path, depth: int = 0) -> Iterator[str]:
    """The lines of a file with those that it includes; none if it is not there.

    After an Include the block that it stands in goes on, whatever blocks the file had.
    """
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return
    block = "Host *"
    for line in lines:
        keyword, _, value = line.strip().replace("=", " ", 1).partition(" ")
        if keyword.lower() in ("host", "match"):
            _refuse_unknown(path, line, keyword, value)
            block = line
        if keyword.lower() != "include":
            yield line
        elif depth < DEEPEST:
            for included in _included(value, directory):
                yield block
                yield from _read(included, directory, depth + 1)
            yield block


def _refuse_unknown(path: Path, line: str, keyword: str, value: str) -> None:
    """Raise ConfigError for a Match that paramiko would take for one of every host, or cannot decide."""
    if keyword.lower() == "match" and not set(_criteria(value)) <= CRITERIA:
        raise ConfigError(
            f"{path}: {line.strip()}: of Match only {', '.join(sorted(CRITERIA))} are supported",
            hint="a Host block says the same for the hosts that it names",
        )


def _criteria(value: str) -> Iterator[str]:
    """The words of a Match without their patterns."""
    words = iter(shlex.split(value))
    for word in words:
        criterion = word.removeprefix("!").lower()
        yield criterion
        if criterion not in ALONE:
            next(words, None)


def _included(value: str, directory: Path) -> Iterator[Path]:
    for pattern in shlex.split(value):
        path = Path(pattern).expanduser() if pattern.startswith("~") else directory / pattern
        yield from sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))


def _names(machine: str, port: int) -> tuple[str, ...]:
    return (machine,) if port == 22 else (f"[{machine}]:{port}", machine)


def _known_hosts(said: paramiko.SSHConfigDict, own: Path, system: Path) -> Iterator[Path]:
    for option, usual in (
        ("userknownhostsfile", (own / "known_hosts", own / "known_hosts2")),
        ("globalknownhostsfile", (system / "ssh_known_hosts", system / "ssh_known_hosts2")),
    ):
        named = (Path(name.replace("%d", str(own.parent))) for name in shlex.split(said.get(option, "")))
        yield from (path.expanduser() for path in named) if option in said else usual


def _parse_jump(text: str) -> Address:
    return parse_address("ProxyJump", text.strip().removeprefix("ssh://"))
