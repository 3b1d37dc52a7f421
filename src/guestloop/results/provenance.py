# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel was built from, what it is meant to change, and why it could not be had."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from guestloop.ground.errors import GuestloopError, Kind


@dataclass(frozen=True)
class PatchRecord:
    """One patch of a series: where it was read, its subject, the digest of its content, and its mail."""

    name: str
    subject: str
    sha256: str
    message_id: str = ""


@dataclass(frozen=True)
class ConfigRecord:
    """The configuration: its files in order, the digest of all options that were asked for.

    ``laid_over`` has what replaced a line of a whole ``.config`` that the user named, ``CONFIG_KVM: y -> m``.
    """

    files: tuple[str, ...] = ()
    sha256: str = ""
    laid_over: tuple[str, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """What was taken for base, series and configuration of a kernel that is built.

    ``tree`` is the git tree id of the source with the series in it, ``base_commit`` the commit that the
    series was applied to; empty where the base is no git repository. ``notes`` are remarks about how the
    series was applied, such as the offset of a hunk.
    """

    base: str = ""
    tree: str = ""
    base_commit: str = ""
    patches: tuple[PatchRecord, ...] = ()
    config: ConfigRecord = field(default_factory=ConfigRecord)
    notes: tuple[str, ...] = ()


class Trend(StrEnum):
    """What a series is meant to do to the flush requests of a call path."""

    FEWER = "fewer"
    MORE = "more"


@dataclass(frozen=True)
class Expectation:
    """What a series is for, as its author declares it: ``change`` on ``path``."""

    path: str
    change: Trend

    def __str__(self) -> str:
        return f"{self.change} on {self.path}"


@dataclass(frozen=True)
class Failure:
    """Why there is no kernel to boot.

    ``kind`` is that of the error: NOT_APPLIED, NOT_BUILT, or CONFIG if what was asked for does not go
    together, such as an option of the configuration that the series removes. ``reason`` stands alone;
    ``details`` are the hunk and what stands there, or the compiler's first error with its lines, and what to
    do about it.
    """

    kind: Kind
    reason: str
    details: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: GuestloopError, name: str) -> Failure:
        """The failure of a kernel of this name, which need not be said in its own record."""
        reason, *details = str(error).splitlines()
        hint = (f"hint: {error.hint}",) if error.hint else ()
        return cls(error.kind, reason.removeprefix(f"{name}: "), (*details, *hint))

    @property
    def is_regression(self) -> bool:
        """The series is at fault, and nothing else is."""
        return self.kind is Kind.NOT_BUILT
