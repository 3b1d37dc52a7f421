# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a kernel build failed, from make's output: the first error with its lines, and whose it is (pure).

make runs jobs side by side, and those that are under way go on after one has failed. ``--output-sync`` keeps
the lines of one command together, and the first command that complains is the one to show.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from guestloop.cache import NO_SPACE

LONGEST = 14
"""Lines of an error that are shown; the log has all of it."""

_PLACE = r"^[^\s:][^:]*:\d+(?::\d+)?:"

_STARS = re.compile(r"^\*\*\* \S")  # the kernel's own Makefile: that a source tree is not clean

# How the first line of an error begins, by the program that prints it.
_ERROR = re.compile(
    "|".join(
        (
            rf"{_PLACE} (?:fatal )?error: ",  # gcc: cpp, cc1
            rf"{_PLACE} Error: ",  # as
            r"^(?:\S*/)?(?:gcc|cc1|as|ld|collect2)(?:\.bfd)?: (?:fatal )?error: ",
            r"^.+: (?:undefined reference to|multiple definition of) ",  # ld
            r"^(?:\S*/)?ld: .+ not found",
            r"^ERROR: modpost: ",  # scripts/mod/modpost.c
            r"^\S+: error: objtool: ",
            r"^\S*Kconfig\S*:\d+: (?!warning)",  # scripts/kconfig/parser.y and lexer.l
            r"^\S*Kconfig\S*:\d+:error: ",  # scripts/kconfig/symbol.c: a circle of dependencies
            rf"{_PLACE} \*\*\* ",  # make, of a Makefile
            r"^make(?:\[\d+\])?: \*\*\* No rule to make target ",
            _STARS.pattern,
        )
    )
)
_CONTEXT = re.compile(
    r"^In file included from |^\s+from \S|: (?:In function |At top level:|Assembler messages:|in function )"
)
_EXCERPT = re.compile(r"^\s+(?:\d+ |\+\+\+ )?\|")  # a line of the source, and what points at it
_NOTE = re.compile(rf"{_PLACE} note: ")
_PROGRESS = re.compile(r"^  [A-Z][A-Z0-9_]*(?: \[M\])? ")
_GAVE_UP = re.compile(r"^make(?:\[\d+\])?: \*\*\* \[")

# What says nothing about the source. In a diagnostic of the compiler and in lines of the source these words
# mean other things.
_MACHINE = re.compile(
    "|".join(
        (
            rf"{_PLACE} internal compiler error: ",
            r"^(?:\S*/)?(?:gcc|cc1|as|ld|collect2): internal compiler error: ",
            r"^(?:\S*/)?gcc: fatal error: (?:.* terminated program|cannot execute )",
            r"^(?:\S*/)?collect2: (?:fatal )?error: ld terminated with signal",
            r"^make(?:\[\d+\])?: \*\*\* .*(?:Killed|Terminated|Segmentation fault|Bus error|Error 137)\b",
            r"^make(?:\[\d+\])?: \*\*\* .*\bError 127\b",  # a program of the build is not installed
            r"^make(?:\[\d+\])?: (?:write error|fork|vfork|posix_spawn)",
            r"(?:virtual memory exhausted|memory exhausted|out of memory|Cannot allocate memory)",
            r"(?:Resource temporarily unavailable|Too many open files|Input/output error|Stale file handle)",
            rf"(?:{NO_SPACE}|Disk quota exceeded)",
            r"^bwrap: ",
            r"^ccache: error: ",
            # Headers of packages that a build needs, and that no series brings.
            rf"{_PLACE} fatal error: (?:openssl/\S+|gelf\.h|libelf\.h|zlib\.h|ncurses\S*): No such file",
        )
    )
)
_OF_THE_SOURCE = re.compile(rf"{_PLACE} (?!internal compiler error|fatal error: )|{_EXCERPT.pattern}")


@dataclass(frozen=True)
class Diagnosis:
    """The first error of a build. ``lines`` begins with it, less what the compiler prints before it.

    ``is_machine``: this machine or its tools broke, and nothing is said about the source.
    """

    lines: tuple[str, ...]
    is_machine: bool = False

    @property
    def first(self) -> str:
        return self.lines[0]


def diagnose(output: str) -> Diagnosis:
    """Find the first error in the output of a make that failed.

    A fault of the machine comes before any error of the source: what failed beside it proves nothing.
    """
    lines = output.splitlines()
    for number, line in enumerate(lines):
        if _MACHINE.search(line) and not _OF_THE_SOURCE.match(line):
            return Diagnosis(_trim(_block(lines, number)), is_machine=True)
    for number, line in enumerate(lines):
        if _ERROR.match(line):
            return Diagnosis(_trim(_block(lines, number)))
    return Diagnosis(_trim(_before_giving_up(lines)))


def _block(lines: Sequence[str], number: int) -> list[str]:
    """An error's own line, then where it is, as the compiler says before it, then what it says after."""
    begin, end = number, number + 1
    while begin and _CONTEXT.search(lines[begin - 1]):
        begin -= 1
    while end < len(lines) and _goes_on(lines[number], lines[end]):
        end += 1
    return [lines[number], *lines[begin:number], *lines[number + 1 : end]]


def _goes_on(error: str, line: str) -> bool:
    """A line belongs to an error: an excerpt of the source, a note, or more that ld or modpost miss."""
    if _EXCERPT.match(line) or _NOTE.match(line) or (_STARS.match(error) and _STARS.match(line)):
        return True
    kin = next((word for word in ("undefined reference", "ERROR: modpost:") if word in error), "")
    return bool(kin) and (kin in line or ": in function " in line)


def _before_giving_up(lines: Sequence[str]) -> list[str]:
    """What was printed just before make gave up on a target, for errors in a form that is not known here."""
    end = next((number for number, line in enumerate(lines) if _GAVE_UP.match(line)), len(lines))
    said = [line for line in lines[max(end - LONGEST, 0) : end] if not _PROGRESS.match(line) and line.strip()]
    return [*said[-1:], *said[:-1], *lines[end : end + 1]]


def _trim(lines: Sequence[str]) -> tuple[str, ...]:
    kept = [line.rstrip() for line in lines if line.strip()]
    more = len(kept) - LONGEST
    return (*kept[:LONGEST], f"({more} more lines)") if more > 0 else tuple(kept) or ("make said nothing",)
