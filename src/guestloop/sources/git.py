# SPDX-License-Identifier: GPL-2.0-or-later
"""git, with an environment and a configuration of its own.

What the user, the system or the process that started us has set decides nothing: the environment is written
from nothing (a hook's ``GIT_DIR`` would name another repository), no file of configuration or attributes
outside of the repository is read, no hook and no monitor runs, nothing is signed, asked for or fetched, and
text is UTF-8 in whatever locale. What names files is asked for with ``-z``. Standard output is data, and
standard error is only ever shown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guestloop.ground import proc

GIT_HINT = "apt-get install git"
NULL = "/dev/null"

_IDENTITY = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (
        ("NAME", "guestloop"),
        ("EMAIL", "guestloop@localhost"),
        ("DATE", "@0 +0000"),
    )
}

_ENVIRONMENT = {
    **_IDENTITY,
    "TZ": "UTC",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": NULL,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",  # never write to an index that is not ours
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_PAGER": "cat",
}

# On the command line, where they win over the configuration of a repository. git 2.38 and later take
# safe.directory from here; it says that a repository may belong to another user.
_SETTINGS = {
    "safe.directory": "*",
    "core.hooksPath": NULL,
    "core.attributesFile": NULL,
    "core.excludesFile": NULL,
    "core.fsmonitor": "false",
    "core.untrackedCache": "false",
    "core.autocrlf": "false",
    "core.safecrlf": "false",
    "core.eol": "lf",
    "core.symlinks": "true",
    "core.precomposeUnicode": "false",
    "core.protectHFS": "true",
    "core.protectNTFS": "false",  # it would refuse names that are fine here, as aux.c
    "core.quotePath": "false",
    "core.compression": "1",
    "checkout.workers": "0",  # one for each CPU
    "core.fsync": "committed,index",
    "apply.whitespace": "nowarn",
    "apply.ignoreWhitespace": "no",
    "commit.gpgSign": "false",
    "protocol.allow": "never",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "advice.detachedHead": "false",
}


@dataclass(frozen=True)
class Git:
    """How git is called: which repository, work tree and index, and which object stores.

    ``directory`` is the git directory; without it git looks for a repository in ``cwd``, and not further up.
    New objects are written to ``objects``, and all are read from there and from ``stores``. So a repository
    can be read without anything ever being written to it.
    """

    directory: Path | None = None
    worktree: Path | None = None
    index: Path | None = None
    objects: Path | None = None
    stores: tuple[Path, ...] = ()

    def argv(self, *args: proc.Arg, settings: Mapping[str, str] | None = None) -> list[str]:
        """The command line for these arguments; ``settings`` are added to ours."""
        options = [f"{name}={value}" for name, value in {**_SETTINGS, **(settings or {})}.items()]
        program = proc.find_program("git", hint=GIT_HINT)
        return [
            os.fspath(program),
            *(word for option in options for word in ("-c", option)),
            *(os.fspath(arg) for arg in args),
        ]

    @property
    def environment(self) -> Mapping[str, str]:
        """What git sees of an environment, besides where programs and temporary files are."""
        places = {
            "GIT_DIR": self.directory,
            "GIT_WORK_TREE": self.worktree,
            "GIT_INDEX_FILE": self.index,
            "GIT_OBJECT_DIRECTORY": self.objects,
        }
        return {
            **_ENVIRONMENT,
            **{name: os.fspath(path) for name, path in places.items() if path},
            **({"GIT_ALTERNATE_OBJECT_DIRECTORIES": _join(self.stores)} if self.stores else {}),
        }

    def run(
        self,
        *args: proc.Arg,
        cwd: Path | None = None,
        stdin: bytes = b"",
        check: bool = True,
        settings: Mapping[str, str] | None = None,
        hint: str = "",
    ) -> proc.Answer:
        """Run git until it ends. Raises ProcessError, with what it said, if it fails and ``check`` is set."""
        environment = dict(self.environment)
        if cwd and not self.directory:
            environment["GIT_CEILING_DIRECTORIES"] = os.fspath(cwd.resolve().parent)
        argv = self.argv(*args, settings=settings)
        return proc.read(argv, env=environment, bare=True, cwd=cwd, given=stdin, check=check, hint=hint)

    def line(self, *args: proc.Arg, cwd: Path | None = None) -> str:
        """The one line that a command prints."""
        return os.fsdecode(self.run(*args, cwd=cwd).stdout).rstrip("\n")

    def names(self, *args: proc.Arg, cwd: Path | None = None) -> tuple[str, ...]:
        """The names that a command prints with ``-z``."""
        return tuple(os.fsdecode(name) for name in self.run(*args, cwd=cwd).stdout.split(b"\0") if name)


def _join(stores: Sequence[Path]) -> str:
    """A list for GIT_ALTERNATE_OBJECT_DIRECTORIES; what holds a colon or a quote is quoted as C does."""
    return ":".join(_quote(os.fspath(store)) for store in stores)


def _quote(path: str) -> str:
    if not any(character in path for character in ':"\n'):
        return path
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
