# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds of foreign code in a sandbox: a patch can bring a Makefile, and make runs what is in it.

Bubblewrap (bwrap(1)) starts make in namespaces of its own: it sees the system's programs, its source tree and
what it may write to, all by the same paths as outside, so that a build id does not depend on it. There is no
network, no process of others, no capability, and nothing in it outlives make. docs/security.md says what that
leaves open. Where namespaces cannot be had (in most containers) make runs without, and that is recorded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from guestloop.ground import proc
from guestloop.ground.errors import GuestloopError
from guestloop.ground.log import say

PROGRAM = "bwrap"
INSTALL = "apt-get install bubblewrap"

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt")
SETTINGS = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "passwd", "group")
"""Of /etc: what the loader and links to compilers need. No key and no password is in these."""

TOOLS = ("make", "gcc", "ld", "ccache")
NOBODY = "65534"

# make is the first process of its PID namespace. When it ends, the kernel ends all others in there, and it is
# a child of bwrap's whose CPU time counts as that of the build.
_OPTIONS = (
    *("--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--as-pid-1", "--die-with-parent", "--new-session", "--unsetenv", "TMPDIR"),
    *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
)
# Root needs no user namespace, and where those are switched off it has none. Its capabilities go either way.
_USERS = (("--unshare-user", "--uid", NOBODY, "--gid", NOBODY), ("--cap-drop", "ALL"))


@dataclass(frozen=True)
class Containment:
    """How make is started. ``options`` are those of bwrap, empty where it cannot be used."""

    description: str
    options: tuple[str, ...] = ()

    def command(
        self, argv: Sequence[proc.Arg], *, readable: Sequence[Path], writable: Sequence[Path]
    ) -> Sequence[proc.Arg]:
        """The command that runs ``argv`` contained: of the user's files it sees these, which exist."""
        if not self.options:
            return argv
        return [
            *self.options,
            *(word for path in readable for word in ("--ro-bind", os.fspath(path), os.fspath(path))),
            *(word for path in writable for word in ("--bind", os.fspath(path), os.fspath(path))),
            *("--remount-ro", "/"),  # what the mounts above stand on
            *("--chdir", os.fspath(writable[0]), "--"),
            *argv,
        ]


@cache
def find_containment() -> Containment:
    """What this machine offers. Says so, once, if that is nothing."""
    try:
        found = _probe()
    except GuestloopError as error:
        found = Containment(f"no: {error.first_line}")
    if not found.options:
        say(f"==> kernel builds are not contained ({found.description.removeprefix('no: ')})")
    return found


def _probe() -> Containment:
    if not proc.has_program(PROGRAM):
        return Containment(f"no: bubblewrap is not installed ({INSTALL})")
    if stray := [path for path in _tools() if not _is_seen(path)]:
        return Containment(f"no: {stray[0]} is not in a directory of the system")
    program = os.fspath(proc.find_program(PROGRAM))
    refusal = ""
    for users in _USERS if os.geteuid() == 0 else _USERS[:1]:
        options = (program, *users, *_OPTIONS, *_system())
        tried = proc.read([*options, "--", "true"], check=False)
        if tried.status == 0:
            return Containment(proc.read([program, "--version"]).text.strip(), options)
        refusal = refusal or (tried.stderr.strip().splitlines() or [f"status {tried.status}"])[-1]
    return Containment(f"no: {refusal}")


def _tools() -> Iterator[Path]:
    return (proc.find_program(name) for name in TOOLS if proc.has_program(name))


def _is_seen(path: Path) -> bool:
    return all(any(name.is_relative_to(top) for top in SYSTEM) for name in (path, path.resolve()))


def _system() -> Iterator[str]:
    """The options for the system's own files: links stay links, as /bin is one to /usr/bin."""
    for path in map(Path, SYSTEM):
        if path.is_symlink():
            yield from ("--symlink", os.fspath(path.readlink()), os.fspath(path))
        elif path.is_dir():
            yield from ("--ro-bind", os.fspath(path), os.fspath(path))
    for path in (Path("/etc", name) for name in SETTINGS):
        yield from ("--ro-bind-try", os.fspath(path), os.fspath(path))
