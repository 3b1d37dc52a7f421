# SPDX-License-Identifier: GPL-2.0-or-later
"""One change on the command line: what its words mean, and what contradicts itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guestloop.config import Change, Words, parse_change
from guestloop.config.change import message_id
from guestloop.ground.errors import ConfigError

ID = "20231211.1234-1-x@example.org"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with things that can be named, which is the current one."""
    for name in ("fix.patch", "two.mbox", "a.config", "b.config", "x.deb", "mine.yaml", "topic"):
        (tmp_path / name).write_text("")
    for name in ("series", "linux", "source"):
        (tmp_path / name).mkdir()
    (tmp_path / "source/Kconfig").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(*arguments: str, **options: object) -> Change:
    names = ("git", "config_a", "config_b")
    given: dict[str, Any] = {
        key: Path(str(value)) if key in names else value for key, value in options.items()
    }
    found = parse_change(Words(arguments, **given))
    assert found
    return found


def test_no_words_are_no_change() -> None:
    assert parse_change(Words()) is None
    assert parse_change(Words(), ["a", "b"]) is None


def test_files_and_folders_are_one_series_in_their_order(here: Path) -> None:
    found = change("two.mbox", "series", "./fix.patch", base="mine")
    assert found.patches == (here / "two.mbox", here / "series", here / "fix.patch")
    assert (found.base, found.tree, found.written) == ("mine", None, "two.mbox series ./fix.patch")
    assert change("fix.patch").base == "unpatched"


@pytest.mark.parametrize(
    "word",
    [
        ID,
        f"<{ID}>",
        f"id:{ID}",
        f"https://lore.kernel.org/kvm/{ID}/",
        f"https://lore.kernel.org/kvm/{ID}/T/#u",
        f"https://patch.msgid.link/{ID.replace('@', '%40')}",
        f"https://lore.kernel.org/r/{ID}",
    ],
)
def test_message_ids(word: str) -> None:
    assert message_id(word) == ID
    assert change(word).message_ids == (ID,)


@pytest.mark.parametrize("word", ["HEAD@{1}", "@", "a b@c", "./x@y", "v6.12"])
def test_what_is_no_message_id(word: str) -> None:
    assert message_id(word) == ""


@pytest.mark.parametrize(
    ("arguments", "revisions", "patches"),
    [
        (["v6.12..x"], ("v6.12..x",), []),
        (["v6.12", "feature/x"], ("v6.12", "feature/x"), []),
        (["fix.patch"], (), ["fix.patch"]),
        (["v6.12", "fix.patch", "series/"], ("v6.12",), ["fix.patch", "series"]),
        (["./series"], (), ["series"]),
        (["HEAD@{1}"], ("HEAD@{1}",), []),
        (["series"], ("series",), []),  # a branch may be called like a folder
        (["topic"], ("topic",), []),  # and like a file
        (["./topic"], (), ["topic"]),
        (["v6.12..fix.patch"], ("v6.12..fix.patch",), []),
    ],
)
def test_arguments_with_a_tree(
    arguments: list[str], revisions: tuple[str, ...], patches: list[str], here: Path
) -> None:
    found = change(*arguments, git="linux")
    assert (found.tree, found.revisions) == (here / "linux", revisions)
    assert found.patches == tuple(here / name for name in patches)


def test_configurations(here: Path) -> None:
    both = change(config_a="a.config", config_b="b.config")
    assert both.configs == (here / "a.config", here / "b.config")
    assert change("fix.patch", config_a="a.config").configs == (here / "a.config",)
    assert change("HEAD", git="linux", config_a="a.config", config_b="b.config").revisions == ("HEAD",)
    assert change(git="linux", config_a="a.config", config_b="b.config").tree == here / "linux"
    assert change("a..b", git="linux", config_a="a.config").is_range


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["no.patch"], {}, "no.patch: no such file or folder with patches"),
        (["a..b"], {}, "a..b: no such file or folder with patches"),
        (["patched"], {}, "patched: no such file or folder"),
        (["deb:6.12"], {}, "deb:6.12: no such file or folder"),
        (["x.deb"], {}, "x.deb: not a patch"),
        (["mine.yaml"], {}, "mine.yaml: not a patch"),
        (["source"], {}, "source: the source of a kernel, not a folder of patches"),
        ([""], {}, "a patch was wanted, seen: ''"),
        (["fix.patch", " "], {}, "a patch was wanted, seen: ' '"),
        (["-"], {}, "-: standard input, not a file with patches"),
        (["/dev/null"], {}, "/dev/null: a pipe or device, not a file with patches"),
        (["~nobody-of-this-name/x.patch"], {}, "~nobody-of-this-name/x.patch: not a path on this machine"),
        (["x" * 300], {}, "x: not a path on this machine: [Errno 36]"),
        (["https://lore.kernel.org/kvm/"], {}, "no message-id in this address"),
        (["fix.patch", ID], {}, "files and message-ids do not go together"),
        ([], {"base": "unpatched"}, "--base unpatched: nothing was given to compare it with"),
        ([], {"dirty": True}, "--dirty: of which tree?"),
        (["fix.patch"], {"dirty": True}, "--dirty: of which tree?"),
        ([], {"threeway": True}, "--3way: no patches were given"),
        (["a..b"], {"git": "linux", "threeway": True}, "--3way: no patches were given"),
        ([], {"git": "linux"}, "--git linux: neither commits nor patches were given"),
        (["a..b", "c"], {"git": "linux"}, "one range or two revisions were wanted, seen: a..b c"),
        (["a", "b", "c"], {"git": "linux"}, "one range or two revisions were wanted, seen: a b c"),
        (["a..b", "fix.patch"], {"git": "linux"}, "patches do not go with a..b"),
        (["a", "b", "fix.patch"], {"git": "linux"}, "patches do not go with a b"),
        (["a..b"], {"git": "linux", "dirty": True}, "--git linux --dirty: does not go with a..b"),
        (["fix.patch"], {"git": "linux", "dirty": True}, "--git linux --dirty: does not go with fix.patch"),
        (["none.patch"], {"git": "linux"}, "none.patch: no such file"),
        (["./none"], {"git": "linux"}, "./none: no such file"),
        ([], {"config_b": "b.config"}, "--config-b: --config-a was not given"),
        ([], {"config_a": "a.config"}, "--config-a: a second configuration or a change was wanted"),
        (["fix.patch"], {"config_a": "a.config", "config_b": "b.config"}, "which of them is compared?"),
        (["a..b"], {"git": "linux", "config_a": "a.config", "config_b": "b.config"}, "which of them"),
        (["fix.patch"], {"config_a": "none.config"}, "none.config: no such file"),
        (["fix.patch"], {"config_a": "series"}, "series: not a file"),
    ],
)
def test_what_does_not_go_together(arguments: list[str], options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        change(*arguments, **options)
    assert message in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "words",
    [Words(("fix.patch",)), Words(git=Path("linux")), Words(base="a"), Words(config_a=Path("a.config"))],
)
def test_either_a_change_or_kernels(words: Words) -> None:
    with pytest.raises(ConfigError, match="--kernels a,b: does not go with ") as raised:
        parse_change(words, ["a", "b"])
    assert words.given[0] in str(raised.value)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("a..b", "--git TREE BASE..BRANCH"),
        ("patched", "--kernels unpatched,patched"),
        ("deb:6.12", "--kernels unpatched,deb:6.12"),
        ("nothing", "a message-id"),
    ],
)
def test_what_may_have_been_meant(word: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        change(word)
    assert hint in raised.value.hint
