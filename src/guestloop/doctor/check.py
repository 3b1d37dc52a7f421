# SPDX-License-Identifier: GPL-2.0-or-later
"""One line of the doctor's: what was looked at, how it is, and the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # it would spoil a measurement, or is not known
    LACKING = "lacking"  # something cannot be run for want of it


@dataclass(frozen=True)
class Check:
    """``mend`` is a command, or what a person has to do; empty when there is nothing to mend."""

    topic: str
    level: Level
    text: str
    mend: str = ""

    def __str__(self) -> str:
        mend = f"; mend: {self.mend}" if self.mend else ""
        return f"{self.level:<8} {self.topic:<18} {self.text}{mend}"


def ok(topic: str, text: str) -> Check:
    return Check(topic, Level.OK, text)


def warning(topic: str, text: str, mend: str = "") -> Check:
    return Check(topic, Level.WARNING, text, mend)


def lacking(topic: str, text: str, mend: str = "") -> Check:
    return Check(topic, Level.LACKING, text, mend)
