# SPDX-License-Identifier: GPL-2.0-or-later
"""Where everything came from: the kernels, the machine, the run, and the command that repeats it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from guestloop.ground.words import plural
from guestloop.report.lines import letters
from guestloop.report.page.badges import Badge
from guestloop.report.results import KernelResult, Result
from guestloop.results.sizes import USUAL

Facts = tuple[tuple[str, str], ...]
"""A list of terms and what they are; the empty ones are left out."""

CONSOLE_LINES = 25


@dataclass(frozen=True)
class KernelView:
    """A kernel; ``console`` is how it ended if it did not boot, ``patches`` are subjects and places."""

    letter: str
    name: str
    role: str
    badge: Badge
    reason: str
    details: tuple[str, ...]
    console: tuple[str, ...]
    late: tuple[str, ...]
    patches: tuple[tuple[str, str], ...]
    facts: Facts


@dataclass(frozen=True)
class Difference:
    """What differs between the kernels beside the change, with a value for each of ``kernels``."""

    heading: str
    kernels: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def kernel_views(result: Result) -> tuple[KernelView, ...]:
    """All kernels, the reference first."""
    marks = letters(result.kernels)
    return tuple(_kernel(result, marks[name], one) for name, one in result.kernels.items())


def _kernel(result: Result, letter: str, one: KernelResult) -> KernelView:
    return KernelView(
        letter,
        one.name,
        "reference" if one.name == result.reference else "candidate",
        Badge(one.state),
        one.reason,
        one.details,
        one.console[-CONSOLE_LINES:],
        one.late,
        tuple(_patches(one)),
        _given(_kernel_facts(one)),
    )


def _patches(one: KernelResult) -> Iterator[tuple[str, str]]:
    """Subject and origin of each patch; of a kernel without provenance its file."""
    if one.provenance and one.provenance.patches:
        for patch in one.provenance.patches:
            yield patch.subject or patch.name, patch.message_id or f"{patch.name}, sha256 {patch.sha256[:12]}"
    else:
        yield from ((name, "") for name in one.series)


def _kernel_facts(one: KernelResult) -> Iterator[tuple[str, str]]:
    yield "release", one.release
    yield "base", one.base
    yield (
        "from",
        f"{one.origin.kind}: {one.origin.name}" + (f" ({one.origin.suite})" if one.origin.suite else ""),
    )
    if made := one.provenance:
        yield "commit", made.base_commit
        yield "tree", made.tree
        yield "configuration", f"{', '.join(made.config.files)} (sha256 {made.config.sha256[:12]})"
        yield "laid over it", ", ".join(made.config.laid_over)
        yield "notes", "; ".join(made.notes)
    yield "sha256", one.sha256
    yield "build id, as read back", one.identity
    yield "call paths it lacks", ", ".join(one.absent_paths)
    yield "expected of its series", "; ".join(str(each) for each in one.expectations)


def run_facts(result: Result) -> Facts:
    """The run and the machine."""
    course = result.course
    looks = " or ".join(map(str, course.looks))
    l2 = result.l2_kernel
    return _given(
        (
            ("measured", _when(result)),
            ("by", str(course.made_by) if course.made_by.version else ""),
            ("accelerator", result.accelerator),
            ("profile", result.profile),
            ("rounds", f"{looks} per kernel" + (", each on a fresh boot" if course.fresh_boots else "")),
            ("budget", f"{course.budget_s / 60:.0f} min" if course.budget_s else ""),
            ("sizes", "" if course.sizes == USUAL else str(course.sizes)),
            *((f"host {name}".replace("_", " "), value) for name, value in result.host.items()),
            (
                "kernel of L2",
                f"{l2.release}, {l2.base}, {l2.compiler}, build id {l2.build_id[:12]}" if l2 else "",
            ),
        )
    )


def _when(result: Result) -> str:
    course = result.course
    times = " to ".join(time.replace("+00:00", "Z") for time in (course.started, course.ended) if time)
    sittings = f", in {course.sittings} sittings" if course.sittings > 1 else ""
    ending = f", ended: {course.ending}" if course.ending else ""
    return f"{times}{sittings}{ending}" if times else ""


def differences(result: Result) -> tuple[Difference, ...]:
    """By realm: what is not the same in all kernels."""
    realms = dict.fromkeys(one.realm for one in result.differences)
    return tuple(
        Difference(
            realm.heading,
            tuple(next(one for one in result.differences if one.realm is realm).values),
            tuple((one.name, tuple(one.values.values())) for one in result.differences if one.realm is realm),
        )
        for realm in realms
    )


def compared(result: Result) -> str:
    """``patched (1 patch on 6.12.117) against unpatched``."""
    named = [
        f"{one.name} ({plural(len(one.series), 'patch', 'patches')} on {one.release or one.base})"
        if one.series
        else f"{one.name} ({one.release})"
        if one.release and one.release != one.name
        else one.name
        for one in result.candidates
    ]
    return f"{', '.join(named)} against {result.reference}"


def _given(facts: Iterator[tuple[str, str]] | Facts) -> Facts:
    return tuple((term, text) for term, text in facts if text)
