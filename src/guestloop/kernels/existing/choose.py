# SPDX-License-Identifier: GPL-2.0-or-later
"""Which packages of a list hold the kernel that was asked for (pure).

Debian's linux-image packages were whole until 6.18. Since then linux-image depends on linux-binary (the boot
image), linux-modules and linux-base (configuration), all with the release in their names. A meta package,
such as linux-image-amd64, depends on a linux-image of one release.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from guestloop.config.existing import ByName, ByVersion, PackageSpec
from guestloop.debian.index import Dependency, Package
from guestloop.ground.errors import ConfigError

IMAGE = "linux-image-"
PREFIX = "linux-"
WITHOUT_IMAGE = ("-dbg", "-dbgsym", "-signed-template")
NOT_TO_BOOT = (*WITHOUT_IMAGE, "-unsigned")

ANY = ByVersion("", "")
ABI = r"\g<abi>"
_PART = re.compile(r"linux-(?:binary|modules|base)-(?:unsigned-)?\d")
_RELEASE = re.compile(rf"{IMAGE}(?P<abi>\d[\w.+~]*(?:-(?:rc)?\d+)?)-(?P<flavour>[a-z].*)")


@dataclass(frozen=True)
class Chosen:
    """The packages of one kernel; the first one gives it its name and version."""

    packages: tuple[Package, ...]

    @property
    def name(self) -> str:
        return self.packages[0].name

    @property
    def version(self) -> str:
        return self.packages[0].version

    @property
    def size(self) -> int:
        """Bytes of all packages."""
        return sum(package.size for package in self.packages)


def choose(spec: PackageSpec, packages: Sequence[Package]) -> Chosen | None:
    """The packages of the kernel that ``spec`` wants, or None if these do not have it.

    Raises ConfigError if several flavours match, and for a package that is no kernel.
    """
    match spec.wanted:
        case ByName(name):
            found = _newest(packages, Dependency(name, ""))
        case ByVersion() as wanted:
            found = _only(spec, [package for package in packages if matches(wanted, package)])
    return Chosen(tuple(_with_parts(spec, found, packages))) if found else None


def matches(wanted: ByVersion, package: Package) -> bool:
    """Is this the image of a kernel of that version and flavour? The version may be that of the release."""
    release = _RELEASE.fullmatch(package.name)
    if not release or package.name.endswith(NOT_TO_BOOT) or _image_of(package):
        return False
    if wanted.flavour not in {"", release["flavour"]}:
        return False
    rest = package.version.removeprefix(wanted.version)
    known = rest != package.version and not rest[:1].isdigit()
    return not wanted.version or release["abi"] == wanted.version or known


def not_found(spec: PackageSpec, packages: Iterable[Package]) -> tuple[str, str]:
    """Message and hint: the package sources have no such kernel."""
    where = f"suite {spec.suite}" if spec.suite else "this machine's package sources"
    images = [package for package in sorted(packages, key=lambda one: one.age) if matches(ANY, package)]
    there = (
        f"kernels there: {', '.join(dict.fromkeys(_RELEASE.sub(ABI, one.name) for one in images)) or 'none'}"
    )
    match spec.wanted:
        case ByName(name):
            close = get_close_matches(name, {package.name for package in packages}, n=1)
            hint = f"did you mean {close[0]}? {there}" if close else there
            return f"--kernels {spec.argument}: no package {name} in {where}", hint
        case ByVersion(version, flavour):
            wanted = " ".join(filter(None, ["kernel", version, flavour]))
            return f"--kernels {spec.argument}: no package of {wanted} in {where}", there


def _only(spec: PackageSpec, matching: Sequence[Package]) -> Package | None:
    """The newest one, if all are of one flavour."""
    newest: dict[str, Package] = {}
    for package in sorted(matching, key=lambda package: package.age):
        newest[_RELEASE.sub(r"\g<flavour>", package.name)] = package
    if len(newest) > 1:
        at = f"@{spec.suite}" if spec.suite else ""
        names = ", ".join(f"deb:{package.name}{at}" for package in newest.values())
        raise ConfigError(
            f"--kernels {spec.argument}: {len(newest)} flavours match: {', '.join(newest)}",
            hint=f"name one of {names}; or add a flavour to the version",
        )
    return next(iter(newest.values()), None)


def _with_parts(spec: PackageSpec, package: Package, packages: Sequence[Package]) -> list[Package]:
    """The image that a package is, or depends on, and after it the parts that the image depends on."""
    while image := _image_of(package):
        package = _needed(spec, package, image, packages)
    if not package.name.startswith(IMAGE) and not _PART.match(package.name):
        raise ConfigError(
            f"--kernels {spec.argument}: package {package.name} is no kernel and depends on none",
            hint=f"the names of kernels begin with {IMAGE}",
        )
    if ending := next((each for each in WITHOUT_IMAGE if package.name.endswith(each)), ""):
        raise ConfigError(
            f"--kernels {spec.argument}: package {package.name} has no kernel that can be booted",
            hint=f"its kernel is in {package.name.removesuffix(ending)}",
        )
    found = [package]
    for one in found:  # which grows
        wanted = [_needed(spec, one, each, packages) for each in one.depends if _PART.match(each.name)]
        found += [part for part in dict.fromkeys(wanted) if part not in found]
    return found


def _image_of(package: Package) -> Dependency | None:
    """The image that a meta package stands for."""
    return next((each for each in package.depends if each.name.startswith(IMAGE)), None)


def _needed(spec: PackageSpec, by: Package, wanted: Dependency, packages: Sequence[Package]) -> Package:
    found = _newest(packages, wanted)
    if not found:
        version = f" {wanted.exactly}" if wanted.exactly else ""
        raise ConfigError(
            f"--kernels {spec.argument}: {by.name} {by.version} depends on {wanted.name}{version},"
            " which its suite does not have",
            hint="is its suite just being updated? Try again later, or name another package",
        )
    return found


def _newest(packages: Iterable[Package], wanted: Dependency) -> Package | None:
    of_name = (package for package in packages if package.name == wanted.name)
    fitting = [package for package in of_name if wanted.exactly in {"", package.version}]
    return max(fitting, key=lambda package: package.age, default=None)
