# SPDX-License-Identifier: GPL-2.0-or-later
"""The only place that reads YAML. Every error names the file, the key, what was seen and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from guestloop.ground.errors import ConfigError
from guestloop.ground.hints import suggest

# The parser in C, where PyYAML was built with it, takes a tenth of the time.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

REPOSITORY = Path(__file__).resolve().parents[3]
"""The checkout that guestloop runs from: it is installed editable, and its data is not in the package."""


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping. Raises ConfigError with file and line."""
    try:
        data = yaml.load(path.read_text(), LOADER)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a mapping was wanted, seen: {type(data).__name__}")
    return data


class Section:
    """A mapping in a YAML file that complains about what it does not know."""

    def __init__(self, where: str, data: object, allowed: Iterable[str]) -> None:
        self.where, self.allowed = where, tuple(allowed)
        if not isinstance(data, Mapping):
            raise ConfigError(f"{where}: a mapping was wanted, seen: {data!r}")
        self.data: Mapping[str, Any] = data
        for key in data:
            if key not in self.allowed:
                raise ConfigError(
                    f"{where}: unknown key {key!r}", hint=suggest(str(key), self.allowed, "keys")
                )

    def text(self, key: str, default: str | None = None) -> str:
        value = self.data.get(key, default)
        if not isinstance(value, str):
            raise ConfigError(f"{self.where}: {key}: a text was wanted, seen: {value!r}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{self.where}: {key}: a list of texts was wanted, seen: {value!r}")
        return tuple(value)

    def number(self, key: str, default: int) -> int:
        value = self.data.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{self.where}: {key}: a number of 1 or more was wanted, seen: {value!r}")
        return value


def parse_enum(where: str, seen: str, kind: type[StrEnum]) -> Any:
    """A member of a StrEnum by value. Raises ConfigError with the allowed values."""
    try:
        return kind(seen)
    except ValueError:
        allowed = [member.value for member in kind]
        raise ConfigError(
            f"{where}: unknown value {seen!r}", hint=suggest(seen, allowed, "allowed")
        ) from None
