# SPDX-License-Identifier: GPL-2.0-or-later
"""What the words of a command line name on this machine, and the words for what stands for it on the host.

Files go into the directory in which the run begins there, by their own names, so that names of kernels and
patches are the same in the results.
"""

from __future__ import annotations

import getpass
import hashlib
import itertools
import json
import os
import re
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from guestloop.cache import Cache, file_digest
from guestloop.config import REPOSITORY, BaseKind, Change, KernelSpec, find_kernel_files, load_argument
from guestloop.config.change import DEFAULT_BASE
from guestloop.config.existing import FilesSpec, PackageSpec
from guestloop.config.kernels import own_directory
from guestloop.ground.errors import ConfigError
from guestloop.ground.units import MIB
from guestloop.job.change import change_specs
from guestloop.job.options import Options, chosen_profile, load_kernels
from guestloop.remote.request import FILES, SETTINGS, CopiedFile, Link, Request, WantedEntry
from guestloop.remote.trees import NamedTree, send_trees
from guestloop.sources.reading import QUILT
from guestloop.workloads.selection import select

PROFILES = "profiles.yaml"
LARGEST_FOLDER = 64 * MIB
MOST_FILES = 4096
"""Of a folder with patches: what has more was not meant to be one."""

_HASH = re.compile(r"[0-9a-f]{12,40}")


@dataclass(frozen=True)
class Baggage:
    """What is asked of the host, and where the content of each of its files is."""

    request: Request
    contents: Mapping[str, Path | bytes]


def collect(options: Options, cache: Cache) -> Baggage:
    """What a run with these options needs of this machine.

    Raises ConfigError for what is wrong with them, as far as it can be known here, and for what cannot be
    copied.
    """
    select(chosen_profile(options), options.tests, options.mmu)
    packing = _Packing(cache)
    named = packing.change(options.change) if options.change else packing.kernels(options.kernels)
    packing.settings()
    request = Request(
        run=uuid.uuid4().hex,
        words=(*named, *_plain_words(options)),
        files=tuple(packing.copied()),
        entries=tuple(packing.entries),
        links=tuple(packing.links),
        asked_by=f"{getpass.getuser()}@{socket.gethostname()}:{Path.cwd()}",
    )
    return Baggage(request, packing.contents)


def _plain_words(options: Options) -> Iterator[str]:
    """Words that mean the same everywhere."""
    yield from ("--profile", options.profile, "--accel", options.accel)
    for option, names in (("--tests", options.tests), ("--mmu", options.mmu)):
        if names:
            yield from (option, ",".join(names))
    for one in options.expect:
        yield from ("--expect", f"{one.path}:{one.change}")
    yield from limit_words(options)


def limit_words(options: Options) -> Iterator[str]:
    """The words of options that can be other ones each time that a run goes on."""
    if options.rounds:
        yield from ("--rounds", str(options.rounds))
    if options.budget_s:
        yield from ("--budget", f"{options.budget_s:.0f}s")
    if options.labs:
        yield from ("--labs", str(options.labs))
    if not options.wait:
        yield "--no-wait"
    if options.verbose:
        yield "--verbose"


