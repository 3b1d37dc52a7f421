# SPDX-License-Identifier: GPL-2.0-or-later
"""``scripts/run --host`` to a lab host, whose connection is cut twice on the way."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lab_server import Cable, content

from guestloop.cache import default_root
from guestloop.ground import proc
from guestloop.ground.errors import LabError
from guestloop.ground.isolated import python
from guestloop.remote.record import read_record
from labhost.environment import THERE
from labhost.root import LAB
from labhost.session import Session

CUTS = ("lacks of the cache", "==> runs on")
"""Lines after which the connection is cut: while entries are copied, and while the run goes on there."""


def run_through_ssh(
    words: Sequence[str], session: Session, scratch: Path, on_line: Callable[[str], None]
) -> int:
    """Run it as a user whose ssh knows the host as ``lab``; returns its exit status.

    Raises LabError if the connection was not cut as often as it was to be.
    """
    cable, left = Cable(session.port), list(CUTS)

    def cutting(line: str) -> None:
        on_line(line)
        if left and left[0] in line:
            left.pop(0)
            cable.cut()

    with tempfile.TemporaryDirectory(prefix="home-", dir=scratch) as home:
        _write_settings(Path(home) / ".ssh", cable.port, session)
        command = [*python("guestloop.cli"), *words, "--host", "lab", "--host-dir", f"/{LAB}/{THERE}"]
        own = {"HOME": home, "GUESTLOOP_CACHE": os.fspath(default_root())}
        status = proc.run(command, env=own, on_line=cutting, check=False).status
    cable.close()
    if left or cable.connections <= len(CUTS):
        raise LabError(f"the lab host was connected to {cable.connections} times, and not cut off twice")
    return status


def _write_settings(directory: Path, port: int, session: Session) -> None:
    directory.mkdir(mode=0o700)
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {session.keys.host_public}\n")
    (directory / "config").write_text(
        f"Host lab\n HostName 127.0.0.1\n Port {port}\n User root\n IdentityFile {session.keys.client}\n"
        " IdentitiesOnly yes\n"
    )


def check_home(home: Path, session: Session, scratch: Path) -> None:
    """Raise LabError unless the results here are those on the host, byte for byte."""
    record = read_record(home)
    if record is None:
        raise LabError(f"{home}: not measured on another host")
    with tempfile.TemporaryDirectory(prefix="there-", dir=scratch) as there:
        session.fetch(f"/{LAB}/{THERE}/runs/{record.request.run}/out", Path(there))
        here, over_there = content(home), content(Path(there))
    if here != over_there:
        differing = sorted({name for name, _ in set(here.items()) ^ set(over_there.items())})
        raise LabError(f"{home}: not as on the host: {', '.join(differing[:10])}")
