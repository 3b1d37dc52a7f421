# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``--kernels`` can name besides the YAML files of kernels/: kernels that exist already (pure).

::

    deb:linux-image-amd64            a package, or what a meta package depends on
    deb:6.12.117  deb:6.18-amd64     the newest packages of a version, of one flavour
    deb:newest-cloud-amd64@sid       the newest of all, from a suite other than the machine's own
    A.deb  A.deb+B.deb  A.rpm        package files; those of one kernel together
    X.tar.xz                         what the kernel's own tar-pkg makes
    running  /boot/vmlinuz-V         an installed kernel, with lib/modules/V beside its /boot
    ./linux  ../build                a build tree: with a slash, so that it is not taken for a name

Nothing here looks at the disk or the network: whether it exists is found out when it is needed.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from guestloop.ground.errors import ConfigError
from guestloop.ground.words import file_name

NEWEST = "newest"
RUNNING = "running"
PACKAGE = "deb:"
TARBALLS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.zst", ".tar.bz2")
ARCHIVES = (".deb", ".rpm", *TARBALLS)
FORMS = "deb:PACKAGE, deb:VERSION[-FLAVOUR], deb:newest[-FLAVOUR], each with @SUITE if it is another one"

_PACKAGE_NAME = re.compile(r"linux-[a-z0-9+.~-]+")
_SUITE = re.compile(r"[a-z][a-z0-9.-]*(?:/[a-z-]+)?")
_VERSION = re.compile(
    rf"(?P<version>{NEWEST}|\d[\w.+~]*(?:-(?:rc)?\d[\w.+~]*)?)(?:-(?P<flavour>[a-z][a-z0-9-]*))?"
)
_IMAGE_NAME = re.compile(r"vmlinuz-(?P<release>\d.*)")


@dataclass(frozen=True)
class ByName:
    """A package by its name."""

    name: str


@dataclass(frozen=True)
class ByVersion:
    """The newest package whose version begins with ``version`` (empty: any), of a flavour (empty: any)."""

    version: str
    flavour: str


@dataclass(frozen=True)
class PackageSpec:
    """A kernel of a package source. ``suite`` is empty for those that the machine itself is made of."""

    argument: str
    wanted: ByName | ByVersion
    suite: str

    @property
    def name(self) -> str:
        return _safe(self.argument.removeprefix(PACKAGE))


@dataclass(frozen=True)
class FilesSpec:
    """A kernel in package files or in a tarball; all files of one kernel, of one kind."""

    argument: str
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        """The name of the first file up to its ending, of a Debian package up to its version."""
        name = self.files[0].name
        if name.endswith(".deb"):
            return _safe(name.removesuffix(".deb").partition("_")[0])
        return _safe(name.removesuffix(next(end for end in reversed(ARCHIVES) if name.endswith(end))))


@dataclass(frozen=True)
class InstalledSpec:
    """A kernel in a ``/boot``, by its image and its release."""

    argument: str
    image: Path
    release: str

    @property
    def name(self) -> str:
        return _safe(RUNNING if self.argument == RUNNING else self.image.name)


@dataclass(frozen=True)
class TreeSpec:
    """A directory in which somebody builds a kernel, in place or by ``O=``."""

    argument: str
    directory: Path

    @property
    def name(self) -> str:
        return _safe(self.directory.name)


ExistingSpec = PackageSpec | FilesSpec | InstalledSpec | TreeSpec
"""A kernel that exists. ``name`` is what it is called in the results, and fit for a file name."""


def parse_existing(argument: str) -> ExistingSpec | None:
    """What an element of ``--kernels`` names, or None if it is neither a package nor a path.

    Raises ConfigError for one that is begun like a package and cannot be one.
    """
    if argument.startswith(PACKAGE):
        return _parse_package(argument)
    if argument == RUNNING:
        release = os.uname().release
        return InstalledSpec(argument, Path(f"/boot/vmlinuz-{release}"), release)
    if argument.endswith(ARCHIVES):
        return FilesSpec(argument, _split_files(argument))
    if "/" in argument or argument in {".", "..", "~"}:
        return _parse_path(argument)
    return None


def _parse_package(argument: str) -> PackageSpec:
    wanted, at, suite = argument.removeprefix(PACKAGE).partition("@")
    if at and not _SUITE.fullmatch(suite):
        raise ConfigError(f"--kernels {argument}: not a suite: {suite!r}", hint=FORMS)
    if match := _VERSION.fullmatch(wanted):
        version = "" if match["version"] == NEWEST else match["version"].replace("-rc", "~rc")
        return PackageSpec(argument, ByVersion(version, match["flavour"] or ""), suite)
    if not _PACKAGE_NAME.fullmatch(wanted):
        raise ConfigError(
            f"--kernels {argument}: neither a version nor a package of a kernel (linux-...): {wanted!r}",
            hint=FORMS,
        )
    return PackageSpec(argument, ByName(wanted), suite)


def _split_files(argument: str) -> tuple[Path, ...]:
    """Split at a ``+`` behind an ending: versions of packages have one too."""
    endings = "|".join(re.escape(ending) for ending in (".deb", ".rpm"))
    names = re.split(rf"(?:(?<=\.deb)|(?<=\.rpm))\+(?=.*(?:{endings})$)", argument)
    if len({Path(name).suffix for name in names}) > 1:
        raise ConfigError(f"--kernels {argument}: the files of one kernel must be of one kind")
    return tuple(_absolute(name) for name in names)


def _parse_path(argument: str) -> InstalledSpec | TreeSpec:
    path = _absolute(argument)
    if match := _IMAGE_NAME.fullmatch(path.name):
        return InstalledSpec(argument, path, match["release"])
    return TreeSpec(argument, path)


def _absolute(name: str) -> Path:
    try:
        return Path(name).expanduser().resolve()
    except RuntimeError as error:  # ~somebody, who is nobody here; or links that go in a circle
        raise ConfigError(f"--kernels {name}: not a path on this machine: {error}") from error


def _safe(text: str) -> str:
    return file_name(text, "kernel")
