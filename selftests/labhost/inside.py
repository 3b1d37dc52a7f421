# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of the lab host that run on this machine: in its root, at full speed, leaving nothing behind."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from guestloop.ground import proc
from labhost.root import LAB

HOME = "/root"


def inside(
    root: Path, argv: Sequence[proc.Arg], binds: Mapping[str, Path], environment: Mapping[str, str]
) -> list[proc.Arg]:
    """The command that runs ``argv`` in a root that it cannot change.

    ``binds`` are the directories of this machine that it sees, and may write to, by their names below
    ``/lab``; "" is ``/lab`` itself. There is no network. All of it ends with the process that starts it.
    """
    mounts = [(f"/{LAB}/{name}".rstrip("/"), path) for name, path in sorted(binds.items())]
    return [
        proc.find_program("bwrap", hint="apt-get install bubblewrap"),
        *("--unshare-net", "--unshare-pid", "--die-with-parent", "--new-session"),
        *("--ro-bind", os.fspath(root), "/", "--dev", "/dev", "--proc", "/proc"),
        *("--tmpfs", "/tmp", "--tmpfs", HOME, "--setenv", "HOME", HOME),
        *(word for there, here in mounts for word in ("--bind", os.fspath(here), there)),
        *(word for name, value in environment.items() for word in ("--setenv", name, value)),
        *("--chdir", HOME, "--"),
        *argv,
    ]
