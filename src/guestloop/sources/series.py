# SPDX-License-Identifier: GPL-2.0-or-later
"""A series of patches, read from what people have: diffs, mails, mailboxes, folders."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from guestloop.ground.errors import ConfigError
from guestloop.ground.words import printable
from guestloop.sources import text
from guestloop.sources.diff import Damaged, Diff, parse
from guestloop.sources.git import Git
from guestloop.sources.parts import split_parts

NO_DIFF_HINT = "a patch is a unified diff ('git diff', 'diff -u'), or a mail with one ('git format-patch')"
LOG = "git log prints the newest commit first, and patches are applied from the top: git log -p --reverse"

_BASE_COMMIT = re.compile(r"^base-commit: ([0-9a-f]{40})\s*$", re.MULTILINE)
_PREREQUISITE = re.compile(r"^prerequisite-patch-id: ([0-9a-f]{40})\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Patch:
    """One patch: a name for reports, and its diff as it was decoded, without the text around it.

    ``sha256`` is that of ``diff``. ``subject`` and ``message_id`` are empty where there was no mail.
    ``strip`` is the number of leading directories to take off names, None if it is to be found out.
    ``where`` names file and mail in messages; ``first_line`` is the line of the file where the diff begins,
    0 if the file has it encoded. ``suspicion`` says what may have damaged it, empty if nothing is known.
    """

    name: str
    subject: str
    sha256: str
    diff: bytes = field(repr=False)
    message_id: str = ""
    where: str = ""
    first_line: int = 1
    strip: int | None = None
    suspicion: str = ""

    def at(self, line: int) -> str:
        """Where a line of the diff stands, for a message."""
        return place(self.where, self.first_line, line)


@dataclass(frozen=True)
class Series:
    """Patches in the order in which they are applied.

    ``base_commit`` and ``prerequisites`` (patch ids) are what the trailers of ``git format-patch --base``
    say, empty if there are none. ``notes`` say what was skipped or taken otherwise than it was given, one
    line each.
    """

    patches: tuple[Patch, ...] = ()
    base_commit: str = ""
    prerequisites: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(patch.name for patch in self.patches)


def place(where: str, first_line: int, line: int) -> str:
    """Where a line of a diff stands that begins at ``first_line`` of a file; 0: the file has it encoded."""
    if first_line:
        return f"{where}: line {first_line + line - 1}"
    return f"{where}: line {line} of the decoded diff"


def join(parts: Iterable[Series]) -> Series:
    """Several series as one, in this order."""
    parts = tuple(parts)
    return Series(
        patches=tuple(patch for part in parts for patch in part.patches),
        base_commit=next((part.base_commit for part in parts if part.base_commit), ""),
        prerequisites=tuple(one for part in parts for one in part.prerequisites),
        notes=tuple(note for part in parts for note in part.notes),
    )


def read_diff(path: Path, data: bytes) -> Series:
    """A plain diff, with whatever text stands around it. Raises ConfigError if it has none."""
    unified = text.strip_carriage_returns(data)
    diff = parse_diff(unified, str(path), 1)
    if not diff.changes:
        raise no_diff(data, str(path))
    patches = make_patches(path.name, unified, diff, data, where=str(path))
    if len(patches) > 1 and unified.startswith(b"commit "):
        patches = tuple(replace(patch, suspicion=LOG) for patch in patches)
    return with_trailers(Series(patches, notes=diff.notes), unified.decode(errors="replace"))


def parse_diff(data: bytes, where: str, first_line: int, suspicion: str = "") -> Diff:
    """Read a diff that begins at this line of its file. Raises ConfigError with the line that is damaged."""
    try:
        return parse(data)
    except Damaged as damage:
        if seen := text.why_damaged(data):
            line, what, hint = seen
            raise ConfigError(f"{place(where, first_line, line)}: {what}", hint=hint) from damage
        hints = (suspicion, damage.hint or text.RAW_HINT)
        raise ConfigError(
            f"{place(where, first_line, damage.line)}: {damage.what}", hint="; ".join(filter(None, hints))
        ) from damage


def make_patches(
    name: str, data: bytes, diff: Diff, file: bytes, *, where: str, start: int = 0
) -> tuple[Patch, ...]:
    """The patches in a text that was parsed, which stands in ``file`` behind ``start``."""
    parts = split_parts(data, diff)
    plain = file.replace(b"\r\n", b"\n")
    return tuple(
        Patch(
            name=printable(f"{name}#{number}" if len(parts) > 1 else name),
            subject="",
            sha256=hashlib.sha256(part).hexdigest(),
            diff=part,
            where=where,
            first_line=text.line_of(part, plain, start),
        )
        for number, part in enumerate(parts, start=1)
    )


def no_diff(data: bytes, where: str) -> ConfigError:
    """The error for a text in which git finds no diff."""
    if seen := text.why_no_diff(data):
        line, what, hint = seen
        return ConfigError(f"{where}: line {line}: {what}", hint=hint)
    return ConfigError(f"{where}: no change to any file found", hint=NO_DIFF_HINT)


def with_trailers(series: Series, message: str) -> Series:
    """The series with what the trailers in a message say about its base."""
    base = _BASE_COMMIT.search(message)
    return replace(
        series,
        base_commit=series.base_commit or (base[1] if base else ""),
        prerequisites=(*series.prerequisites, *_PREREQUISITE.findall(message)),
    )


def patch_id(diff: bytes) -> str:
    """What identifies a change whatever lines it stands at, as ``prerequisite-patch-id`` has it."""
    done = Git().run("patch-id", "--stable", stdin=diff)
    return done.stdout[:40].decode()


def read_bytes(path: Path) -> bytes:
    """The text of a file with patches. Raises ConfigError if it cannot be read or is none."""
    try:
        if path.is_block_device() or (path.is_char_device() and not path.samefile(os.devnull)):
            raise ConfigError(f"{path}: a device, not a file with patches", hint=NO_DIFF_HINT)
        return text.clean(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def no_patches(paths: Sequence[Path], notes: Sequence[str]) -> ConfigError:
    """The error for files that hold no patch at all."""
    named = ", ".join(map(str, paths))
    return ConfigError(f"{named}: no patch found" + "".join(f"; {note}" for note in notes), hint=NO_DIFF_HINT)
