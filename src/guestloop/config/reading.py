# SPDX-License-Identifier: GPL-2.0-or-later
"""The only place that reads YAML. Every error names the file, the key, what was seen and what is allowed.

What people write is taken for UTF-8, with or without a byte order mark, whatever the locale.
"""

from __future__ import annotations

import codecs
import reprlib
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from guestloop.ground.errors import ConfigError
from guestloop.ground.hints import suggest
from guestloop.ground.units import MIB

REPOSITORY = Path(__file__).resolve().parents[3]
"""The checkout that guestloop runs from: it is installed editable, and its data is not in the package."""

LARGEST = 4 * MIB  # of a file that people write; a whole .config has 0.3 MiB

_short = reprlib.Repr()
_short.maxlevel, _short.maxstring = 2, 60  # an alias of an alias can stand for any number of values


@dataclass(frozen=True)
class Unquoted:
    """A value that YAML does not take for a text, and how it was written: ``0012345`` is the number 5349."""

    written: str
    value: object

    def __repr__(self) -> str:
        return self.written


def read_text(path: Path) -> str:
    """The content of a file that people write. Raises ConfigError with file and line when it is no text."""
    return decode_text(read_file(path), path)


def read_file(path: Path) -> bytes:
    """The bytes of a file that people name. Raises ConfigError if it cannot be read, or is very large."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a FIFO would be waited for
            raise ConfigError(f"{path}: a file was wanted, seen: {_kind_of(path)}")
        if path.stat().st_size > LARGEST:
            raise ConfigError(f"{path}: larger than {LARGEST // MIB} MiB; a text was wanted")
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', error)}") from error


def decode_text(data: bytes, path: Path) -> str:
    """The text in a file that people write. Raises ConfigError with file and line when it is none."""
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}, line {line}: not UTF-8: byte 0x{data[error.start]:02x}",
            hint=f"save it as UTF-8, for example: iconv -f {_guess(data)} -t UTF-8",
        ) from None


def _kind_of(path: Path) -> str:
    return "a directory" if path.is_dir() else "a pipe or device"


def _guess(data: bytes) -> str:
    return "UTF-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "LATIN1"


# The parser in C, where PyYAML was built with it, takes a tenth of the time.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Keeps how a value was written, and refuses a key that is there twice: YAML would take the last one."""

    # Libraries replace constructors of the loader above, for the whole process.
    yaml_constructors = yaml.constructor.SafeConstructor.yaml_constructors.copy()

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        waiting, visited = [node], set[int]()
        while waiting:
            each = waiting.pop()
            if id(each) in visited or not isinstance(each, yaml.CollectionNode):
                continue
            visited.add(id(each))  # an alias is the same node again, and may even be in itself
            if isinstance(each, yaml.MappingNode):
                _check_keys(each)
                waiting += (value for _, value in each.value)
            else:
                waiting += each.value
        return node


def _check_keys(node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        if key.tag != "tag:yaml.org,2002:str":
            written = f"; quote it: '{key.value}'" if isinstance(key, yaml.ScalarNode) else ""
            raise _wrong(key, f"a key that is no text{written}")
        if first := lines.get(key.value):
            raise _wrong(key, f"the key {key.value!r} is there twice, in line {first} too")
        lines[key.value] = key.start_mark.line + 1


def _wrong(node: yaml.Node, problem: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _keep_written(kind: str) -> None:
    construct = _Loader.yaml_constructors[kind]
    _Loader.add_constructor(kind, lambda loader, node: Unquoted(node.value, construct(loader, node)))


for _name in ("int", "float", "bool", "timestamp"):
    _keep_written(f"tag:yaml.org,2002:{_name}")


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping; values that are no texts are Unquoted.

    Raises ConfigError with file and line.
    """
    text = read_text(path)
    try:
        data = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        if mark and text[mark.index : mark.index + 1] == "\t":
            problem = f"{problem}: a tab"
        raise ConfigError(f"{path}{line}: not valid YAML: {problem}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a mapping was wanted, seen: {seen(data)}")
    return data


def seen(value: object) -> str:
    """A value in a message, cut short."""
    if value is None:
        return "nothing"
    return f"{value}, quote it: '{value}'" if isinstance(value, Unquoted) else _short.repr(value)


class Section:
    """A mapping in a YAML file that complains about what it does not know."""

    def __init__(self, where: str, data: object, allowed: Iterable[str]) -> None:
        self.where, self.allowed = where, tuple(allowed)
        if not isinstance(data, Mapping):
            raise ConfigError(f"{where}: a mapping was wanted, seen: {seen(data)}")
        self.data: Mapping[str, Any] = data
        for key in data:
            if key not in self.allowed:
                raise ConfigError(
                    f"{where}: unknown key {key!r}", hint=suggest(str(key), self.allowed, "keys")
                )

    def text(self, key: str, default: str | None = None) -> str:
        value = self.data.get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a text", value)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; one that is left empty has none."""
        value = self.data.get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise self._wrong(key, "a list of texts", value)
        for item in value:
            if not isinstance(item, str):
                raise self._wrong(key, "a list of texts", item)
        return tuple(value)

    def number(self, key: str, default: int) -> int:
        value = self._plain(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._wrong(key, "a number of 1 or more", value)
        return value

    def numbers(self, key: str) -> tuple[int, ...]:
        """A list of numbers."""
        value = self.data.get(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list of numbers", value)
        plain = [item.value if isinstance(item, Unquoted) else item for item in value]
        numbers = tuple(item for item in plain if type(item) is int)  # yes and no are of a kind with them
        if len(numbers) < len(plain):
            raise self._wrong(key, "a list of numbers", value)
        return numbers

    def flag(self, key: str) -> bool:
        """``yes`` or ``no``, which is also what a key that is not there means."""
        value = self._plain(key, False)
        if not isinstance(value, bool):
            raise self._wrong(key, "yes or no", value)
        return value

    def _plain(self, key: str, default: object) -> object:
        value = self.data.get(key, default)
        return value.value if isinstance(value, Unquoted) else value

    def _wrong(self, key: str, wanted: str, value: object) -> ConfigError:
        return ConfigError(f"{self.where}: {key}: {wanted} was wanted, seen: {seen(value)}")


def parse_enum(where: str, seen: str, kind: type[StrEnum]) -> Any:
    """A member of a StrEnum by value. Raises ConfigError with the allowed values."""
    try:
        return kind(seen)
    except ValueError:
        allowed = [member.value for member in kind]
        raise ConfigError(
            f"{where}: unknown value {seen!r}", hint=suggest(seen, allowed, "allowed")
        ) from None
