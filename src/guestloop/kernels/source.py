# SPDX-License-Identifier: GPL-2.0-or-later
"""Find the source of a kernel, identify its content, and unpack it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guestloop.cache import Cache, content_key, file_digest
from guestloop.config import BaseKind, KernelSpec
from guestloop.ground import proc
from guestloop.ground.errors import ConfigError, LabError

DIGESTS = "file-digests.json"


@dataclass(frozen=True)
class Source:
    """The source of a kernel on this machine.

    Cache keys are computed from ``identity``: equal identity means equal content. ``location`` is a tarball,
    or a git tree if ``commit`` is set.
    """

    description: str
    identity: Mapping[str, str]
    location: Path
    commit: str = ""

    @property
    def key(self) -> str:
        """A short name of the content, for directories."""
        return content_key(self.identity)[:12]

    def unpack(self, into: Path) -> None:
        """Fill an empty directory with the source tree. Raises LabError if it has no Kconfig."""
        if self.commit:
            _unpack_git(self.location, self.commit, into)
        else:
            _unpack_tarball(self.location, into)
        if not (into / "Kconfig").is_file():
            raise LabError(
                f"{self.description}: {self.location} is not a kernel source: it has no top-level Kconfig"
            )


def find_source(spec: KernelSpec, cache: Cache) -> Source:
    """Find the base of a kernel without unpacking it.

    Raises ConfigError for a path or ref that does not exist, LabError for a package that is not installed.
    """
    location, where = spec.base.location, f"{spec.path}: base"
    if spec.base.kind is BaseKind.GIT:
        return _find_git(Path(location), spec.base.ref, where)
    if spec.base.kind is BaseKind.TARBALL:
        return _find_tarball(Path(location), cache, where)
    return _find_debian(location, where)


def _find_debian(package: str, where: str) -> Source:
    """Find the tarball of a Debian source package. dpkg knows its version and checksum without reading it."""
    hint = f"on a machine without dpkg, use 'tarball' or 'git' in {where}"
    (version,) = query_installed(package, "Version", what=f"{where}: package", hint=hint)
    for line in proc.read(["dpkg-query", "--control-show", package, "md5sums"]).lines:
        md5, _, name = line.partition("  ")
        if Path(name).parent == Path("usr/src") and Path(name).name.startswith(f"{package}.tar"):
            identity = {"package": package, "version": version, "md5": md5}
            return Source(f"{package} {version}", identity, Path("/") / name)
    raise LabError(f"{where}: package {package} {version} has no usr/src/{package}.tar.*")


def query_installed(package: str, *fields: str, what: str = "package", hint: str) -> list[str]:
    """Return fields of an installed package, as dpkg-query names them.

    Raises LabError if the package is not installed, and with ``hint`` on a machine without dpkg.
    """
    query = proc.find_program("dpkg-query", hint=hint)
    form = "\\n".join(f"${{{field}}}" for field in ("db:Status-Status", *fields))
    found = proc.read([query, "-W", "-f", form, package], check=False)
    state, *values = found.lines or [""]
    if found.status != 0 or state != "installed":
        raise LabError(f"{what} {package} is not installed", hint=f"apt-get install {package}")
    return values


def _find_tarball(path: Path, cache: Cache, where: str) -> Source:
    if not path.is_file():
        raise ConfigError(f"{where}: no such tarball: {path}")
    return Source(path.name, {"sha256": remembered_digest(path, cache)}, path)


def _find_git(repository: Path, ref: str, where: str) -> Source:
    git = proc.find_program("git")
    wanted = (f"{ref}^{{commit}}", f"{ref}^{{tree}}")
    seen = [
        proc.run([git, "-C", repository, "rev-parse", "--verify", "--quiet", name], check=False)
        for name in wanted
    ]
    if any(done.status for done in seen):
        reason = seen[0].output.strip() or "not a ref of this repository"
        raise ConfigError(f"{where}: git {repository}: ref {ref!r}: {reason}")
    commit, tree = (done.output.strip() for done in seen)
    return Source(f"git {repository.name} {ref} ({commit[:12]})", {"tree": tree}, repository, commit)


def remembered_digest(path: Path, cache: Cache) -> str:
    """Return the SHA-256 of a large file. It is computed again only if size or modification time changed."""
    stat = path.stat()
    stamp = f"{path.absolute()} {stat.st_size} {stat.st_mtime_ns}"
    memory = cache.root / DIGESTS
    if digest := _read_digests(memory).get(stamp):
        return digest
    with cache.lock(DIGESTS), cache.disk_errors():
        known = _read_digests(memory)
        digest = known[stamp] = known.get(stamp) or file_digest(path)
        scratch = memory.with_name(f".{DIGESTS}")
        scratch.write_text(json.dumps(known, indent=1))
        scratch.replace(memory)
    return digest


def _read_digests(memory: Path) -> dict[str, str]:
    try:
        known: dict[str, str] = json.loads(memory.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return known


def _unpack_tarball(path: Path, into: Path) -> None:
    if not path.is_file():
        raise LabError(
            f"no such kernel source: {path}", hint="was its package only partly removed? Install it again"
        )
    # A large .xz consists of blocks, which xz can unpack on all CPUs. tar alone uses one.
    decompress = ["--use-compress-program=xz -T0"] if path.suffix == ".xz" else []
    # Every kernel tarball has one top-level directory, named after the version.
    proc.run(["tar", *decompress, "-x", "-f", path, "-C", into, "--no-same-owner", "--strip-components=1"])


def _unpack_git(repository: Path, commit: str, into: Path) -> None:
    archive = into.with_name(f"{into.name}.tar")
    try:
        proc.run(["git", "-C", repository, "archive", "--format=tar", "-o", archive, commit])
        proc.run(["tar", "-x", "-f", archive, "-C", into, "--no-same-owner"])
    finally:
        archive.unlink(missing_ok=True)
