"""Frozen specs of kernels and profiles, and the only place that reads YAML.

Every error names the file, the key, what was seen and what is allowed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from guestloop.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]


class Mmu(StrEnum):
    """How L1's KVM maps an L2: which MMU code runs, by module parameters set at load."""

    TDP = "tdp"
    DIRECT = "direct"
    SHADOW = "shadow"

    @property
    def meaning(self) -> str:
        return {
            Mmu.TDP: "TDP MMU on nested/extended paging (default)",
            Mmu.DIRECT: "shadow-MMU code on nested/extended paging (kvm.tdp_mmu=N)",
            Mmu.SHADOW: "shadow paging (npt=0 or ept=0)",
        }[self]


class BaseKind(StrEnum):
    """Where the source of a kernel comes from."""

    DEBIAN_SOURCE = "debian-source"
    TARBALL = "tarball"
    GIT = "git"


@dataclass(frozen=True)
class BaseSpec:
    """Source of a kernel: a Debian source package, a tarball, or a local git tree and ref."""

    kind: BaseKind
    location: str
    ref: str = ""


@dataclass(frozen=True)
class Reach:
    """Where a series can act; cells outside are ``cannot-differ``.

    ``mmu`` empty: everywhere.
    """

    mmu: tuple[Mmu, ...] = ()
    because: str = ""

    def covers(self, mmu: Mmu) -> bool:
        return not self.mmu or mmu in self.mmu


@dataclass(frozen=True)
class KernelSpec:
    """One YAML file in kernels/: base, configuration fragments and a series of patches."""

    name: str
    path: Path
    description: str
    base: BaseSpec
    config: tuple[Path, ...]
    series: tuple[Path, ...]
    reach: Reach = Reach()


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping. Raises ConfigError with file and line."""
    try:
        data = yaml.safe_load(path.read_text())
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


def suggest(seen: str, allowed: Iterable[str], what: str) -> str:
    """Hint for a name that is not known: the closest one, then all."""
    names = sorted(allowed)
    close = get_close_matches(seen, names, n=1)
    did_you = f"did you mean {close[0]!r}? " if close else ""
    return f"{did_you}{what}: {', '.join(names)}"


def parse_enum(where: str, seen: str, kind: type[Mmu] | type[BaseKind]) -> Any:
    """A member of a StrEnum by value. Raises ConfigError with the allowed values."""
    try:
        return kind(seen)
    except ValueError:
        allowed = [member.value for member in kind]
        raise ConfigError(
            f"{where}: unknown value {seen!r}", hint=suggest(seen, allowed, "allowed")
        ) from None


def kernel_directories() -> tuple[Path, ...]:
    """Where kernels are looked for: the user's own directory first, then the repository's."""
    own = os.environ.get("XDG_CONFIG_HOME")
    user = (Path(own) if own else Path.home() / ".config") / "guestloop" / "kernels"
    shipped = REPOSITORY / "kernels"
    return (user, shipped, shipped / "mutants")


def find_kernel_files() -> dict[str, Path]:
    """Every kernel that can be named, by name; a user's own file hides a shipped one."""
    found: dict[str, Path] = {}
    for directory in kernel_directories():
        for path in sorted(directory.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def load_kernel(name: str) -> KernelSpec:
    """The kernel of this name, or of this path when it ends in ``.yaml``.

    Raises ConfigError for an unknown name, an unknown key, or a file that is not there.
    """
    if name.endswith(".yaml"):
        return parse_kernel(Path(name))
    files = find_kernel_files()
    if name not in files:
        raise ConfigError(f"unknown kernel {name!r}", hint=suggest(name, files, "kernels"))
    return parse_kernel(files[name])


def parse_kernel(path: Path) -> KernelSpec:
    """Read one kernel file; relative paths in it are relative to its own directory."""
    where = str(path)
    top = Section(where, load_yaml(path), ("description", "base", "config", "series", "reach"))
    return KernelSpec(
        name=path.stem,
        path=path,
        description=top.text("description"),
        base=_parse_base(where, path.parent, top.data.get("base")),
        config=_existing(where, path.parent, "config", top.texts("config")),
        series=_existing(where, path.parent, "series", top.texts("series")),
        reach=_parse_reach(where, top.data.get("reach", {})),
    )


def _parse_base(where: str, directory: Path, data: object) -> BaseSpec:
    section = Section(f"{where}: base", data, [*BaseKind, "ref"])
    kinds = [kind for kind in BaseKind if kind in section.data]
    if len(kinds) != 1:
        allowed = ", ".join(BaseKind)
        raise ConfigError(f"{where}: base: exactly one of {allowed} was wanted, seen: {dict(section.data)!r}")
    kind, location = kinds[0], section.text(kinds[0])
    if (kind is BaseKind.GIT) != ("ref" in section.data):
        raise ConfigError(f"{where}: base: 'ref' goes with 'git', and 'git' needs it")
    if kind is not BaseKind.DEBIAN_SOURCE:
        location = str((directory / Path(location).expanduser()).resolve())
    return BaseSpec(kind, location, section.text("ref", ""))


def _existing(where: str, directory: Path, key: str, names: tuple[str, ...]) -> tuple[Path, ...]:
    paths = tuple((directory / name).resolve() for name in names)
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"{where}: {key}: no such file: {path}")
    return paths


