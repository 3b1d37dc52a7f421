# SPDX-License-Identifier: GPL-2.0-or-later
"""Digests of large files, which are not read again while they do not change."""

from __future__ import annotations

import json
from pathlib import Path

from guestloop.cache.store import Cache, file_digest

DIGESTS = "file-digests.json"


def remembered_digest(path: Path, cache: Cache) -> str:
    """Return the SHA-256 of a large file. It is computed again only if size or modification time changed."""
    stat = path.stat()
    stamp = f"{path.absolute()} {stat.st_size} {stat.st_mtime_ns}"
    memory = cache.root / DIGESTS
    if digest := _read_digests(memory).get(stamp):
        return digest
    with cache.lock(DIGESTS), cache.disk_errors():
        known = _read_digests(memory)
        digest = known[stamp] = known.get(stamp) or file_digest(path)
        scratch = memory.with_name(f".{DIGESTS}")
        scratch.write_text(json.dumps(known, indent=1))
        scratch.replace(memory)
    return digest


def _read_digests(memory: Path) -> dict[str, str]:
    try:
        known: dict[str, str] = json.loads(memory.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return known