class _Packing:
    """Fills the baggage. Its methods return words."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self.contents: dict[str, Path | bytes] = {}
        self.entries: list[WantedEntry] = []
        self.links: list[Link] = []

    def copied(self) -> Iterator[CopiedFile]:
        """The files as they are asked for. Raises ConfigError for one that cannot be read."""
        for name, content in self.contents.items():
            if isinstance(content, bytes):
                yield CopiedFile(name, hashlib.sha256(content).hexdigest())
                continue
            try:
                yield CopiedFile(name, file_digest(content), os.access(content, os.X_OK))
            except OSError as error:
                raise ConfigError(f"{content}: {error.strerror}") from error

    def settings(self) -> None:
        """The user's own profiles. Kernels of his own are copied if they are named."""
        own = own_directory()
        if own and (own / PROFILES).is_file():
            self.contents[f"{SETTINGS}/guestloop/{PROFILES}"] = own / PROFILES

    # --- kernels ---

    def kernels(self, names: Sequence[str]) -> tuple[str, ...]:
        """``--kernels`` for the host. Raises ConfigError for a kernel that is this machine's."""
        load_kernels(names)
        return "--kernels", ",".join(map(self.kernel, names))

    def kernel(self, name: str) -> str:
        """A kernel. One that has a file here, and not in the checkout, gets a file with all that it is."""
        spec = load_argument(name)
        if isinstance(spec, KernelSpec):
            shipped = find_kernel_files().get(name) == spec.path and spec.path.is_relative_to(REPOSITORY)
            return name if shipped else self._described(spec)
        if isinstance(spec, PackageSpec):
            return name
        if isinstance(spec, FilesSpec):
            return "+".join(self._file(path) for path in spec.files)
        raise ConfigError(
            f"--host: --kernels {name}: a kernel of this machine, of which only its packages can be copied",
            hint="name package files (make bindeb-pkg makes them) or deb:...; a tree's changes by --git",
        )

    def _described(self, spec: KernelSpec) -> str:
        word = self._free(f"{spec.name}.yaml")
        beside = PurePosixPath(word).parent

        def relative(one: str) -> str:
            return os.path.relpath(one, beside)

        series = [relative(self._patches(path)) for path in spec.series]
        reach = {"mmu": [str(mode) for mode in spec.reach.mmu], "because": spec.reach.because}
        told = {
            "description": spec.description,
            "base": self._base(spec, relative),
            "config": [relative(self._file(path)) for path in spec.config],
            "series": series,
            **({"reach": reach} if spec.reach.mmu else {}),
            "expect": {one.path: str(one.change) for one in spec.expect},
        }
        # What JSON is, YAML is too.
        self.contents[f"{FILES}/{word}"] = (json.dumps(told, indent=1) + "\n").encode()
        return word

    def _base(self, spec: KernelSpec, relative: Callable[[str], str]) -> Mapping[str, str]:
        base = spec.base
        if base.kind is BaseKind.TARBALL:
            return {base.kind: relative(self._file(Path(base.location)))}
        if base.kind is BaseKind.GIT:
            word, (ref,) = self._trees([NamedTree(base.ref, base)])
            return {base.kind: relative(word), "ref": ref}
        return {base.kind: base.location}

    # --- a change ---

    def change(self, change: Change) -> tuple[str, ...]:
        """What stands in place of ``--kernels``, for the host; mails are fetched here."""
        reference, candidate = change_specs(change, self._cache)
        base = self.kernel(change.base)
        configs = zip(("--config-a", "--config-b"), change.configs, strict=False)
        return (
            *(self._argument(path, in_git=change.tree is not None) for path in change.patches),
            *change.message_ids,
            *(("--base", base) if (change.base, base) != (DEFAULT_BASE, DEFAULT_BASE) else ()),
            *(self._revisions(reference, candidate) if change.tree else ()),
            *(word for option, path in configs for word in (option, self._config(path))),
            *(["--3way"] if change.threeway else []),
        )

    def _revisions(self, reference: KernelSpec, candidate: KernelSpec) -> tuple[str, ...]:
        """``--git`` with one revision, that of both, or two."""
        specs = [reference] if reference.base == candidate.base else [reference, candidate]
        word, refs = self._trees([NamedTree(_ref_name(spec), spec.base) for spec in specs])
        return "--git", word, *refs

    def _trees(self, named: Sequence[NamedTree]) -> tuple[str, tuple[str, ...]]:
        """A repository, and its refs."""
        sent = send_trees(named, self._cache)
        word = self._free(sent.directory)
        self.entries += sent.entries
        self.links.append(Link(f"{FILES}/{word}", len(self.entries) - 1, sent.directory))
        return word, sent.refs

    # --- files ---

    def _free(self, name: str) -> str:
        """``name``, or in a directory with a number where that is another's."""
        taken = {PurePosixPath(one).relative_to(FILES) for one in self._names() if one.startswith(FILES)}
        first = {path.parts[0] for path in taken}
        numbered = (f"{number}/{name}" for number in itertools.count(2) if str(number) not in first)
        return name if PurePosixPath(name).parts[0] not in first else next(numbered)

    def _names(self) -> Iterator[str]:
        yield from self.contents
        yield from (link.name for link in self.links)

    def _file(self, path: Path, name: str = "") -> str:
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
        for known, content in self.contents.items():
            if content == path:
                return known.removeprefix(f"{FILES}/")
        word = self._free(name or path.name)
        self.contents[f"{FILES}/{word}"] = path
        return word

    def _config(self, path: Path) -> str:
        """Most are called .config, and get the name of their folder in the results."""
        return self._file(path, f"{path.parent.name or 'configs'}/{path.name}")

    def _argument(self, path: Path, *, in_git: bool) -> str:
        """Patches as an argument, which must not look like an option, nor like a revision."""
        word = self._patches(path)
        return f"./{word}" if in_git or word.startswith("-") else word

    def _patches(self, path: Path) -> str:
        """A file with patches, or a folder; a quilt series is one file of its folder."""
        if path.is_dir():
            return self._folder(path)
        if path.name == QUILT:
            return f"{self._folder(path.parent)}/{QUILT}"
        return self._file(path)

    def _folder(self, folder: Path) -> str:
        word = self._free(folder.name or "patches")
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and ".git" not in path.parts]
        size = sum(path.stat().st_size for path in files)
        if len(files) > MOST_FILES or size > LARGEST_FOLDER:
            raise ConfigError(
                f"{folder}: {len(files)} files, {size // MIB} MiB: too large for a folder of patches",
                hint="put the patches into a folder of their own",
            )
        for path in files:
            self.contents[f"{FILES}/{word}/{path.relative_to(folder)}"] = path
        return word


def _ref_name(spec: KernelSpec) -> str:
    """What a revision is called: as it was named, or as its kernel where that was named otherwise."""
    ref = spec.base.ref
    return spec.name if not ref or _HASH.fullmatch(ref) else ref
