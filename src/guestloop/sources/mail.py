# SPDX-License-Identifier: GPL-2.0-or-later
"""Mails with patches, split and decoded by ``git mailsplit`` and ``git mailinfo``, as ``git am`` does it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path
from tempfile import TemporaryDirectory

from guestloop.ground.errors import ConfigError
from guestloop.ground.words import printable
from guestloop.sources.git import Git

_HEADER_LINE = re.compile(rb"[!-9;-~]+:|[ \t]")
_HTML_PART = re.compile(rb"^Content-Type:\s*text/html", re.MULTILINE | re.IGNORECASE)
_FIRST_OF_MAIL = re.compile(rb"From |From:|[A-Za-z][A-Za-z0-9-]*:")


@dataclass(frozen=True)
class Mail:
    """A decoded mail: its subject with all prefixes, its message, and its patch from the first diff on.

    ``raw`` is the mail before it was decoded, ``suspicion`` what may have damaged its patch, or nothing.
    """

    subject: str
    message_id: str
    message: str
    patch: bytes
    raw: bytes
    suspicion: str

    @property
    def text(self) -> str:
        """The message and what surrounds the diff, for trailers: ``base-commit:`` stands after the diff."""
        return f"{self.message}\n{self.patch.decode(errors='replace')}"


def is_mail(data: bytes) -> bool:
    """Whether a text is a mail or mailbox, by git am's rule (builtin/am.c, ``detect_patch_format``).

    It begins with ``From ``, or all its lines up to the first empty one are headers.
    """
    data = data.lstrip()
    if data.startswith((b"From ", b"From:")):
        return True
    if not _FIRST_OF_MAIL.match(data):
        return False
    head, empty, _rest = data.replace(b"\r\n", b"\n").partition(b"\n\n")
    return bool(empty) and all(_HEADER_LINE.match(line) for line in head.split(b"\n"))


def read_mails(data: bytes, where: str) -> Iterator[Mail]:
    """Split a mail or mailbox, and decode each mail. Raises ConfigError for one that cannot be decoded."""
    with TemporaryDirectory(prefix="guestloop-mail-") as name:
        scratch = Path(name)
        box, split = scratch / "box", scratch / "split"
        box.write_bytes(data)
        split.mkdir()
        # Line ends of the transport are on the first header, too; those of patched files are only in hunks.
        keep = () if data.lstrip().partition(b"\n")[0].endswith(b"\r") else ("--keep-cr",)
        Git().run("mailsplit", "-b", *keep, "--mboxrd", f"-o{split}", box, cwd=scratch)
        files = sorted(split.iterdir())
        for number, file in enumerate(files, start=1):
            yield _decode(file.read_bytes(), scratch, where if len(files) == 1 else f"{where}, mail {number}")


def _decode(raw: bytes, scratch: Path, where: str) -> Mail:
    message, patch = scratch / "message", scratch / "patch"
    options = ("-k", "--encoding=UTF-8", "--no-scissors", "--quoted-cr=nowarn")
    done = Git().run("mailinfo", *options, message, patch, cwd=scratch, stdin=raw, check=False)
    if done.status != 0:
        raise ConfigError(
            f"{where}: git cannot decode this mail: {done.stderr.strip() or 'no reason given'}",
            hint="save the raw mail, as it came; the message-id finds it on lore.kernel.org",
        )
    headers = BytesHeaderParser().parsebytes(raw.partition(b"\n")[2] if raw.startswith(b"From ") else raw)
    return Mail(
        subject=_field(done.stdout, b"Subject"),
        message_id=str(headers.get("Message-ID", "")).strip().strip("<>"),
        message=message.read_text(errors="replace"),
        patch=patch.read_bytes(),
        raw=raw,
        suspicion=_suspicion(str(headers.get("Content-Type", "")).lower(), raw),
    )


def _suspicion(kind: str, raw: bytes) -> str:
    """What may have happened to a patch in a mail of this type."""
    if "flowed" in kind:  # RFC 3676
        return "the mail is format=flowed, which wraps lines and moves blanks"
    if _HTML_PART.search(raw):
        return "the mail has its text in HTML, which git takes for a part of the patch"
    return ""


def _field(info: bytes, name: bytes) -> str:
    """A field of what mailinfo prints."""
    match = re.search(rb"^" + name + rb": (.*)$", info, re.MULTILINE)
    return printable(match[1].decode(errors="replace").strip()) if match else ""
