# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel configuration as text: parse, merge fragments, find options that could not be set (pure).

The kernel's own tools solve the dependencies. They silently drop an option whose dependencies are not met.
So the result is read again and compared with what was wanted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guestloop.ground.errors import ConfigError

_SET = re.compile(r"CONFIG_(\w+)=(.+)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")

NOT_SET = "n"


@dataclass(frozen=True)
class Unmet:
    """An option that does not have the wanted value in the kernel's configuration."""

    option: str
    wanted: str
    seen: str

    def __str__(self) -> str:
        return f"CONFIG_{self.option}: wanted {self.wanted}, seen {self.seen}"


def parse(text: str, where: str = "config") -> dict[str, str]:
    """Parse options by name, without ``CONFIG_``. An option that "is not set" has the value ``n``.

    Raises ConfigError with the line if it is neither an option nor a comment nor empty.
    """
    options: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if match := _SET.fullmatch(line):
            options[match[1]] = match[2].strip()
        elif match := _UNSET.fullmatch(line):
            options[match[1]] = NOT_SET
        elif line and not line.startswith("#"):
            raise ConfigError(
                f"{where}, line {number}: not a kernel option: {line!r}",
                hint="CONFIG_NAME=value, or '# CONFIG_NAME is not set'",
            )
    return options


def merge(fragments: Sequence[Path]) -> dict[str, str]:
    """Merge the options of several fragment files. A later file wins."""
    merged: dict[str, str] = {}
    for path in fragments:
        merged.update(parse(path.read_text(), str(path)))
    return merged


def render(options: Mapping[str, str]) -> str:
    """Render options as a fragment, sorted by name, so that equal options result in equal text."""
    lines = (
        f"# CONFIG_{name} is not set" if value == NOT_SET else f"CONFIG_{name}={value}"
        for name, value in sorted(options.items())
    )
    return "\n".join(lines) + "\n"


def find_unmet(wanted: Mapping[str, str], seen: Mapping[str, str]) -> tuple[Unmet, ...]:
    """Return the wanted options that have another value in ``seen``. An absent option counts as ``n``."""
    return tuple(
        Unmet(name, value, seen.get(name, NOT_SET))
        for name, value in wanted.items()
        if seen.get(name, NOT_SET) != value
    )


def check(wanted: Mapping[str, str], config: Path, where: str) -> None:
    """Compare the configuration that the kernel's tools made with what was wanted.

    Raises ConfigError with each option that could not be set, and the value that it has instead.
    """
    unmet = find_unmet(wanted, parse(config.read_text(), str(config)))
    if not unmet:
        return
    options = "1 option" if len(unmet) == 1 else f"{len(unmet)} options"
    raise ConfigError(
        f"{where}: {options} could not be set: " + "; ".join(map(str, unmet)),
        hint=f"does CONFIG_{unmet[0].option} exist in this kernel, and is what its Kconfig entry"
        " depends on set in the fragment (or, for one that should be off, selected by another)?",
    )
