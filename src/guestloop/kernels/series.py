# SPDX-License-Identifier: GPL-2.0-or-later
"""A series of patches: the files it touches, how it is applied, and why it does not apply."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from guestloop.cache import NO_SPACE
from guestloop.ground import proc
from guestloop.ground.errors import ConfigError, ProcessError

REBASE_HINT = "is the series made for this base? Rebase it, or change 'base' in the kernel's file"

_GIT_HEADER = re.compile(r"^diff --git a/(\S+) b/(\S+)$", re.MULTILINE)
_FILE_HEADER = re.compile(r"^(?:---|\+\+\+) (?:[^/\s]+)/(\S+)", re.MULTILINE)
_RENAME = re.compile(r"^(?:rename|copy) (?:from|to) (.+)$", re.MULTILINE)

_PATCHING = re.compile(r"^(?:patching|checking) file '?([^'\n]+?)'?(?: \(.*\))?$")
_HUNK = re.compile(r"^Hunk #(\d+) FAILED at (\d+)")
_REVERSED = re.compile(r"^Reversed \(or previously applied\) patch detected")
_MALFORMED = re.compile(r"^patch: \*{4} (.+)$")
_WOULD = re.compile(r"^The next patch would (create|delete) the file (\S+),$")
_OLD_NAME = re.compile(r"^\|--- (?:a/)?(\S+)")


@dataclass(frozen=True)
class Patch:
    """One patch file of a series, the SHA-256 of its content and the source files that it touches."""

    path: Path
    sha256: str
    touches: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.name


def read_patch(path: Path) -> Patch:
    """Read a patch file. Raises ConfigError if it changes no file, or a file outside of the source tree."""
    data = path.read_bytes()
    touches = touched_files(data.decode(errors="replace"))
    if not touches:
        raise ConfigError(
            f"{path}: no change to any file found", hint="the file must be a unified diff or a git patch"
        )
    for file in touches:
        if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
            raise ConfigError(f"{path}: touches a file outside of the source tree: {file}")
    return Patch(path, hashlib.sha256(data).hexdigest(), touches)


def touched_files(text: str) -> tuple[str, ...]:
    """Return the files that a patch changes, adds, removes or renames, as sorted paths in the tree (pure)."""
    found = {name for pair in _GIT_HEADER.findall(text) for name in pair}
    found.update(_FILE_HEADER.findall(text))
    found.update(_RENAME.findall(text))
    found.discard("null")  # of /dev/null, the other side of a file that is added or removed
    return tuple(sorted(found))


def failures(output: str) -> tuple[str, ...]:
    """Return what ``patch`` could not apply, as ``file: hunk 2 at line 520 ...`` (pure)."""
    found: list[str] = []
    file = wanted = "?"
    for line in output.splitlines():
        if match := _PATCHING.match(line):
            file = match[1]
        elif match := _OLD_NAME.match(line):
            wanted = match[1]
        elif match := _HUNK.match(line):
            found.append(f"{file}: hunk {match[1]} at line {match[2]} does not match the source")
        elif _REVERSED.match(line):
            found.append(f"{file}: already contains the change")
        elif match := _WOULD.match(line):
            already = "already there" if match[1] == "create" else "not there"
            found.append(f"{match[2]}: the patch would {match[1]} it, but it is {already}")
        elif match := _MALFORMED.match(line):
            found.append(f"damaged patch: {match[1]}")
        elif line.startswith("No file to patch"):
            found.append(f"{wanted}: no such file in the source")
    return tuple(found)


def apply(tree: Path, patches: Sequence[Patch], hint: str = REBASE_HINT) -> None:
    """Apply a series to a source tree, in order, without fuzz.

    Raises ConfigError with the patch, file and hunk, ProcessError if the disk is full. The tree then
    keeps what was applied so far (tree.py restores it).
    """
    program = proc.find_program("patch")
    for number, patch in enumerate(patches, start=1):
        # No fuzz: a hunk that matches only partly could end up in the wrong function and still compile.
        options = ("-p1", "--forward", "--batch", "--fuzz=0", "--no-backup-if-mismatch", "--reject-file=-")
        done = proc.run(
            [program, *options, "-i", patch.path.absolute()], cwd=tree, env={"LC_ALL": "C"}, check=False
        )
        if NO_SPACE in done.output:
            raise ProcessError(done.argv, done.status, done.output)
        if done.status != 0:
            reasons = failures(done.output) or (done.output.strip().splitlines() or ["no reason given"])[-1:]
            raise ConfigError(
                f"{patch.path}: patch {number} of {len(patches)} does not apply: " + "; ".join(reasons),
                hint=hint,
            )
