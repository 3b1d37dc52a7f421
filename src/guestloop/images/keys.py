# SPDX-License-Identifier: GPL-2.0-or-later
"""The SSH keys of L1, generated once per cache. They have an entry of their own in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from guestloop.cache import Cache

PRIVATE_MODE = 0o600


@dataclass(frozen=True)
class KeyPair:
    """An ed25519 key pair: the private key file in OpenSSH's format, the public key as a line for sshd."""

    private: Path
    public: str


@dataclass(frozen=True)
class L1Keys:
    """The client key that logs in to L1, and the host key that identifies L1."""

    client: KeyPair
    host: KeyPair


def obtain_keys(cache: Cache) -> L1Keys:
    """Return the keys of this cache. They are generated if there are none."""
    directory = cache.obtain("l1-keys", {"format": 1, "type": "ed25519"}, _make_keys)
    return L1Keys(_read_pair(directory / "client"), _read_pair(directory / "host"))


def install_keys(directory: Path, keys: L1Keys) -> None:
    """Put into a root what its sshd needs: ``host_key`` and ``authorized_keys``, in ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    host_key = directory / "host_key"
    host_key.touch(PRIVATE_MODE)
    host_key.write_bytes(keys.host.private.read_bytes())
    (directory / "authorized_keys").write_text(f"{keys.client.public}\n")


def _make_keys(directory: Path) -> None:
    for name in ("client", "host"):
        key = Ed25519PrivateKey.generate()
        private = directory / name
        private.touch(PRIVATE_MODE)
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        private.with_suffix(".pub").write_bytes(public + b"\n")


def _read_pair(private: Path) -> KeyPair:
    return KeyPair(private, private.with_suffix(".pub").read_text().strip())
