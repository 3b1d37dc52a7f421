# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel configuration as text: parse, merge fragments, find options that could not be set.

The kernel's own tools solve the dependencies. They silently drop an option whose dependencies are not met.
So the result is read again and compared with what was wanted.

Options come and go between versions, so a line of a fragment can say more than a ``.config`` can::

    CONFIG_KVM=m                                   must be m
    # CONFIG_ACPI is not set                       must be off, or not exist
    CONFIG_PROC_SYSCTL=y | CONFIG_SYSCTL=y         the first of these that the kernel can set
    CONFIG_JAILHOUSE_GUEST=y where it exists       must be y in a kernel whose Kconfig files have it

Options are kept by name (of the first one of a line), without ``CONFIG_``, with the rest of the line as the
value. ``Wish`` is the meaning of such a pair.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guestloop.config.reading import read_text
from guestloop.ground.errors import ConfigError

_SET = re.compile(r"CONFIG_(\w+)=(.+)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")
_OR = re.compile(r" +\| +CONFIG_")
_WHERE = " where it exists"
_VALUE = re.compile(r'\w+=(?:[^\s"|]+|".*")')

NOT_SET = "n"


@dataclass(frozen=True)
class Wish:
    """What a line of a fragment asks for: one of ``choices`` (option, value), the best first.

    ``optional``: a kernel that has none of the options does without.
    """

    choices: tuple[tuple[str, str], ...]
    optional: bool = False

    @property
    def options(self) -> frozenset[str]:
        return frozenset(option for option, _ in self.choices)

    def is_met(self, seen: Mapping[str, str]) -> bool:
        """Return whether a configuration has one of the choices. An absent option counts as ``n``."""
        return any(seen.get(option, NOT_SET) == value for option, value in self.choices)


def wish_of(option: str, value: str) -> Wish:
    """Return what an option and its value in a fragment mean. Raises ValueError if they mean nothing."""
    text = value.removesuffix(_WHERE)
    words = [f"{option}={text}"] if text.startswith('"') else _OR.split(f"{option}={text}")
    if not all(map(_VALUE.fullmatch, words)):
        raise ValueError(f"CONFIG_{option}={value}")
    pairs = (word.partition("=") for word in words)
    return Wish(tuple((name, wanted) for name, _, wanted in pairs), optional=text != value)


@dataclass(frozen=True)
class Unmet:
    """A wish that the kernel's configuration does not meet, and the value of each option in it."""

    wish: Wish
    seen: tuple[str, ...]

    def __str__(self) -> str:
        return " and ".join(
            f"CONFIG_{option}: wanted {value}, seen {seen}"
            for (option, value), seen in zip(self.wish.choices, self.seen, strict=True)
        )


def parse(text: str, where: str = "config") -> dict[str, str]:
    """Parse options by name, without ``CONFIG_``. An option that "is not set" has the value ``n``.

    Raises ConfigError with the line if it is neither an option nor a comment nor empty.
    """
    options: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        try:
            options.update(_parse_line(line))
        except ValueError:
            raise ConfigError(
                f"{where}, line {number}: not a kernel option: {line!r}",
                hint="CONFIG_NAME=value, '# CONFIG_NAME is not set', 'CONFIG_A=y | CONFIG_B=y' for the first"
                " that can be set, or 'CONFIG_NAME=y where it exists'",
            ) from None
    return options


def _parse_line(line: str) -> dict[str, str]:
    if match := _SET.fullmatch(line):
        wish_of(match[1], match[2])
        return {match[1]: match[2]}
    if match := _UNSET.fullmatch(line):
        return {match[1]: NOT_SET}
    if line and not line.startswith("#"):
        raise ValueError(line)
    return {}


def merge(fragments: Sequence[Path]) -> dict[str, str]:
    """Merge the options of several fragment files. A line replaces earlier ones that name an option of it."""
    merged: dict[str, tuple[str, frozenset[str]]] = {}
    for path in fragments:
        for option, value in parse(read_text(path), str(path)).items():
            named = wish_of(option, value).options
            merged = {key: line for key, line in merged.items() if named.isdisjoint(line[1])}
            merged[option] = value, named
    return {option: value for option, (value, _named) in merged.items()}


