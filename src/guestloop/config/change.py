# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command line can name in place of ``--kernels``: one change, compared with what it is made to.

::

    fix.patch  series.mbox  folder/       patches: a candidate like --base (unpatched) with them
    20231211.1234@example.org             the same, fetched by b4; also as the address of a mail on lore
    --git TREE BASE..BRANCH               commits: BRANCH against BASE
    --git TREE BASE...BRANCH              BRANCH against its merge base with BASE
    --git TREE A B                        two revisions, whatever lies between them
    --git TREE REV                        one commit against its first parent
    --git TREE --dirty [BASE]             the work tree as it stands against HEAD, or BASE
    --git TREE [REV] fix.patch            patches on top of REV, of their base-commit or of HEAD
    --config-a FILE --config-b FILE       one source with two configurations

What is given is sorted here, and what contradicts itself is refused. Whether paths exist is looked at,
because that tells a file from a revision; nothing is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from urllib.parse import unquote, urlsplit

from guestloop.config.existing import ARCHIVES, PACKAGE, RUNNING
from guestloop.config.kernels import YAML, find_kernel_files
from guestloop.ground.errors import ConfigError

DEFAULT_BASE = "unpatched"
PATCHES = (".patch", ".diff", ".mbox", ".mbx", ".eml")
"""Endings of files with patches."""

PACKED = (".gz", ".xz", ".bz2")
"""Endings of such files when they are packed."""

PIPE_HINT = "a series is read more than once: save it in a file"
SAVE_HINT = "save the raw mail or mailbox (on lore the link 'raw' or 'mbox.gz') and name the file"

_MESSAGE_ID = re.compile(r"(?:id:)?<?([^\s<>@/{}]+@[^\s<>@/{}]+)>?")
_LIKE_A_PATH = re.compile(r"\.{0,2}/|~|.*/$|\.{1,2}$")
_RANGE_HINT = "--git TREE BASE..BRANCH compares BRANCH with BASE"


class _Kind(Enum):
    """What an argument is."""

    PATCH = auto()
    MAIL = auto()
    REVISION = auto()


@dataclass(frozen=True)
class Change:
    """What is compared: a base, and the same with a change.

    ``patches`` are files and folders, ``message_ids`` mails to be fetched. ``base`` is a kernel of kernels/,
    of which only the configuration is used with a ``tree``. ``configs`` are whole configurations: none, one
    for both kernels, or one for each. ``written`` is how the user said it.
    """

    patches: tuple[Path, ...] = ()
    message_ids: tuple[str, ...] = ()
    base: str = DEFAULT_BASE
    tree: Path | None = None
    revisions: tuple[str, ...] = ()
    dirty: bool = False
    configs: tuple[Path, ...] = ()
    threeway: bool = False
    written: str = ""

    @property
    def has_patches(self) -> bool:
        return bool(self.patches or self.message_ids)

    @property
    def is_range(self) -> bool:
        """One word that names both ends."""
        return len(self.revisions) == 1 and ".." in self.revisions[0]


@dataclass(frozen=True)
class Words:
    """The arguments and options that a change is made of, as they were given; empty or None if not."""

    arguments: tuple[str, ...] = ()
    base: str | None = None
    git: Path | None = None
    dirty: bool = False
    config_a: Path | None = None
    config_b: Path | None = None
    threeway: bool = False

    @property
    def given(self) -> tuple[str, ...]:
        """The names of those that were given, for messages."""
        named = {
            "--base": self.base is not None,
            "--git": self.git is not None,
            "--dirty": self.dirty,
            "--config-a": self.config_a is not None,
            "--config-b": self.config_b is not None,
            "--3way": self.threeway,
        }
        return (*self.arguments[:1], *(name for name, given in named.items() if given))


def parse_change(words: Words, kernels: Sequence[str] = ()) -> Change | None:
    """The change that is asked for, None if it is none. Raises ConfigError for what contradicts itself.

    ``kernels`` is what ``--kernels`` names.
    """
    if not words.given:
        return None
    if kernels:
        raise ConfigError(
            f"--kernels {','.join(kernels)}: does not go with {words.given[0]}",
            hint="either name all kernels by --kernels, or a change that is compared with its base",
        )
    change = _sort(words)
    for refusal in (_refuse_options, _refuse_revisions, _refuse_configs):
        refusal(words, change)
    return change


def _sort(words: Words) -> Change:
    """Which arguments are patches, mails and revisions. Raises ConfigError for one that is none of them."""
    kinds = [(_kind_of(word, in_git=words.git is not None), word) for word in words.arguments]
    by_kind = {kind: [word for seen, word in kinds if seen is kind] for kind in _Kind}
    configs = [path for path in (words.config_a, words.config_b) if path]
    return Change(
        patches=tuple(_absolute(word) for word in by_kind[_Kind.PATCH]),
        message_ids=tuple(message_id(word) for word in by_kind[_Kind.MAIL]),
        base=words.base or DEFAULT_BASE,
        tree=_absolute(words.git) if words.git else None,
        revisions=tuple(by_kind[_Kind.REVISION]),
        dirty=words.dirty,
        configs=tuple(map(_absolute, configs)),
        threeway=words.threeway,
        written=" ".join(words.arguments),
    )


def is_patch_name(name: str) -> bool:
    """Whether a file is called like one with patches, packed or not."""
    name = name.lower()
    packed = next((ending for ending in PACKED if name.endswith(ending)), "")
    return name.removesuffix(packed).endswith(PATCHES)


