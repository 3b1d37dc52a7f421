# SPDX-License-Identifier: GPL-2.0-or-later
"""Take over what a run needs: its words, the files that they name, and entries that stand for large ones."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from guestloop.cache import Cache
from guestloop.ground.codec import encode
from guestloop.ground.errors import LabError
from guestloop.remote.names import within
from guestloop.remote.request import FILES, SETTINGS, CopiedFile, Request
from guestloop.remote.there.runs import Place
from guestloop.remote.wire import FILES_WANTED, Wire
from guestloop.results.files import write_json


def lay(place: Place, request: Request, wire: Wire, cache: Cache) -> None:
    """Make the directory of a run, whole or not at all; nothing is asked for if it is there.

    Raises LabError for a file that changed while it was copied, CacheError or OSError for a full disk.
    """
    run = place.run(request.run)
    if run.request_file.exists():
        wire.send({FILES_WANTED: False})
        return
    partial = run.directory.with_name(f".{request.run}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    try:
        for name in (FILES, SETTINGS):
            (partial / name).mkdir(parents=True)
        wire.send({FILES_WANTED: True})
        for file in request.files:
            _take(file, within(partial, file.name), wire.receive_stream())
        _link(request, partial, cache)
        write_json(partial / run.request_file.name, encode(request))
        partial.rename(run.directory)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _take(file: CopiedFile, path: Path, pieces: Iterable[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("xb") as sink:
        for piece in pieces:
            digest.update(piece)
            sink.write(piece)
    if digest.hexdigest() != file.sha256:
        raise LabError(f"{Path(file.name).name} changed while it was copied", hint="run it again")
    path.chmod(0o755 if file.is_program else 0o644)


def _link(request: Request, partial: Path, cache: Cache) -> None:
    found = []
    for wanted in request.entries:
        entry = cache.find(wanted.kind, wanted.inputs)
        if entry is None:
            raise LabError(f"{wanted.kind}: not in the cache of the other end any more", hint="run it again")
        found.append(entry)
    for link in request.links:
        path = within(partial, link.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(within(found[link.entry], link.inside))