def render(options: Mapping[str, str]) -> str:
    """Render options as a fragment, sorted by name, so that equal options result in equal text."""
    lines = (
        f"# CONFIG_{name} is not set" if value == NOT_SET else f"CONFIG_{name}={value}"
        for name, value in sorted(options.items())
    )
    return "\n".join(lines) + "\n"


def find_unmet(wanted: Mapping[str, str], seen: Mapping[str, str]) -> tuple[Unmet, ...]:
    """Return the wanted options that have another value in ``seen``. An absent option counts as ``n``."""
    wishes = (wish_of(option, value) for option, value in wanted.items())
    return tuple(
        Unmet(wish, tuple(seen.get(option, NOT_SET) for option, _ in wish.choices))
        for wish in wishes
        if not wish.is_met(seen)
    )


def settle(
    wanted: Mapping[str, str],
    configure: Callable[[Mapping[str, str]], Mapping[str, str]],
    source: Path,
) -> list[Unmet]:
    """Have a kernel configured with the wanted options, and of alternatives with the first that it can set.

    ``configure`` gives the kernel's tools plain options and returns the configuration that they make. It is
    called again with the next choice as long as that is worth a try. Returns what could not be set.
    """
    wishes = [wish_of(option, value) for option, value in wanted.items()]
    turn = dict.fromkeys(wishes, 0)
    while True:
        seen = configure(dict(wish.choices[number] for wish, number in turn.items()))
        further = [
            wish for wish, number in turn.items() if not wish.is_met(seen) and wish.choices[number + 1 :]
        ]
        if not further:
            break
        turn |= {wish: turn[wish] + 1 for wish in further}
    return _missed(find_unmet(wanted, seen), source)


def _missed(unmet: Sequence[Unmet], source: Path) -> list[Unmet]:
    """Those that are not of options that may be absent, and are, in the Kconfig files of a source tree."""
    optional = {option for item in unmet if item.wish.optional for option in item.wish.options}
    known = find_known(source, optional)
    return [item for item in unmet if not item.wish.optional or not known.isdisjoint(item.wish.options)]


def find_known(source: Path, options: Collection[str]) -> frozenset[str]:
    """Return which of these options some Kconfig file of a source tree has an entry for."""
    if not options:
        return frozenset()
    entry = re.compile(rf"^\s*(?:menu)?config ({'|'.join(map(re.escape, options))})\s*$", re.MULTILINE)
    texts = (path.read_text(errors="replace") for path in source.rglob("Kconfig*") if path.is_file())
    return frozenset(name for text in texts for name in entry.findall(text))


def refuse(unmet: Sequence[Unmet], where: str) -> None:
    """Raise ConfigError with each of these wishes, and the value that was made of it; none is fine."""
    if not unmet:
        return
    options = "1 option" if len(unmet) == 1 else f"{len(unmet)} options"
    raise ConfigError(
        f"{where}: {options} could not be set: " + "; ".join(map(str, unmet)),
        hint=f"does CONFIG_{unmet[0].wish.choices[0][0]} exist in this kernel, and is what its Kconfig entry"
        " depends on set in the fragment (or, for one that should be off, selected by another)?"
        " kernels/config/base.config says how to name alternatives",
    )


def removed_by(diff: str, unmet: Sequence[Unmet]) -> tuple[str, ...]:
    """Return the options of unmet wishes whose Kconfig entry a diff removes, and does not put elsewhere."""
    options = {option for item in unmet for option in item.wish.options}

    def entries(sign: str) -> set[str]:
        return set(re.findall(rf"^{sign}\s*(?:menu)?config (\w+)\s*$", diff, re.MULTILINE))

    return tuple(sorted((entries("-") - entries(r"\+")) & options))
