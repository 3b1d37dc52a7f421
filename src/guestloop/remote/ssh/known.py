# SPDX-License-Identifier: GPL-2.0-or-later
"""Which keys a host may have: those that known_hosts has for it, and no other.

Keys of authorities (``@cert-authority``) are left out, since paramiko knows no certificates of hosts: a host
that has nothing else is refused as unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

from guestloop.ground.errors import LabError

REVOKED = "@revoked"
RSA = ("rsa-sha2-512", "rsa-sha2-256")
"""How a key of type ssh-rsa signs (RFC 8332)."""


@dataclass(frozen=True)
class HostIdentity(paramiko.MissingHostKeyPolicy):
    """The keys of one host, and those that no host may have. ``host`` is how the user named it.

    paramiko is told of none of them, so that it asks about the key of every host.
    """

    host: str
    name: str
    keys: tuple[paramiko.PKey, ...]
    revoked: tuple[paramiko.PKey, ...]

    def prefer(self, transport: paramiko.Transport) -> None:
        """Have the host show a key of a type that is known, where it has several."""
        options = transport.get_security_options()
        known = {key.get_name() for key in self.keys}
        known |= set(RSA) if "ssh-rsa" in known else set()
        options.key_types = sorted(options.key_types, key=lambda kind: kind not in known)

    def missing_host_key(self, _client: paramiko.SSHClient, _name: str, key: paramiko.PKey) -> None:
        """Raise LabError unless this is a key of the host."""
        shown = f"{key.get_name()} {key.fingerprint}"
        if key in self.revoked:
            raise LabError(f"{self.host}: its host key is revoked in known_hosts: {shown}")
        if key in self.keys:
            return
        if not self.keys:
            raise LabError(
                f"{self.host}: its host key is not known: {shown}",
                hint=f"log in by ssh once, compare the key and accept it: ssh {self.host}",
            )
        known = ", ".join(f"{one.get_name()} {one.fingerprint}" for one in self.keys)
        raise LabError(
            f"{self.host}: its host key is {shown}, and known_hosts has {known}",
            hint="somebody else may answer in its place; if the host was installed anew:"
            f" ssh-keygen -R '{self.name}', then log in by ssh once",
        )


def find_identity(host: str, files: Sequence[Path], names: Sequence[str]) -> HostIdentity:
    """What known_hosts has for the first of these names that it knows. A line that is damaged is none."""
    entries = [entry for path in files for entry in _entries(path)]
    revoked = tuple(entry.key for marker, entry in entries if marker == REVOKED)
    plain = [entry for marker, entry in entries if not marker]
    for name in names:
        if keys := tuple(entry.key for entry in plain if _is_of(entry, name)):
            return HostIdentity(host, name, keys, revoked)
    return HostIdentity(host, names[0], (), revoked)


def _is_of(entry: HostKeyEntry, name: str) -> bool:
    """Whether a line is about a host. Names may be hashed, which paramiko looks through for us."""
    known = paramiko.HostKeys()
    for one in entry.hostnames:
        known.add(one, entry.key.get_name(), entry.key)
    return known.lookup(name) is not None


def _entries(path: Path) -> Iterator[tuple[str, HostKeyEntry]]:
    """The lines of a file: the marker or nothing, and the rest."""
    try:
        lines = path.read_text(errors="replace").splitlines() if path.is_absolute() else []
    except OSError:
        return
    for line in lines:
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        marker = words.pop(0) if words[0].startswith("@") else ""
        try:
            entry = HostKeyEntry.from_line(" ".join(words))
        except (paramiko.SSHException, InvalidHostKey, ValueError):
            continue
        if entry is not None:
            yield marker, entry
