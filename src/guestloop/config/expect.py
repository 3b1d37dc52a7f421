# SPDX-License-Identifier: GPL-2.0-or-later
"""What a series should do to the flushes of a call path: ``expect:`` and ``--expect PATH:fewer`` (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from guestloop.config.reading import Section, parse_enum
from guestloop.counters import OTHER, PATHS
from guestloop.ground.errors import ConfigError
from guestloop.ground.hints import suggest
from guestloop.results.provenance import Expectation, Trend


def parse_expectations(where: str, data: object) -> tuple[Expectation, ...]:
    """Read a mapping of call paths to ``fewer`` or ``more``. Raises ConfigError for an unknown one."""
    section = Section(where, data, data if isinstance(data, dict) else ())
    return tuple(_expectation(where, str(path), section.text(path)) for path in section.data)


def parse_expect_options(options: Sequence[str]) -> tuple[Expectation, ...]:
    """Read ``PATH:fewer`` as it is given to ``--expect``. Raises ConfigError for anything else."""
    found = {one.path: one for one in map(_parse_option, options)}
    if len(found) < len(options):
        raise ConfigError(f"--expect: a call path is named twice: {', '.join(options)}")
    return tuple(found.values())


def _parse_option(option: str) -> Expectation:
    path, colon, change = option.rpartition(":")
    if not colon:
        allowed = ", ".join(f"{option}:{trend}" for trend in Trend)
        raise ConfigError(f"--expect {option}: PATH:CHANGE was wanted", hint=f"for example {allowed}")
    return _expectation(f"--expect {option}", path, change)


def _expectation(where: str, path: str, change: str) -> Expectation:
    symbol = path.removeprefix(OTHER)
    is_other = symbol != path and symbol.isidentifier()
    if path not in PATHS and not is_other:
        raise ConfigError(
            f"{where}: unknown call path {path!r}",
            hint=f"{suggest(path, PATHS, 'paths')}; or {OTHER}FUNCTION",
        )
    return Expectation(path, parse_enum(where, change, Trend))
