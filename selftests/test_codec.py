# SPDX-License-Identifier: GPL-2.0-or-later
"""Typed values as JSON and back; data of another shape is refused with the place where it differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any, TypeVar

import pytest

from guestloop.ground.codec import CodecError, decode, encode

T = TypeVar("T")


class Colour(StrEnum):
    """Keys and values by text."""

    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    """By number."""

    LOW = 1


class Odd(Enum):
    """Neither text nor number."""

    PAIR = (1, 2)


@dataclass(frozen=True)
class Point:
    """A dataclass within another."""

    x: int
    y: float = 0.5


@dataclass(frozen=True)
class Shape:
    """A field of each kind."""

    name: str
    where: Path
    points: tuple[Point, ...]
    pair: tuple[int, str]
    names: Sequence[str]
    by_number: Mapping[int, Point]
    by_colour: Mapping[Colour, list[int]]
    colour: Colour
    level: Level
    perhaps: Point | None
    either: int | str
    anything: Any
    filled: bool = True
    nothing: None = None
    extra: dict[str, Any] = field(default_factory=dict)


SHAPE = Shape(
    name="triangle",
    where=Path("/tmp/a b"),
    points=(Point(1), Point(2, 2.5)),
    pair=(3, "three"),
    names=["a", "b"],
    by_number={768: Point(7)},
    by_colour={Colour.BLUE: [1, 2]},
    colour=Colour.RED,
    level=Level.LOW,
    perhaps=None,
    either="text",
    anything={"deep": [1, None, {"er": True}]},
    extra={"k": 1},
)


def sent(kind: type[T], value: Any) -> T:
    return decode(kind, json.loads(json.dumps(encode(value))))


def test_a_value_of_every_kind_comes_back_equal() -> None:
    back = sent(Shape, SHAPE)
    assert back == SHAPE
    assert isinstance(back.where, Path) and isinstance(back.points, tuple) and isinstance(back.names, list)
    assert back.colour is Colour.RED and back.level is Level.LOW
    assert isinstance(next(iter(back.by_number)), int) and next(iter(back.by_colour)) is Colour.BLUE


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (dict[str, dict[str, str]], {"kvm": {"tdp_mmu": "Y"}}),
        (list[tuple[float, str]], [(1.5, "progress"), (2.0, "")]),
        (dict[int, int], {4: 2445}),
        (tuple[int, ...], (1, 2, 3)),
        (Point | None, Point(1)),
        (Point | None, None),
        (int | str, 5),
    ],
)
def test_containers(kind: Any, value: object) -> None:
    assert sent(kind, value) == value


def test_a_generator_is_a_list_and_a_whole_number_may_be_a_float() -> None:
    assert encode(number * 2 for number in range(3)) == [0, 2, 4]
    seen = decode(float, 3)
    assert seen == 3.0 and type(seen) is float


def test_what_is_left_out_has_its_default() -> None:
    assert decode(Point, {"x": 1}) == Point(1, 0.5)
    first, second = (decode(Shape, data) for data in [encode(SHAPE)] * 2)
    assert first.extra is not second.extra


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        (Point, {"y": 1.0}, r"^Point: x is missing$"),
        (Point, {"x": 1, "z": 2, "w": 3}, r"^Point: unknown: w, z$"),
        (Point, {"x": "1"}, r"^Point\.x: int was wanted, seen: '1'$"),
        (Point, {"x": True}, r"^Point\.x: int was wanted, seen: True$"),
        (Point, [1, 2], r"^Point: dict was wanted, seen: \[1, 2\]$"),
        (int, None, r"^int: int was wanted, seen: None$"),
        (None, 1, r"NoneType was wanted, seen: 1$"),
        (Path, 7, r"^Path: str was wanted, seen: 7$"),
        (Colour, "green", r"^Colour: one of red, blue was wanted, seen: 'green'$"),
        (list[Point], [{"x": 1}, {"x": 2.5}], r"^list\[1\]\.x: int was wanted, seen: 2\.5$"),
        (dict[str, Point], {"a": {}}, r"^dict\['a'\]: x is missing$"),
        (dict[int, str], {"seven": ""}, r"^a key of dict: int was wanted, seen: 'seven'$"),
        (dict[Colour, int], {"green": 1}, r"^a key of dict: one of red, blue was wanted, seen: 'green'$"),
        (tuple[int, str], [1], r"^tuple: 2 items were wanted, seen: 1$"),
        (tuple[int, str], [1, 2], r"^tuple\[1\]: str was wanted, seen: 2$"),
        (tuple[int, ...], {}, r"^tuple: list was wanted, seen: \{\}$"),
        (Point | None, "no", r"^Union.*: dict was wanted|Point \| None: dict was wanted"),
        (set[int], [1], r"set'> cannot be read from JSON$"),
        (Callable[[], int], 1, r"Callable'> cannot be read from JSON$"),
        (object, 1, r"^object: object was wanted, seen: 1$"),
    ],
)
def test_another_shape_is_refused_with_the_place(kind: Any, data: object, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        decode(kind, data)


def test_the_place_can_be_named_and_long_data_is_cut() -> None:
    with pytest.raises(CodecError, match=r"^results/plan\.json\.x: int was wanted, seen: 'aa") as raised:
        decode(Point, {"x": "a" * 500}, "results/plan.json")
    assert len(str(raised.value)) < 150


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), r"^a object has no form in JSON: <object"),
        ([b"bytes"], r"^a bytes has no form in JSON: b'bytes'"),
        (Point, r"^a type has no form in JSON"),
        ({1.5: "x"}, r"^a float cannot be a key in JSON: 1\.5"),
        ({Odd.PAIR: 1}, r"^a Odd cannot be a key in JSON"),
    ],
)
def test_what_has_no_form_in_json(value: object, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        encode(value)
