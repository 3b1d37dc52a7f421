# SPDX-License-Identifier: GPL-2.0-or-later
"""The patches of a mailbox, in the order that their subjects say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from guestloop.ground.errors import ConfigError
from guestloop.sources import text
from guestloop.sources.mail import Mail, read_mails
from guestloop.sources.numbering import Numbered, parse_subject, slug
from guestloop.sources.series import Patch, Series, join, make_patch, no_diff, parse_diff, with_trailers

FLOWED = "the mail is format=flowed, which wraps lines and moves blanks"
ONE_SERIES_HINT = "'b4 am MESSAGE-ID' fetches one version of a series, whole and in order"


def read_mailbox(path: Path, data: bytes) -> Series:
    """The patches in a mail or mailbox. Raises ConfigError for none, for several series or missing parts."""
    mails = tuple(read_mails(data, str(path)))
    subjects = [parse_subject(mail.subject) for mail in mails]
    only_replies = all(subject.is_reply or subject.is_cover for subject in subjects)
    parts = [
        _read_mail(path, data, mail, subject, number if len(mails) > 1 else 0, only_replies)
        for number, (mail, subject) in enumerate(zip(mails, subjects, strict=True), start=1)
    ]
    return in_order(join(parts), str(path)) if len(mails) > 1 else join(parts)


def _read_mail(
    path: Path, data: bytes, mail: Mail, subject: Numbered, number: int, replies_count: bool
) -> Series:
    """One mail of a mailbox; ``number`` is 0 if it is the only one."""
    where = f"{path}, mail {number}" if number else str(path)
    if subject.is_cover:
        return with_trailers(Series(notes=(f"cover letter skipped: {mail.subject}",)), mail.text)
    if subject.is_reply and not replies_count:
        return Series(notes=(f"reply skipped: {mail.subject}",))
    patch = _decode(where, data, mail)
    if patch is None:
        raise no_diff(mail.raw, f"{where} ({mail.subject})" if number else where)
    name = f"{subject.number or number:04}-{slug(subject.title)}.patch" if number else path.name
    return with_trailers(Series((replace(patch, name=name),)), mail.text)


def _decode(where: str, data: bytes, mail: Mail) -> Patch | None:
    """The patch of a mail, None if it has no diff."""
    file = data.replace(b"\r\n", b"\n")
    start = max(file.find(mail.raw.replace(b"\r\n", b"\n")[:400]), 0)
    unified = text.strip_carriage_returns(mail.patch)
    suspicion = FLOWED if mail.flowed else ""
    diff = parse_diff(unified, where, text.line_of(unified, file, start), suspicion or _remedy(mail))
    if not diff.changes:
        return None
    patch = make_patch("", diff, file, where=where, start=start)
    return replace(patch, subject=mail.subject, message_id=mail.message_id, suspicion=suspicion)


def _remedy(mail: Mail) -> str:
    return f"its message-id is {mail.message_id}" if mail.message_id else ""


def in_given_order(series: Series) -> Series:
    """Patches of several files as they were named, or by their numbers if all of them make up one series.

    Whoever names files may leave one out or combine two series. What is missing is in the notes.
    """
    counted = [said for said in (parse_subject(patch.subject) for patch in series.patches) if said.total]
    if len({said.set for said in counted}) != 1 or len({said.number for said in counted}) < len(counted):
        return series
    if missing := _missing(counted):
        note = f"of the {counted[0].total} parts of this series, there is none of number {_listed(missing)}"
        return replace(series, notes=(*series.notes, note))
    return in_order(series, "")


def in_order(series: Series, where: str) -> Series:
    """The patches by the numbers in their subjects, if all have one; else as they stand.

    Raises ConfigError if there are two series, two patches of one number, or a part is missing.
    """
    numbered = [(parse_subject(patch.subject), patch) for patch in series.patches]
    counted = [(said, patch) for said, patch in numbered if said.total]
    if not counted:
        return series
    _refuse_two_sets([said for said, _patch in counted], where)
    patches, notes = _drop_repeated(counted, where)
    if missing := _missing([said for said, _patch in counted]):
        total = counted[0][0].total
        raise ConfigError(
            f"{where}: of the {total} parts of this series, there is none of number {_listed(missing)}",
            hint=ONE_SERIES_HINT,
        )
    if len(counted) < len(series.patches):
        return replace(series, notes=(*series.notes, *notes))
    if any(before.number > after.number for (before, _), (after, _) in pairwise(counted)):
        notes.append("patches were not in the order of their numbers: sorted")
    ordered = tuple(patches[number] for number in sorted(patches))
    return replace(series, patches=ordered, notes=(*series.notes, *notes))


def _refuse_two_sets(subjects: Sequence[Numbered], where: str) -> None:
    first = {said.set: said for said in reversed(subjects)}
    if len(first) > 1:
        seen = " and ".join(f"{said} {said.title!r}" for said in reversed(first.values()))
        raise ConfigError(f"{where}: more than one series: {seen}", hint=ONE_SERIES_HINT)


def _drop_repeated(
    counted: Sequence[tuple[Numbered, Patch]], where: str
) -> tuple[dict[int, Patch], list[str]]:
    """The patches by number. Raises ConfigError if one number has two different ones."""
    found: dict[int, list[tuple[Numbered, Patch]]] = defaultdict(list)
    for said, patch in counted:
        found[said.number].append((said, patch))
    notes = []
    for same in found.values():
        if len({patch.sha256 for _said, patch in same}) > 1:
            titles = " and ".join(repr(said.title) for said, _patch in same)
            raise ConfigError(f"{where}: {same[0][0]} is there twice: {titles}", hint=ONE_SERIES_HINT)
        if len(same) > 1:
            notes.append(f"the same mail twice: {same[0][0]} {same[0][0].title}")
    return {number: same[0][1] for number, same in found.items()}, notes


def _missing(subjects: Sequence[Numbered]) -> list[int]:
    seen = {said.number for said in subjects}
    return [number for number in range(1, subjects[0].total + 1) if number not in seen]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