def _kind_of(word: str, in_git: bool) -> _Kind:
    path = _absolute(word)
    _refuse_what_is_no_patch(word, path, in_git)
    is_path = _LIKE_A_PATH.match(word)
    # Files and folders may be called like a branch, and a bare repository has a file HEAD.
    is_revision = in_git and not is_path and (".." in word or not is_patch_name(word))
    if (path.is_file() or path.is_dir()) and not is_revision:
        return _Kind.PATCH
    if message_id(word):
        return _Kind.MAIL
    if is_revision:
        return _Kind.REVISION
    raise ConfigError(f"{word}: no such file or folder with patches", hint=_what_else(word))


def _refuse_what_is_no_patch(word: str, path: Path, in_git: bool) -> None:
    """Raise ConfigError for what is nothing, or exists and is meant as something else."""
    if not word.strip():
        raise ConfigError(f"a patch was wanted, seen: {word!r}", hint="is a variable not set?")
    if word == "-":
        raise ConfigError("-: standard input, not a file with patches", hint=PIPE_HINT)
    if path.is_file() and path.name.endswith((*ARCHIVES, *YAML)):
        hint = f"kernels are named by --kernels, for example --kernels {DEFAULT_BASE},{word}"
        raise ConfigError(f"{word}: not a patch", hint=hint)
    if not in_git and os.access(path / "Kconfig", os.F_OK):
        hint = f"{_RANGE_HINT}; a kernel that was built there: --kernels {DEFAULT_BASE},{word}"
        raise ConfigError(f"{word}: the source of a kernel, not a folder of patches", hint=hint)
    given = Path(word)  # what a pipe is a link to is no path
    if given.exists() and not (given.is_file() or given.is_dir()):
        raise ConfigError(f"{word}: a pipe or device, not a file with patches", hint=PIPE_HINT)


def _what_else(word: str) -> str:
    """What may have been meant by an argument that is nothing."""
    if ".." in word and not _LIKE_A_PATH.match(word):
        return _RANGE_HINT
    if word in find_kernel_files() or word.endswith(ARCHIVES) or word.startswith(PACKAGE) or word == RUNNING:
        return f"kernels are named by --kernels, for example --kernels {DEFAULT_BASE},{word}"
    return f"a patch, a mailbox, a folder of patches, or a message-id; of a git tree: {_RANGE_HINT}"


def message_id(word: str) -> str:
    """The id of the mail that an argument names, by itself or in the address of a web archive; or nothing.

    Raises ConfigError for an address without one.
    """
    if not word.startswith(("http://", "https://")):
        match = _MESSAGE_ID.fullmatch(word)
        return match[1] if match else ""
    parts = [unquote(part) for part in urlsplit(word).path.split("/")]
    found = [match[1] for part in parts if (match := _MESSAGE_ID.fullmatch(part))]
    if not found:
        raise ConfigError(f"{word}: no message-id in this address", hint=SAVE_HINT)
    return found[0]


def _refuse_options(words: Words, change: Change) -> None:
    """Options that go with something that was not given."""
    if words.git is None and words.dirty:
        raise ConfigError("--dirty: of which tree?", hint="--git TREE --dirty")
    if words.threeway and not change.has_patches:
        raise ConfigError("--3way: no patches were given", hint="it is about patches that do not apply")
    if words.base is not None and not (change.has_patches or change.tree or change.configs):
        hint = "a patch, commits of a tree or two configurations"
        raise ConfigError(f"--base {words.base}: nothing was given to compare it with", hint=hint)
    if change.patches and change.message_ids:
        raise ConfigError(f"{words.arguments[0]}: files and message-ids do not go together", hint=SAVE_HINT)


def _refuse_revisions(words: Words, change: Change) -> None:
    """Revisions, patches and the work tree each say what the change is."""
    if change.tree is None:
        return
    said = f"--git {words.git}"
    revisions = " ".join(change.revisions)
    if change.dirty and (change.has_patches or change.is_range or len(change.revisions) > 1):
        raise ConfigError(
            f"{said} --dirty: does not go with {change.written}",
            hint="the work tree is compared with HEAD, or with one revision: --git TREE --dirty BASE",
        )
    if change.has_patches and (change.is_range or len(change.revisions) > 1):
        raise ConfigError(
            f"{said}: patches do not go with {revisions}", hint="patches go on top of one revision"
        )
    several = len(change.revisions) > 1
    if len(change.revisions) > 2 or (several and any(".." in one for one in change.revisions)):
        raise ConfigError(f"{said}: one range or two revisions were wanted, seen: {revisions}")
    if not (change.revisions or change.has_patches or change.dirty or len(change.configs) > 1):
        raise ConfigError(
            f"{said}: neither commits nor patches were given",
            hint=f"{_RANGE_HINT}; --dirty compares the work tree with HEAD",
        )


def _refuse_configs(words: Words, change: Change) -> None:
    """Two configurations are a change of their own; one is that of both kernels of another change."""
    if words.config_b and not words.config_a:
        raise ConfigError("--config-b: --config-a was not given", hint="it is that of the reference")
    is_changed = change.has_patches or change.dirty or change.is_range or len(change.revisions) > 1
    if len(change.configs) > 1 and is_changed:
        raise ConfigError(
            "--config-a, --config-b: two configurations and another change: which of them is compared?",
            hint="--config-a alone is the configuration of both kernels",
        )
    if len(change.configs) == 1 and not (is_changed or change.revisions):
        raise ConfigError(
            "--config-a: a second configuration or a change was wanted", hint="--config-b FILE, or a patch"
        )
    for path in change.configs:
        if not path.is_file():
            what = "not a file" if path.exists() else "no such file"
            raise ConfigError(f"{path}: {what}", hint="--config-a and --config-b name .config files")


def _absolute(word: str | Path) -> Path:
    try:
        path = Path(word).expanduser().resolve()
        path.is_file()
        return path
    except (RuntimeError, OSError, ValueError) as error:  # ~somebody, a circle of links, a name too long
        raise ConfigError(f"{word}: not a path on this machine: {error}") from error
