# SPDX-License-Identifier: GPL-2.0-or-later
"""``scripts/run my.patch`` as its users meet it: what is refused is one message, and nothing is left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_change_specs import PATCH
from test_cli import Terminal
from test_revisions import Tree

from guestloop.config import Change
from guestloop.ground.errors import Exit
from guestloop.job import options as options_module
from guestloop.job.options import Options

DATA = Path(__file__).with_name("data") / "kernels"
SECOND = PATCH.replace("[PATCH]", "[PATCH 1/2]") + PATCH.replace("[PATCH]", "[PATCH v2 1/2]")


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """No command here gets as far as building anything."""
    monkeypatch.setattr("guestloop.job.run.prepare", lambda *_: pytest.fail("something is built"))
    return Terminal(tmp_path)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with what users have, beside the folder that commands run in."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "fix.patch").write_text((DATA / "tiny-good.patch").read_text())
    (folder / "other.patch").write_text(PATCH.replace("one", "mm/another"))
    (folder / "empty.patch").write_text("")
    (folder / "two.mbox").write_text(SECOND)
    (folder / "no-kvm.config").write_text("# Linux/x86 6.12.0 Kernel Configuration\nCONFIG_X86_64=y\n")
    (folder / "good.config").write_text("CONFIG_X86_64=y\nCONFIG_KVM=m\n")
    return folder


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A repository whose commits have the files of the stand-in for a kernel."""
    path = tmp_path_factory.mktemp("cli") / "linux"
    shutil.copytree(DATA / "tiny", path)
    return Tree(path)


def left_in(terminal: Terminal) -> set[str]:
    """The kinds of what a run left in the cache, without sources in git, which the next one uses."""
    kinds = {entry.parent.name for entry in terminal.cache.glob("*/*")}
    return kinds - {"git", "locks", "tree"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{files}/empty.patch"], "empty.patch: the file is empty"),
        (["{files}/two.mbox"], "two.mbox: "),
        (["{files}"], ": "),
        (["--git", "{linux}", "{files}/other.patch"], "other.patch: patch 1 of 1 does not apply: "),
        (["--git", "{linux}", "main..main~1"], "no commits in main..main~1"),
        (["--git", "{linux}", "--dirty"], "nothing is changed: tree "),
        (["--git", "{files}", "a..b"], "files is not the top of a git repository"),
        (["--git", "{files}/none", "a..b"], "no such directory: "),
        (["{files}/fix.patch", "--config-a", "{files}/no-kvm.config"], "no-kvm.config: a kernel without KVM"),
        (
            ["--config-a", "{files}/good.config", "--config-b", "{files}/no-kvm.config"],
            "a kernel without KVM",
        ),
    ],
)
def test_bad_input_is_one_message(
    words: list[str], message: str, terminal: Terminal, files: Path, linux: Tree
) -> None:
    given = [word.format(files=files, linux=linux.path) for word in words]
    done = terminal.run("run", *given, "--accel", "tcg", "--out", "out")
    told = [line for line in done.stderr.splitlines() if line.startswith("guestloop: ")]
    assert done.returncode == Exit.USAGE and len(told) == 1, done.stderr
    assert message in told[0] and "Traceback" not in done.stderr
    assert left_in(terminal) == set() and list(terminal.cwd.iterdir()) == []


def test_what_does_not_fit_is_shown_with_what_stands_there(
    terminal: Terminal, files: Path, linux: Tree
) -> None:
    (files / "off.patch").write_text((DATA / "tiny-bad.patch").read_text())
    done = terminal.run("run", "--git", linux.path, files / "off.patch", "--accel", "tcg")
    assert done.returncode == Exit.USAGE
    assert "off.patch: patch 1 of 1 does not apply: arch/x86/kvm/mmu.c: hunk 1" in done.stderr
    assert "if (filthy)" in done.stderr and "if (dirty)" in done.stderr


# --- options ---------------------------------------------------------------------------------------


def test_patches_may_stand_anywhere(terminal: Terminal, files: Path) -> None:
    words = ("fix.patch", "--profile", "smoke", "other.patch", "--list")
    given = [files / word if word.endswith(".patch") else word for word in words]
    done = terminal.run("run", *given)
    assert done.returncode == Exit.OK and " rounds x 2 kernels" in done.stdout.splitlines()[0]
    terminal.untouched()


def test_list_reads_no_patch(terminal: Terminal, files: Path) -> None:
    assert terminal.run("run", files / "empty.patch", "--list", "--profile", "smoke").returncode == Exit.OK
    message, hint = terminal.refused("run", "none.patch", "--list")
    assert message == "guestloop: none.patch: no such file or folder with patches" and "mailbox" in hint


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fix.patch", "--kernels", "a,b"], "--kernels a,b: does not go with "),
        (["fix.patch", "--expect", "zpa:fewer"], "--expect zpa:fewer: unknown call path 'zpa'"),
        (["--kernels", ""], "--kernels: two or more kernels were wanted, seen: none"),
    ],
)
def test_what_contradicts_is_refused_with_list_too(
    words: list[str], message: str, terminal: Terminal, files: Path
) -> None:
    given = [files / word if word.endswith(".patch") else word for word in words]
    for further in ((), ("--list",)):
        told, _ = terminal.refused("run", *given, *further)
        assert told.startswith(f"guestloop: {message}")


@pytest.mark.parametrize("words", [["compare", "a", "b"], ["run", "--unknown"], ["run", "x", "-x"]])
def test_unknown_words_are_refused(words: list[str], terminal: Terminal) -> None:
    done = terminal.run(*words)
    assert done.returncode == Exit.USAGE and "unrecognized arguments" in done.stderr


def asked(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> Options:
    """The options that a command line makes."""
    seen: list[Options] = []

    def list_cells(options: Options) -> list[str]:
        seen.append(options)
        return []

    monkeypatch.setattr(options_module, "list_cells", list_cells)
    assert terminal.run("run", "--list", *words).returncode == Exit.OK
    return seen[0]


def test_all_options_of_a_change(
    terminal: Terminal, files: Path, monkeypatch: pytest.MonkeyPatch, linux: Tree
) -> None:
    patch, config = files / "fix.patch", files / "good.config"
    found = asked(
        terminal, monkeypatch, "--git", linux.path, "main", patch, "--3way", "--config-a", config,
        "--base", "mine", "--expect", "zap:more",
    )  # fmt: skip
    assert found.change == Change(
        patches=(patch,),
        base="mine",
        tree=linux.path,
        revisions=("main",),
        configs=(config,),
        threeway=True,
        written=f"main {patch}",
    )
    assert [str(one) for one in found.expect] == ["more on zap"]
    assert asked(terminal, monkeypatch, "--git", linux.path, "--dirty").change == Change(
        tree=linux.path, dirty=True
    )


def test_without_a_change_the_kernels_are_those_of_before(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = asked(terminal, monkeypatch)
    assert options == Options(arguments=options.arguments)
    assert asked(terminal, monkeypatch, "--kernels", "a,b").kernels == ("a", "b")
