# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels that can be named: a YAML file each, the user's own and those in kernels/, or existing ones."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from guestloop.config.existing import RUNNING, ExistingSpec, parse_existing
from guestloop.config.expect import parse_expectations
from guestloop.config.reading import REPOSITORY, Section, load_yaml, parse_enum, seen
from guestloop.ground.errors import ConfigError
from guestloop.ground.hints import suggest
from guestloop.ground.isolated import home
from guestloop.results.cells import Mmu
from guestloop.results.plan import Reach
from guestloop.results.provenance import Expectation


class BaseKind(StrEnum):
    """Where the source of a kernel comes from."""

    DEBIAN_SOURCE = "debian-source"
    TARBALL = "tarball"
    GIT = "git"


YAML = (".yaml", ".yml")

OTHERS = (
    "; or deb:PACKAGE, deb:VERSION, a file of a package, /boot/vmlinuz-V, the path of a build tree (./linux)"
)


@dataclass(frozen=True)
class BaseSpec:
    """Source of a kernel: a Debian source package, a tarball, or a local git tree and ref."""

    kind: BaseKind
    location: str
    ref: str = ""


@dataclass(frozen=True)
class KernelSpec:
    """One YAML file in kernels/: base, configuration fragments and a series of patches."""

    name: str
    path: Path
    description: str
    base: BaseSpec
    config: tuple[Path, ...]
    series: tuple[Path, ...]
    reach: Reach = field(default_factory=Reach)
    expect: tuple[Expectation, ...] = ()


KernelArgument = KernelSpec | ExistingSpec
"""An element of ``--kernels``: a kernel that guestloop builds, or one that exists already."""


def own_directory() -> Path | None:
    """Where the user's own kernels and profiles are: ``$XDG_CONFIG_HOME/guestloop``, else below ~/.config."""
    own = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if own.is_absolute():
        return own / "guestloop"
    user = home()
    return user / ".config" / "guestloop" if user else None


def kernel_directories() -> tuple[Path, ...]:
    """Where kernels are looked for: the user's own directory first, then the repository's."""
    shipped = REPOSITORY / "kernels"
    own = own_directory()
    return (*([own / "kernels"] if own else []), shipped, shipped / "mutants")


def find_kernel_files() -> dict[str, Path]:
    """Every kernel that can be named, by name; a user's own file hides a shipped one."""
    found: dict[str, Path] = {}
    for directory in kernel_directories():
        for path in sorted(path for ending in YAML for path in directory.glob(f"*{ending}")):
            found.setdefault(path.stem, path)
    return found


def load_argument(argument: str) -> KernelArgument:
    """What an element of ``--kernels`` names. Raises ConfigError for what can be neither."""
    if argument.endswith(YAML):
        return load_kernel(argument)
    return parse_existing(argument) or load_kernel(argument)


def load_kernel(name: str) -> KernelSpec:
    """The kernel of this name, or of this path when it ends in ``.yaml`` or ``.yml``.

    Raises ConfigError for an unknown name, an unknown key, or a file that is not there.
    """
    if name.endswith(YAML):
        return parse_kernel(_expanded(name, "--kernels"))
    files = find_kernel_files()
    if name not in files:
        raise ConfigError(
            f"unknown kernel {name!r}", hint=suggest(name, [*files, RUNNING], "kernels") + OTHERS
        )
    return parse_kernel(files[name])


def parse_kernel(path: Path) -> KernelSpec:
    """Read one kernel file; relative paths in it are relative to its own directory."""
    where = str(path)
    top = Section(where, load_yaml(path), ("description", "base", "config", "series", "reach", "expect"))
    return KernelSpec(
        name=path.stem,
        path=path,
        description=top.text("description"),
        base=_parse_base(where, path.parent, top.data.get("base")),
        config=_existing(where, path.parent, "config", top.texts("config")),
        series=_existing(where, path.parent, "series", top.texts("series")),
        reach=_parse_reach(where, top.data.get("reach") or {}),
        expect=parse_expectations(f"{where}: expect", top.data.get("expect") or {}),
    )


def _parse_base(where: str, directory: Path, data: object) -> BaseSpec:
    section = Section(f"{where}: base", data, [*BaseKind, "ref"])
    kinds = [kind for kind in BaseKind if kind in section.data]
    if len(kinds) != 1:
        allowed = ", ".join(BaseKind)
        raise ConfigError(f"{where}: base: exactly one of {allowed} was wanted, seen: {seen(section.data)}")
    kind, location = kinds[0], section.text(kinds[0])
    if (kind is BaseKind.GIT) != ("ref" in section.data):
        raise ConfigError(f"{where}: base: 'ref' goes with 'git', and 'git' needs it")
    if kind is not BaseKind.DEBIAN_SOURCE:
        location = str(user_path(location, f"{where}: base", directory))
    return BaseSpec(kind, location, section.text("ref", ""))


def _existing(where: str, directory: Path, key: str, names: tuple[str, ...]) -> tuple[Path, ...]:
    paths = tuple(user_path(name, f"{where}: {key}", directory) for name in names)
    for path in paths:
        if not os.path.isfile(path):  # noqa: PTH113 - Path's raises for a name that is too long
            raise ConfigError(f"{where}: {key}: no such file: {path}")
    return paths


def user_path(name: str, where: str, directory: Path) -> Path:
    """A path as people write it, ``~`` for their home, absolute or below a directory.

    Raises ConfigError for one that cannot be: nobody's home, links in a circle.
    """
    try:
        return (directory / _expanded(name, where)).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{where}: {name!r} is not a path on this machine: {error}") from error


def _expanded(name: str, where: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{where}: {name}: {error}") from error


def _parse_reach(where: str, data: object) -> Reach:
    section = Section(f"{where}: reach", data, ("mmu", "because"))
    mmu = tuple(parse_enum(f"{where}: reach: mmu", seen, Mmu) for seen in section.texts("mmu"))
    because = section.text("because", "")
    if mmu and not because:
        raise ConfigError(f"{where}: reach: 'because' is wanted: why can the series act only there?")
    return Reach(mmu, because)
