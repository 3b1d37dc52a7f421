# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels of package sources: find, fetch and unpack them, and remember what an argument stood for.

The lists are read anew in each run, and what they name is fetched if it is not in the cache. When the network
or the package is gone, the last resolution of the argument is used, and that is said.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from guestloop.cache import Cache, content_key, file_digest
from guestloop.config.existing import PACKAGE, PackageSpec
from guestloop.debian.apt import PrivateApt, Trouble, diagnose
from guestloop.debian.index import Package, parse_packages, release_date
from guestloop.debian.sources import Release, find_release
from guestloop.ground.errors import ConfigError, ProcessError
from guestloop.ground.log import say, step
from guestloop.ground.units import MIB
from guestloop.kernels.existing import archives, entry, requirements
from guestloop.kernels.existing.choose import PREFIX, Chosen, choose, not_found
from guestloop.kernels.existing.layout import Layout
from guestloop.kernels.existing.memory import Memory, Resolution
from guestloop.kernels.origin import Origin, OriginKind, Unpacked


class Gone(Exception):
    """Not to be had now: the network, the suite or the package. A resolution of before will do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def unpack_package(spec: PackageSpec, cache: Cache) -> Unpacked:
    """The kernel of a package source, unpacked in the cache.

    Raises ConfigError if it cannot be had, or several flavours match; LabError on a machine without Debian's
    package sources.
    """
    machine = find_release()
    release = machine.for_suite(spec.suite) if spec.suite else machine
    memory = Memory(cache, release.codename)
    try:
        resolution, layout = _obtain(spec, release, cache)
    except Gone as gone:
        resolution, layout = _remembered(spec, memory, cache, gone)
    else:
        pinned = f"{PACKAGE}{resolution.name}" + (f"@{spec.suite}" if spec.suite else "")
        memory.keep({spec.argument: resolution, pinned: resolution})
    return entry.unpacked(layout, _origin(spec, resolution))


def _obtain(spec: PackageSpec, release: Release, cache: Cache) -> tuple[Resolution, Layout]:
    """Resolve the argument now, and fetch what is not in the cache. Raises Gone, ConfigError."""
    directory = cache.root / "apt" / content_key({"sources": release.render()})[:12]
    with cache.lock(f"apt-{directory.name}"):
        with cache.disk_errors():
            apt = PrivateApt(directory, release.render())
        _update(apt, spec, release)
        packages = read_lists(apt.lists, release.suites)
        chosen = choose(spec, packages)
        if not chosen:
            raise Gone(*not_found(spec, packages))
        requirements.check_release(chosen.version, f"--kernels {spec.argument}")
        resolution = _resolution(chosen, apt.lists)

        def unpack(scratch: Path, root: Path) -> None:
            files = _fetch(apt, chosen, scratch, spec)
            with step(f"unpacking {chosen.name}"):
                for path in files:
                    archives.unpack(path, root, spec.argument)
                    path.unlink()

        digests = resolution.sha256.values()
        return resolution, entry.obtain(cache, digests, spec.argument, unpack)


def _update(apt: PrivateApt, spec: PackageSpec, release: Release) -> None:
    """Read the lists. Raises Gone if they cannot be reached, ConfigError if nobody vouches for them."""
    try:
        with step(f"reading the package lists of {', '.join(release.suites)}"):
            apt.update()
    except ProcessError as error:
        trouble, words = diagnose(error.output)
        message, hint = explain(trouble, words, spec, release)
        if not any(apt.lists.glob("*Release")):
            shutil.rmtree(apt.directory)
        if trouble.is_of_the_moment:
            raise Gone(message, hint) from error
        raise ConfigError(message, hint=hint) from error


def explain(trouble: Trouble, words: str, spec: PackageSpec, release: Release) -> tuple[str, str]:
    """Message and hint for package sources that cannot be read (pure)."""
    suites = ", ".join(release.suites)
    start = f"--kernels {spec.argument}:"
    keyrings = {source.signed_by for source in release.sources if source.signed_by}
    known = ", ".join(sorted(keyrings)) or "/etc/apt/trusted.gpg.d"
    match trouble:
        case Trouble.NO_KEY:
            message = f"{start} suite {suites} is signed by key {words}, which is not in {known}"
            return message, "a newer debian-archive-keyring has the keys of newer suites"
        case Trouble.UNSIGNED:
            message = f"{start} suite {suites} cannot be verified: {words}"
            return message, "kernels are only taken from suites that are signed by a key of this machine"
        case Trouble.NO_SUITE:
            return f"{start} the package sources have no suite {suites}", f"seen: no Release file at {words}"
        case Trouble.UNREACHABLE:
            message = f"{start} the package sources cannot be read: {words}"
            return message, "the packages come from this machine's apt sources: does `apt-get update` work?"


def read_lists(lists: Path, suites: Sequence[str]) -> list[Package]:
    """The packages whose names begin like those of kernels, of all suites."""
    return [
        package
        for suite in suites
        for path in sorted(lists.glob(f"*_dists_{_escaped(suite)}_*_Packages"))
        for package in parse_packages(path.read_bytes(), suite, PREFIX)
    ]


def _resolution(chosen: Chosen, lists: Path) -> Resolution:
    suite = chosen.packages[0].suite
    signed = sorted(lists.glob(f"*_dists_{_escaped(suite)}_*Release"))
    return Resolution(
        name=chosen.name,
        version=chosen.version,
        suite=suite,
        release_date=release_date(signed[0].read_text()) if signed else "",
        sha256={f"{package.name}_{package.version}": package.sha256 for package in chosen.packages},
    )


def _escaped(suite: str) -> str:
    return suite.replace("/", "_")


def _fetch(apt: PrivateApt, chosen: Chosen, scratch: Path, spec: PackageSpec) -> list[Path]:
    """Fetch packages; apt has checked them against the signed lists. Raises Gone if they are not there."""
    names = [f"{package.name}={package.version}" for package in chosen.packages]
    try:
        with step(f"fetching {chosen.name} {chosen.version} ({chosen.size / MIB:.0f} MiB)"):
            apt.run("download", *names, cwd=scratch)
    except ProcessError as error:
        _, words = diagnose(error.output)
        raise Gone(f"--kernels {spec.argument}: {chosen.name} cannot be fetched: {words}", "") from error
    found = {file_digest(path): path for path in sorted(scratch.iterdir())}
    wanted = [package.sha256 for package in chosen.packages]
    if set(found) != set(wanted):
        raise ConfigError(
            f"--kernels {spec.argument}: what was fetched for {chosen.name} is not what the lists name"
        )
    return [found[digest] for digest in wanted]


def _remembered(spec: PackageSpec, memory: Memory, cache: Cache, gone: Gone) -> tuple[Resolution, Layout]:
    """What the argument stood for before. Raises ConfigError if that is not known or not in the cache."""
    resolution = memory.find(spec.argument)
    layout = entry.find(cache, resolution.sha256.values()) if resolution else None
    if not resolution or not layout:
        raise ConfigError(str(gone), hint=gone.hint) from gone
    say(f"{gone}\n    taking what it was before: {resolution}")
    return resolution, layout


def _origin(spec: PackageSpec, resolution: Resolution) -> Origin:
    return Origin(
        kind=OriginKind.PACKAGE,
        argument=spec.argument,
        name=resolution.name,
        version=resolution.version,
        sha256=resolution.sha256,
        suite=resolution.suite,
        release_date=resolution.release_date,
        verified=True,
    )
