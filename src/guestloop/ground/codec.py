# SPDX-License-Identifier: GPL-2.0-or-later
"""Typed values as JSON and back, by their annotations: dataclasses, enums, paths and containers of them.

One place turns results, plans, lab specs and the arguments of calls into text, so that what is read has the
types that mypy was promised. In L1 there is only the standard library, hence no package for it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

PLAIN = (str, int, float, bool)
"""Most of what there is: counts of events by their names. It is looked at in bulk."""


class CodecError(ValueError):
    """Data does not have the shape that was promised: says where, what was wanted and what was seen."""


def encode(value: Any) -> Any:
    """``value`` as what ``json`` can write. Raises CodecError for what has no form in JSON."""
    if value is None or type(value) in PLAIN:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: encode(getattr(value, item.name)) for item in _fields_of(type(value))}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {_key(key): encode(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes | str):
        return [encode(item) for item in value]
    raise CodecError(f"a {type(value).__name__} has no form in JSON: {value!r}")


def _key(key: Any) -> str:
    if isinstance(key, str | int):
        return str(key.value if isinstance(key, Enum) else key)
    raise CodecError(f"a {type(key).__name__} cannot be a key in JSON: {key!r}")


def decode(kind: type[T], data: Any, where: str = "") -> T:
    """``data``, as ``json`` has read it, as a value of ``kind``. Raises CodecError naming the place."""
    return typing.cast("T", _decode(kind, data, where or getattr(kind, "__name__", str(kind))))


def _decode(kind: Any, data: Any, where: str) -> Any:
    if kind is Any:
        return data
    if (origin := get_origin(kind)) is not None:
        return _decode_generic(origin, get_args(kind), data, where)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, data, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _decode_enum(kind, data, where)
    return _decode_plain(kind, data, where)


def _decode_plain(kind: Any, data: Any, where: str) -> Any:
    if kind is Path:
        return Path(_plain(str, data, where))
    if kind is float and type(data) is int:
        return float(data)
    return _plain(type(None) if kind is None else kind, data, where)


def _decode_generic(origin: Any, arguments: tuple[Any, ...], data: Any, where: str) -> Any:
    if origin in (Union, types.UnionType):
        return _decode_union(arguments, data, where)
    if origin is tuple and arguments[-1] is not Ellipsis:
        items = _plain(list, data, where)
        if len(items) != len(arguments):
            raise CodecError(f"{where}: {len(arguments)} items were wanted, seen: {len(items)}")
        pairs = zip(arguments, items, strict=True)
        return tuple(_decode(one, item, f"{where}[{at}]") for at, (one, item) in enumerate(pairs))
    if not isinstance(origin, type):
        raise CodecError(f"{where}: {origin} cannot be read from JSON")
    if issubclass(origin, Mapping):
        return _decode_mapping(arguments, _plain(dict, data, where), where)
    if issubclass(origin, Sequence):
        made = _decode_items(arguments[0], _plain(list, data, where), where)
        return tuple(made) if origin is tuple else made
    raise CodecError(f"{where}: {origin} cannot be read from JSON")


def _decode_mapping(kinds: tuple[Any, ...], given: dict[str, Any], where: str) -> dict[Any, Any]:
    key, value = kinds
    if key is str and _are_all(value, given.values()):
        return given.copy()
    return {
        _decode_key(key, name, where): _decode(value, item, f"{where}[{name!r}]")
        for name, item in given.items()
    }


def _decode_items(kind: Any, given: list[Any], where: str) -> list[Any]:
    if _are_all(kind, given):
        return given.copy()
    return [_decode(kind, item, f"{where}[{at}]") for at, item in enumerate(given)]


def _are_all(kind: Any, items: Iterable[Any]) -> bool:
    return kind in PLAIN and all(type(item) is kind for item in items)


def _decode_union(members: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in members:
        return None
    for member in members:
        if member is not type(None):
            try:
                return _decode(member, data, where)
            except CodecError as error:
                last = error
    raise last


def _decode_key(kind: Any, name: str, where: str) -> Any:
    """Keys are texts in JSON."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _decode_enum(kind, name, f"a key of {where}")
    try:
        return kind(name)
    except ValueError:
        raise CodecError(f"a key of {where}: {kind.__name__} was wanted, seen: {name!r}") from None


def _decode_enum(kind: type[Enum], data: Any, where: str) -> Enum:
    try:
        return kind(data)
    except ValueError:
        allowed = ", ".join(str(member.value) for member in kind)
        raise CodecError(f"{where}: one of {allowed} was wanted, seen: {data!r}") from None


def _decode_dataclass(kind: Any, data: Any, where: str) -> Any:
    given, hints = dict(_plain(dict, data, where)), hints_of(kind)
    values = {}
    for item in _fields_of(kind):
        if item.name in given:
            values[item.name] = _decode(hints[item.name], given.pop(item.name), f"{where}.{item.name}")
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise CodecError(f"{where}: {item.name} is missing")
    if given:
        raise CodecError(f"{where}: unknown: {', '.join(sorted(given))}")
    return kind(**values)


def _plain(kind: type[Any], data: Any, where: str) -> Any:
    if type(data) is not kind:
        raise CodecError(f"{where}: {kind.__name__} was wanted, seen: {data!r:.80}")
    return data


@cache
def _fields_of(kind: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)


@cache
def hints_of(annotated: Any) -> Mapping[str, Any]:
    """The annotations of a class or function, evaluated."""
    return get_type_hints(annotated)
