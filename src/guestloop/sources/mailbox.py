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
from guestloop.sources.series import (
    Patch,
    Series,
    join,
    make_patches,
    no_diff,
    parse_diff,
    patch_id,
    with_trailers,
)

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
    name = f"{subject.number or number:04}-{slug(subject.title)}.patch" if number else path.name
    series = _decode(where, name, data, mail)
    if not series.patches:
        raise no_diff(mail.raw, f"{where} ({mail.subject})" if number else where)
    return with_trailers(series, mail.text)


def _decode(where: str, name: str, data: bytes, mail: Mail) -> Series:
    """The patches of a mail, none if it has no diff; more than one if they are attached."""
    file = data.replace(b"\r\n", b"\n")
    start = max(file.find(mail.raw.replace(b"\r\n", b"\n")[:400]), 0)
    unified = text.strip_carriage_returns(mail.patch)
    diff = parse_diff(unified, where, text.line_of(unified, file, start), mail.suspicion or _remedy(mail))
    patches = make_patches(name, unified, diff, file, where=where, start=start)

    def complete(patch: Patch) -> Patch:
        return replace(patch, subject=mail.subject, message_id=mail.message_id, suspicion=mail.suspicion)

    return Series(tuple(map(complete, patches)), notes=diff.notes)


def _remedy(mail: Mail) -> str:
    return f"its message-id is {mail.message_id}" if mail.message_id else ""


def in_given_order(series: Series) -> Series:
    """Patches of several files as they were named, or by their numbers if all of them make up one series.

    Whoever names files may leave one out or combine two series. What is missing is in the notes.
    """
    counted = [said for said in (parse_subject(patch.subject) for patch in series.patches) if said.total]
    mails = {(patch.where, parse_subject(patch.subject).number) for patch in series.patches if patch.subject}
    if len({said.set for said in counted}) != 1 or len({number for _, number in mails}) < len(mails):
        return series
    if missing := _missing(counted):
        note = f"of the {counted[0].total} parts of this series, there is none of number {_listed(missing)}"
        return replace(series, notes=(*series.notes, note))
    return in_order(series, "")


def in_order(series: Series, where: str) -> Series:
    """The patches by the numbers in their subjects, if all have one; else as they stand.

    Raises ConfigError if there are two series, two patches of one number, or a part is missing.
    """
    series = _without_repeats(series)
    numbered = [(parse_subject(patch.subject), patch) for patch in series.patches]
    counted = [(said, patch) for said, patch in numbered if said.total]
    _refuse_two_versions([said for said, _patch in numbered if not said.total], where)
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
    ordered = tuple(patch for number in sorted(patches) for patch in patches[number])
    return replace(series, patches=ordered, notes=(*series.notes, *notes))


def _without_repeats(series: Series) -> Series:
    """Without what a mail has again that has no number: a bot tells by it that a patch was taken."""
    counted = [patch for patch in series.patches if parse_subject(patch.subject).total]
    others = [patch for patch in series.patches if patch.subject and patch not in counted]
    if not counted or not others:
        return series
    known = {patch_id(patch.diff) for patch in counted}
    again = [patch for patch in others if patch_id(patch.diff) in known]
    notes = (f"the same change again: {patch.subject}" for patch in again)
    kept = tuple(patch for patch in series.patches if patch not in again)
    return replace(series, patches=kept, notes=(*series.notes, *notes))


def _refuse_two_versions(subjects: Sequence[Numbered], where: str) -> None:
    """Of a patch that is a series of its own."""
    first: dict[str, Numbered] = {}
    for said in subjects:
        if said.title and first.setdefault(said.title, said).version != said.version:
            versions = f"v{first[said.title].version} and v{said.version}"
            raise ConfigError(f"{where}: two versions of {said.title!r}: {versions}", hint=ONE_SERIES_HINT)


def _refuse_two_sets(subjects: Sequence[Numbered], where: str) -> None:
    first = {said.set: said for said in reversed(subjects)}
    if len(first) > 1:
        seen = " and ".join(f"{said} {said.title!r}" for said in reversed(first.values()))
        raise ConfigError(f"{where}: more than one series: {seen}", hint=ONE_SERIES_HINT)


def _drop_repeated(
    counted: Sequence[tuple[Numbered, Patch]], where: str
) -> tuple[dict[int, list[Patch]], list[str]]:
    """The patches of the mail of each number. Raises ConfigError if two mails with one number differ."""
    mails: dict[int, dict[str, list[Patch]]] = defaultdict(lambda: defaultdict(list))
    for said, patch in counted:
        mails[said.number][patch.where].append(patch)
    notes = []
    for same in mails.values():
        firsts = [patches[0] for patches in same.values()]
        said = parse_subject(firsts[0].subject)
        if len({tuple(patch.sha256 for patch in patches) for patches in same.values()}) > 1:
            titles = " and ".join(repr(parse_subject(patch.subject).title) for patch in firsts)
            raise ConfigError(f"{where}: {said} is there twice: {titles}", hint=ONE_SERIES_HINT)
        if len(same) > 1:
            notes.append(f"the same mail twice: {said} {said.title}")
    return {number: next(iter(same.values())) for number, same in mails.items()}, notes


def _missing(subjects: Sequence[Numbered]) -> list[int]:
    seen = {said.number for said in subjects}
    return [number for number in range(1, subjects[0].total + 1) if number not in seen]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