def _parse_reach(where: str, data: object) -> Reach:
    section = Section(f"{where}: reach", data, ("mmu", "because"))
    mmu = tuple(parse_enum(f"{where}: reach: mmu", seen, Mmu) for seen in section.texts("mmu"))
    because = section.text("because", "")
    if mmu and not because:
        raise ConfigError(f"{where}: reach: 'because' is wanted: why can the series act only there?")
    return Reach(mmu, because)


@dataclass(frozen=True)
class Profile:
    """A named selection of cells.

    ``selections``: each maps axes (``test``, ``mmu``, ``load``, ...) to the values taken; a cell is in when
    one of them matches. ``fresh_boots`` boots L1 anew for each round.
    """

    name: str
    description: str
    rounds: int
    fresh_boots: bool
    selections: tuple[Mapping[str, tuple[str, ...]], ...]


def load_profiles(axes: Mapping[str, Mapping[str, tuple[str, ...]]]) -> dict[str, Profile]:
    """The shipped profiles, then the user's own, which may replace them.

    ``axes`` are the axes and values of each test. Raises ConfigError for what they do not have.
    """
    own = kernel_directories()[0].parent / "profiles.yaml"
    files = [Path(__file__).with_name("profiles.yaml"), *([own] if own.exists() else [])]
    return {
        name: _parse_profile(f"{path}: {name}", name, data, axes)
        for path in files
        for name, data in load_yaml(path).items()
    }


def _parse_profile(
    where: str, name: str, data: object, axes: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> Profile:
    section = Section(where, data, ("description", "rounds", "fresh-boots", "cells"))
    cells = section.data.get("cells")
    if not isinstance(cells, list) or not cells:
        raise ConfigError(f"{where}: cells: a list of selections was wanted, seen: {cells!r}")
    return Profile(
        name=name,
        description=section.text("description"),
        rounds=section.number("rounds", 2),
        fresh_boots=section.data.get("fresh-boots", False) is True,
        selections=tuple(_parse_selection(f"{where}: cells", cell, axes) for cell in cells),
    )


def _parse_selection(
    where: str, data: object, axes: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> dict[str, tuple[str, ...]]:
    test = str(data.get("test")) if isinstance(data, Mapping) else ""
    if test not in axes:
        raise ConfigError(f"{where}: unknown test {test!r}", hint=suggest(test, axes, "tests"))
    allowed = {"mmu": tuple(mode.value for mode in Mmu), **axes[test]}
    section = Section(where, data, ("test", *allowed))
    chosen: dict[str, tuple[str, ...]] = {"test": (test,)}
    for axis in section.data:
        if axis == "test":
            continue
        chosen[axis] = section.texts(axis)
        for value in chosen[axis]:
            if value not in allowed[axis]:
                hint = suggest(value, allowed[axis], "values")
                raise ConfigError(f"{where}: {axis}: unknown value {value!r}", hint=hint)
    return chosen
