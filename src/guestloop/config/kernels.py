# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels that can be named: a YAML file each, the user's own and those in kernels/, or existing ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from guestloop.config.existing import RUNNING, ExistingSpec, parse_existing
from guestloop.config.expect import parse_expectations
from guestloop.config.reading import REPOSITORY, Section, load_yaml, parse_enum, seen
from guestloop.ground.errors import ConfigError
from guestloop.ground.hints import suggest
from guestloop.ground.surroundings import home
from guestloop.results.cells import Mmu
from guestloop.results.plan import Reach
from guestloop.results.provenance import Expectation


class BaseKind(StrEnum):
    """Where the source of a kernel comes from."""

    DEBIAN_SOURCE = "debian-source"
    TARBALL = "tarball"
    GIT = "git"


YAML = (".yaml", ".yml")
KEYS = ("description", "like", "base", "config", "series", "reach", "expect")
OTHERS = (
    "; or deb:PACKAGE, deb:VERSION, a file of a package, /boot/vmlinuz-V, the path of a build tree (./linux)"
)


@dataclass(frozen=True)
class BaseSpec:
    """Source of a kernel: a Debian source package, a tarball, or a local git tree and ref.

    ``dirty``: of a git tree, what stands in its work tree instead of a ref. ``option`` is what names it on
    the command line, empty for a kernel's file.
    """

    kind: BaseKind
    location: str
    ref: str = ""
    dirty: bool = False
    option: str = ""


@dataclass(frozen=True)
class KernelSpec:
    """One YAML file in kernels/, or what the command line makes of one: base, configuration, series.

    ``config`` are fragments, each over those before; ``whole_config`` is a whole ``.config`` below them. An
    element of ``series`` is a file with patches or a folder with such files. ``threeway`` lets a hunk that
    does not match be merged, where the blobs that its patch names are there (``git apply --3way``).
    ``expect`` is what the series is for. ``written`` is how the user named it, if not by its name.
    """

    name: str
    path: Path
    description: str
    base: BaseSpec
    config: tuple[Path, ...]
    series: tuple[Path, ...]
    reach: Reach = field(default_factory=Reach)
    threeway: bool = False
    expect: tuple[Expectation, ...] = ()
    whole_config: Path | None = None
    written: str = ""

    @property
    def base_named(self) -> str:
        """Where the base is named, for messages."""
        return self.base.option or f"{self.path}: base"


KernelArgument = KernelSpec | ExistingSpec
"""An element of ``--kernels``: a kernel that guestloop builds, or one that exists already."""


def own_directory() -> Path | None:
    """Where the user's own kernels and profiles are: ``$XDG_CONFIG_HOME/guestloop``, else below ~/.config.

    None if there is none, or if it may not be entered: HOME can still be that of another user.
    """
    own = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    user = home()
    if not own.is_absolute():
        own = user / ".config" if user else Path("/nonexistent")
    return own / "guestloop" if os.access(own / "guestloop", os.R_OK | os.X_OK) else None


def kernel_directories() -> tuple[Path, ...]:
    """Where kernels are looked for: the user's own directory first, then the repository's."""
    shipped = REPOSITORY / "kernels"
    own = own_directory()
    return (*([own / "kernels"] if own else []), shipped, shipped / "mutants")


def find_kernel_files(without: Path | None = None) -> dict[str, Path]:
    """Every kernel that can be named, by name; a user's own file hides a shipped one."""
    found: dict[str, Path] = {}
    for directory in kernel_directories():
        for path in sorted(path for ending in YAML for path in directory.glob(f"*{ending}")):
            if path.resolve() != without:
                found.setdefault(path.stem, path)
    return found


def load_argument(argument: str) -> KernelArgument:
    """What an element of ``--kernels`` names. Raises ConfigError for what can be neither."""
    if argument.endswith(YAML):
        return load_kernel(argument)
    if "/" in argument and (named := [name for name in _with_endings(argument) if Path(name).is_file()]):
        return parse_kernel(Path(named[0]))
    return parse_existing(argument) or load_kernel(argument)


def _with_endings(argument: str) -> Iterator[str]:
    """What may be meant by ``kernels/patched``."""
    return (os.path.expanduser(f"{argument}{ending}") for ending in YAML)  # noqa: PTH111 - it never raises


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


def parse_kernel(path: Path, above: tuple[Path, ...] = ()) -> KernelSpec:
    """Read one kernel file; relative paths in it are relative to its own directory.

    One that is ``like`` another has its base, configuration and series, with its own fragments and patches
    after them, or another base. ``reach`` and ``expect`` are about the whole series, so they are its own.
    ``above`` are the files that are like this one, for which a circle is a ConfigError.
    """
    where = str(path)
    top = Section(where, load_yaml(path), KEYS)
    like = _parse_like(top, path, above) if top.data.get("like") is not None else None
    base = top.data.get("base")
    return KernelSpec(
        name=path.stem,
        path=path,
        description=top.text("description", f"like {like.name}" if like else None),
        base=like.base if like and base is None else _parse_base(where, path.parent, base),
        config=(like.config if like else ()) + _existing(where, path.parent, "config", top.texts("config")),
        series=(like.series if like else ())
        + _existing(where, path.parent, "series", top.texts("series"), folders=True),
        reach=_parse_reach(where, top.data.get("reach") or {}),
        expect=parse_expectations(f"{where}: expect", top.data.get("expect") or {}),
    )


def _parse_like(top: Section, path: Path, above: tuple[Path, ...]) -> KernelSpec:
    """The kernel that a file builds on: another file beside it, or a name that is not its own."""
    name, chain = top.text("like"), (*above, path.resolve())
    if name.endswith(YAML):
        found = user_path(name, f"{top.where}: like", path.parent)
    else:
        # A user's file that hides a shipped one of its name can be like that one.
        files = {path.stem: path, **find_kernel_files(without=path.resolve())}
        if name not in files:
            raise ConfigError(
                f"{top.where}: like: unknown kernel {name!r}", hint=suggest(name, files, "kernels")
            )
        found = files[name]
    if found.resolve() in chain:
        names = " -> ".join(str(file) for file in (*chain[chain.index(found.resolve()) :], found.resolve()))
        raise ConfigError(f"{top.where}: like: a circle: {names}")
    return parse_kernel(found, chain)


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


def _existing(
    where: str, directory: Path, key: str, names: tuple[str, ...], *, folders: bool = False
) -> tuple[Path, ...]:
    paths = tuple(user_path(name, f"{where}: {key}", directory) for name in names)
    for path in paths:
        # Path's methods raise for a name that is too long.
        if not os.path.isfile(path) and not (folders and os.path.isdir(path)):  # noqa: PTH112, PTH113
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
