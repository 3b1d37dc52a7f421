# SPDX-License-Identifier: GPL-2.0-or-later
"""This checkout, as it stands, on the host: the work of a few lines of sh, for which nothing need be there.

::

    checkouts/N/lock         held shared (flock) by what uses the checkout: operations, and runs
               digest        of what is in it; not there while it is replaced
               guestloop     the checkout, and the Python environment that scripts/setup makes in it

A checkout that nothing uses is replaced in its place, so that its Python environment stays. When all that are
there are in use, another one is made.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shlex
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from guestloop.cache import file_digest
from guestloop.ground.codec import encode
from guestloop.job.made_by import MADE_BY_FILE, describe_checkout
from guestloop.remote.wire import READY

LEFT_OUT = (".git", ".venv*", "__pycache__", "*.egg-info", ".*_cache")
"""What is made by running things, anywhere in the tree."""

LEFT_OUT_AT_TOP = ("results", "job-results", MADE_BY_FILE)

IN_USE = 75
"""Exit status: something uses the checkout that was to be replaced, or it was replaced meanwhile."""

MOST = 9
"""Checkouts on a host."""

BEGINS = READY.decode().strip()

_BASE = "base=${1:-$HOME/.guestloop}"

# $1: what is kept there. Prints a line for each checkout: its number and digest.
_FIND = f"""{_BASE}; echo {BEGINS}; cd "$base/checkouts" 2>/dev/null || exit 0
for slot in *; do [ ! -r "$slot/digest" ] || echo "$slot $(cat "$slot/digest")"; done"""

# $1: what is kept there, $2: which checkout, $3: what to do while its lock is held, $4...: for that. HOW is
# how the lock is taken.
_LOCKED = f"""set -eu; umask 022; {_BASE}; [ -d "$base" ] || mkdir -p -m 700 "$base"
slot=$base/checkouts/$2; what=$3; mkdir -p "$slot"; cd "$slot"; shift 3
exec flock HOW lock sh -euc "$what" sh "$@" """

# $1: its digest, $2: the SHA-256 of the archive on stdin.
_TAKE = f"""trap "rm -rf checkout.tar.gz.partial new" EXIT; echo {BEGINS}
rm -rf digest new; cat >checkout.tar.gz.partial
[ "$(sha256sum <checkout.tar.gz.partial)" = "$2  -" ] || {{ echo "it did not come whole" >&2; exit 1; }}
mkdir new; tar -xzf checkout.tar.gz.partial -C new --no-same-owner; rm checkout.tar.gz.partial
[ ! -d guestloop/.venv ] || {{ rm -rf kept; mv guestloop/.venv kept; }}
rm -rf guestloop; mv new guestloop
[ ! -d kept ] || mv kept guestloop/.venv
echo "$1" >digest"""

# $1: the digest that it has to have, $2: the cache or nothing, $3: the operation.
_OPERATE = f"""[ "$(cat digest 2>/dev/null)" = "$1" ] || exit {IN_USE}
[ -z "$2" ] || export GUESTLOOP_CACHE="$2"
exec guestloop/scripts/there "$3" """


@dataclass(frozen=True)
class Checkout:
    """What is in a checkout. ``digest`` identifies it; ``made_by`` says which commit it is."""

    top: Path
    names: tuple[str, ...]
    made_by: bytes
    digest: str

    def pack(self) -> bytes:
        """All of it, as a compressed tar."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
            for name in self.names:
                tar.add(self.top / name, name, recursive=False)
            told = tarfile.TarInfo(MADE_BY_FILE)
            told.size = len(self.made_by)
            tar.addfile(told, io.BytesIO(self.made_by))
        return archive.getvalue()


def read_checkout(top: Path) -> Checkout:
    """The checkout at ``top``, whether it is committed or not."""
    names = tuple(sorted(_names(top)))
    made_by = json.dumps(encode(describe_checkout(top))).encode()
    digest = hashlib.sha256(made_by)
    for name in names:
        digest.update(f"{_describe(top / name)} {name}\0".encode(errors="surrogateescape"))
    return Checkout(top, names, made_by, digest.hexdigest())


def _names(top: Path) -> Iterator[str]:
    for directory, directories, files in os.walk(top):
        left_out = LEFT_OUT + (LEFT_OUT_AT_TOP if Path(directory) == top else ())
        directories[:] = _kept(directories, left_out)
        for name in _kept(files, left_out):
            yield os.path.relpath(os.path.join(directory, name), top)  # noqa: PTH118 - hundreds of them


def _kept(names: Sequence[str], left_out: Sequence[str]) -> list[str]:
    return [name for name in names if not any(fnmatch(name, pattern) for pattern in left_out)]


def _describe(path: Path) -> str:
    if path.is_symlink():
        return f"link {path.readlink()}"
    return f"{bool(path.stat().st_mode & 0o100)} {file_digest(path)}"


# --- commands for a login shell, whichever that is ---


def find_command(base: str) -> str:
    """Print which checkouts are there."""
    return _sh(_FIND, base)


def take_command(base: str, slot: int, digest: str, sha256: str) -> str:
    """Take over a checkout; ends with IN_USE if something uses the one that is there."""
    how = f"--exclusive --nonblock --conflict-exit-code {IN_USE}"
    return _sh(_LOCKED.replace("HOW", how), base, str(slot), _TAKE, digest, sha256)


def operation_command(base: str, slot: int, digest: str, operation: str) -> str:
    """Start scripts/there; ends with IN_USE if the checkout is another one by now."""
    cache = f"{base}/cache" if base else ""
    return _sh(_LOCKED.replace("HOW", "--shared"), base, str(slot), _OPERATE, digest, cache, operation)


def _sh(script: str, *arguments: str) -> str:
    """On one line: not every shell takes one that ends within quotes."""
    words = ["sh", "-c", script.replace("\n", "; "), "sh", *(word.replace("\n", "; ") for word in arguments)]
    return shlex.join(words)
