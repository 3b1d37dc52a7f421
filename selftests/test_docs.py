# SPDX-License-Identifier: GPL-2.0-or-later
"""The documents: lines that fit a terminal, links that resolve, commands that exist."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src/guestloop"
LONGEST_LINE = 110
DIRECTORIES = ("docs", "guest-images", "kernels", "emulators", "tests", "selftests")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for name in DIRECTORIES for path in (ROOT / name).rglob("*.md"))]
)

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`]*`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PATH = re.compile(r"\w[\w.-]*(?:/[\w.-]+)*/?")
SCRIPT = re.compile(r"(?<![\w./-])scripts/([\w.-]+)")


def long_lines(text: str) -> list[int]:
    """Numbers of the lines that are too long."""
    return [number for number, line in enumerate(text.splitlines(), 1) if len(line) > LONGEST_LINE]


def prose(text: str) -> str:
    """A document without its code blocks, in which brackets and ``#`` mean other things."""
    return FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(prose(text)))
    return {heading.replace(" ", "-") for heading in kept}


def broken_links(path: Path) -> Iterator[str]:
    """Relative links of a document whose file, directory or heading does not exist."""
    for link in LINK.findall(prose(path.read_text())):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            yield link


def scripts_shown(text: str) -> set[str]:
    """Scripts that are named in a document's code, as blocks or inline."""
    code = [*FENCE.findall(text), *CODE.findall(prose(text))]
    return {name for piece in code for name in SCRIPT.findall(piece)}


def bases(path: Path, words: set[str]) -> list[Path]:
    """Where the paths of a document may begin: here and there, and in the directories that it names."""
    fixed = [ROOT, PACKAGE, path.parent]
    return fixed + [base / word for base in fixed for word in words if (base / word).is_dir()]


def is_path(word: str) -> bool:
    """Is this meant to be in the tree: a source file, a directory, or what is in one of the tree's own?"""
    first, slash, _ = word.partition("/")
    known = bool(slash) and ((ROOT / first).is_dir() or (PACKAGE / first).is_dir())
    return known or word.endswith((".py", ".c", ".h", "/"))


def missing_paths(path: Path) -> list[str]:
    """Paths in a document's inline code that are not in the tree. Results, patterns and ``/etc`` are none."""
    words = {word for piece in CODE.findall(prose(path.read_text())) for word in piece.strip("`").split()}
    paths = {word for word in words if PATH.fullmatch(word) and is_path(word)}
    return sorted(word for word in paths if not any((base / word).exists() for base in bases(path, paths)))


def is_script(name: str) -> bool:
    script = ROOT / "scripts" / name
    return script.is_file() and os.access(script, os.X_OK)


def test_the_documents_are_found() -> None:
    names = {str(path.relative_to(ROOT)) for path in DOCUMENTS}
    assert {"README.md", "docs/method.md", "docs/glossary.md", "guest-images/l2/README.md"} <= names


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_fit(path: Path) -> None:
    assert long_lines(path.read_text()) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve(path: Path) -> None:
    assert list(broken_links(path)) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_name_scripts_that_can_be_run(path: Path) -> None:
    assert [name for name in scripts_shown(path.read_text()) if not is_script(name)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_exist(path: Path) -> None:
    assert missing_paths(path) == []


def test_the_main_commands_are_shown() -> None:
    assert {"run", "test", "compare"} <= scripts_shown((ROOT / "README.md").read_text())


def test_a_line_that_is_too_long_is_found() -> None:
    assert long_lines(f"{'x' * 110}\n{'x' * 111}\n") == [2]


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# One: two `three`\n```\n# no heading\n```\n")
    document = tmp_path / "document.md"
    document.write_text(
        "# Here\n[good](other.md#one-two-three) [own](#here) [directory](.) [elsewhere](https://example.org/no)\n"
        "[gone](gone.md) [no such heading](other.md#no-heading) [nor here](#there)\n```\n[not](a-link)\n```\n"
    )
    assert list(broken_links(document)) == ["gone.md", "other.md#no-heading", "#there"]


def test_a_path_that_is_gone_is_found(tmp_path: Path) -> None:
    (tmp_path / "own.c").touch()
    document = tmp_path / "document.md"
    document.write_text(
        "`own.c` `ground/wait.py` `src/guestloop/workloads/migration` `trip.py` `ways/` `scripts/run -x`\n"
        "`gone.py` `ground/gone` `selftests/gone.txt` `gone/` `docs`\n"
        "`OUT/gone.json` `/run/gone.py` `tests/<gone>` `*.c` `mm/gone.rst`\n```\n`gone.h`\n```\n"
    )
    assert missing_paths(document) == ["gone.py", "gone/", "ground/gone", "selftests/gone.txt"]


def test_a_command_without_a_script_is_found() -> None:
    text = "`scripts/gone --list`\n```\nscripts/run  # or scripts/lost\n```\nscripts/prose, other/scripts/x\n"
    assert scripts_shown(text) == {"gone", "run", "lost"}
    assert not is_script("gone")
    assert is_script("run")
