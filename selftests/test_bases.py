# SPDX-License-Identifier: GPL-2.0-or-later
"""Bases: tarballs that are read into git, and git repositories of the user that are only read."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from trees import read_tree

from guestloop.cache import Cache
from guestloop.config import BaseKind, BaseSpec
from guestloop.ground.errors import CacheError, ConfigError
from guestloop.sources import Source, find_source, has_commit, worktree

KERNEL = {"Kconfig": b"# top\n", "Makefile": b"VERSION = 6\nPATCHLEVEL = 12\n", "mm/a.c": b"int a;\n"}


def modes(source: Source, cache: Cache) -> dict[str, str]:
    """The mode of each file of a tree."""
    listed = source.tree.git(cache).run("ls-tree", "-r", source.tree.id).text
    return {line.partition("\t")[2]: line[:6] for line in listed.splitlines()}


# --- tarballs --------------------------------------------------------------------------------------


def pack(path: Path, files: Mapping[str, bytes | tarfile.TarInfo], how: str = "w") -> Path:
    with tarfile.open(path, how) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755 if name.endswith(".sh") else 0o644
            archive.addfile(info, io.BytesIO(content))
    return path


def of_kind(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def below(top: str, files: Mapping[str, bytes]) -> dict[str, bytes | tarfile.TarInfo]:
    return {top + name: content for name, content in files.items()}


def read(path: Path, cache: Cache) -> Source:
    return find_source(BaseSpec(BaseKind.TARBALL, str(path)), "x.yaml: base", cache)


def test_any_form_of_a_tarball_is_the_same_tree(tmp_path: Path, cache: Cache) -> None:
    forms = {
        "plain.tar": ("linux-6.12/", "w"),
        "packed.tar.gz": ("linux-6.12/", "w:gz"),
        "packed.tar.xz": ("linux-6.12/", "w:xz"),
        "packed.tar.bz2": ("linux-6.12/", "w:bz2"),
        "named-wrong.tar.gz": ("linux-6.12/", "w:xz"),
        "dot.tar": ("./", "w"),
        "dot-dot.tar": ("./linux/", "w"),
        "none.tar": ("", "w"),
        "deep.tar": ("a/b/", "w"),
    }
    ids = {
        read(pack(tmp_path / name, below(top, KERNEL), how), cache).tree.id
        for name, (top, how) in forms.items()
    }
    zst = tmp_path / "packed.tar.zst"
    subprocess.run(["zstd", "-q", tmp_path / "plain.tar", "-o", zst], check=True)
    ids.add(read(zst, cache).tree.id)
    assert len(ids) == 1


def test_modes_links_and_odd_names(tmp_path: Path, cache: Cache) -> None:
    files: dict[str, bytes | tarfile.TarInfo] = {
        **below("l/", KERNEL),
        "l/run.sh": b"#!/bin/sh\n",
        "l/soft": of_kind(tarfile.SYMTYPE, "mm/a.c"),
        "l/hard.c": of_kind(tarfile.LNKTYPE, "l/mm/a.c"),
        "l/empty": b"",
        'l/Grüße/a b\t"q"\\': b"x",
        "l/" + "long/" * 60 + "name": b"y",
        "l/device": of_kind(tarfile.CHRTYPE),
        "l/directory": of_kind(tarfile.DIRTYPE),
    }
    source = read(pack(tmp_path / "odd.tar", files), cache)
    assert read_tree(source.tree, cache) == {
        **KERNEL,
        "run.sh": b"#!/bin/sh\n",
        "soft": b"mm/a.c",
        "hard.c": b"int a;\n",
        "empty": b"",
        'Grüße/a b\t"q"\\': b"x",
        "long/" * 60 + "name": b"y",
    }
    assert {name: mode for name, mode in modes(source, cache).items() if mode != "100644"} == {
        "run.sh": "100755",
        "soft": "120000",
    }


def test_nothing_of_a_tarball_is_ignored_or_converted(tmp_path: Path, cache: Cache) -> None:
    """A kernel ships files that its .gitignore names, and .gitattributes that change bytes."""
    files = {
        **KERNEL,
        ".gitignore": b"*.s\nmm\n",
        ".gitattributes": b"* text eol=crlf ident export-ignore\n",
        "lib/a.s": b"$Id$\r\n",
    }
    assert read_tree(read(pack(tmp_path / "i.tar", below("l/", files)), cache).tree, cache) == files


def test_a_repository_that_was_packed_along_is_left_out(tmp_path: Path, cache: Cache) -> None:
    files = {**KERNEL, ".git/config": b"[core]\n", "mm/.git": b"gitdir: x\n"}
    assert read_tree(read(pack(tmp_path / "g.tar", below("l/", files)), cache).tree, cache) == KERNEL


def test_a_tarball_is_read_once(tmp_path: Path, cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    path = pack(tmp_path / "once.tar", below("l/", {**KERNEL, "once": b""}))
    assert read(path, cache) == read(path, cache)
    assert capsys.readouterr().err.count("==> read once.tar into git") == 1


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("a.tar", lambda path: path.write_bytes(path.read_bytes()[:1600])),
        ("a.tar.xz", cut),
        ("a.tar.gz", cut),
        ("a.tar", lambda path: path.write_bytes(b"<html>not found</html>")),
        ("a.tar", lambda path: path.write_bytes(b"")),
    ],
)
def test_a_damaged_tarball(tmp_path: Path, cache: Cache, name: str, damage: Callable[[Path], None]) -> None:
    how = {"tar": "w", "xz": "w:xz", "gz": "w:gz"}[name.rpartition(".")[2]]
    path = pack(tmp_path / name, below("l/", {**KERNEL, "b": os.urandom(4000)}), how)
    damage(path)
    before = len(list((cache.root / "tree").iterdir()))
    with pytest.raises(ConfigError, match=rf"{name}: damaged tarball: "):
        read(path, cache)
    assert len(list((cache.root / "tree").iterdir())) == before, "nothing is left"


def test_a_tarball_that_the_cache_has_no_space_for(tmp_path: Path, tiny_disk: Path) -> None:
    path = pack(tmp_path / "big.tar", below("l/", {**KERNEL, "b": os.urandom(1 << 20)}))
    full = Cache(tiny_disk / "cache")
    with pytest.raises(CacheError, match=r"no space left in the cache .*\(0 MiB free\)"):
        read(path, full)
    assert not list(full.root.glob("tree/*"))


def test_a_name_that_leads_out_of_a_tarball(tmp_path: Path, cache: Cache) -> None:
    with pytest.raises(ConfigError, match=r"a name leads out of the tarball: 'l/\.\./\.\./etc/passwd'"):
        read(pack(tmp_path / "e.tar", {**below("l/", KERNEL), "l/../../etc/passwd": b"x"}), cache)


def test_a_tarball_of_something_else(tmp_path: Path, cache: Cache) -> None:
    with pytest.raises(ConfigError, match="is not a kernel source: it has no top-level Kconfig"):
        read(pack(tmp_path / "n.tar", below("l/", {"README": b"x", "mm/Kconfig": b"x"})), cache)


# --- git repositories ------------------------------------------------------------------------------


def git(directory: Path, *args: str, **options: str) -> str:
    """git as a user has it."""
    identity = ("-c", "user.name=x", "-c", "user.email=x@localhost")
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", **options}
    argv = ["git", "-C", str(directory), *identity, *args]
    return subprocess.run(argv, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout.strip()


def commit(directory: Path, message: str) -> str:
    git(directory, "add", "--all", "--force")
    git(directory, "commit", "--quiet", "--message", message)
    return git(directory, "rev-parse", "HEAD")


def write(directory: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("template") / "linux"
    write(made, KERNEL)
    git(made.parent, "init", "--quiet", "--template=", "--initial-branch=main", str(made))
    commit(made, "first")
    git(made, "tag", "v6.12")
    write(made, {"mm/a.c": b"int b;\n"})
    commit(made, "second")
    return made


@pytest.fixture
def repository(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "linux", symlinks=True))


def find(path: Path, cache: Cache, ref: str = "HEAD", *, dirty: bool = False) -> Source:
    return find_source(BaseSpec(BaseKind.GIT, str(path), ref, dirty), "x.yaml: base", cache)


def state(directory: Path) -> dict[str, tuple[int, bytes]]:
    """All files of a repository, to see that nothing is written there.

    git keeps an object from being pruned, which it was about to write again, by setting its time.
    """
    files = [path for path in directory.rglob("*") if path.is_file()]
    times = {path: path.stat().st_mtime_ns for path in files if "objects" not in path.parts}
    return {str(path): (times.get(path, 0), path.read_bytes()) for path in files}


def test_a_ref_is_its_tree_and_nothing_is_written(repository: Path, cache: Cache) -> None:
    before = state(repository)
    old, new = find(repository, cache, "v6.12"), find(repository, cache, "main")
    assert read_tree(old.tree, cache) == KERNEL
    assert read_tree(new.tree, cache) == {**KERNEL, "mm/a.c": b"int b;\n"}
    assert new.description == f"git linux main ({git(repository, 'rev-parse', 'HEAD')[:12]})"
    assert old.work == new.work, "they are of one version, and share a work area"
    assert (old.notes, new.notes) == ((), ())
    assert state(repository) == before


def test_refs_of_two_versions_have_two_work_areas(repository: Path, cache: Cache) -> None:
    write(repository, {"Makefile": b"VERSION = 6\nPATCHLEVEL = 13\n"})
    commit(repository, "next")
    assert find(repository, cache, "HEAD").work != find(repository, cache, "v6.12").work


def test_a_tarball_and_a_ref_with_the_same_content_are_one_tree(
    repository: Path, cache: Cache, tmp_path: Path
) -> None:
    tarball = read(pack(tmp_path / "same.tar", below("l/", KERNEL)), cache)
    assert tarball.tree.id == find(repository, cache, "v6.12").tree.id


def test_wherever_the_objects_are(repository: Path, cache: Cache, tmp_path: Path) -> None:
    wanted = find(repository, cache).tree.id
    git(repository, "worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))
    git(tmp_path, "clone", "--quiet", "--bare", str(repository), "bare")
    git(tmp_path, "clone", "--quiet", "--shared", str(repository), "shared")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", "shallow: 1")
    (tmp_path / 'odd "name":').symlink_to(repository)
    for name in ("linked", "bare", "shared", "shallow: 1", 'odd "name":', "linux/.git"):
        found = find(tmp_path / name, cache)
        assert (found.tree.id, len(read_tree(found.tree, cache))) == (wanted, 3), name


def test_a_partial_clone_says_what_it_lacks(repository: Path, cache: Cache, tmp_path: Path) -> None:
    git(repository, "config", "uploadpack.allowFilter", "true")
    git(
        tmp_path, "clone", "--quiet", "--no-checkout", "--filter=blob:none", f"file://{repository}", "partial"
    )
    with pytest.raises(ConfigError, match="a partial clone without 3 objects of the tree"):
        find(tmp_path / "partial", cache)
    git(tmp_path / "partial", "checkout", "--quiet", "main")
    assert len(read_tree(find(tmp_path / "partial", cache).tree, cache)) == 3


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY", "GIT_INDEX_FILE"])
def test_a_hook_starts_it(
    repository: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """git sets these for hooks; they name another repository than the one that is wanted."""
    wanted = find(repository, cache)
    other = tmp_path / "other"
    git(tmp_path, "init", "--quiet", str(other))
    monkeypatch.setenv(name, str(other / ".git"))
    assert find(repository, cache) == wanted


def test_settings_of_the_user_decide_nothing(
    repository: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".config/git").mkdir(parents=True)
    (home / ".config/git/attributes").write_text("* text eol=crlf\n")
    (home / ".gitconfig").write_text(
        "[core]\n\tautocrlf = true\n\teol = crlf\n\tquotePath = true\n[diff]\n\tnoprefix = true\n"
        "[apply]\n\twhitespace = fix\n[log]\n\tshowSignature = true\n[safe]\n\tdirectory = /nowhere\n"
        "[core]\n\tpager = false\n\thooksPath = /nowhere\n"
    )
    wanted = find(repository, cache), find(repository, cache, dirty=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.autocrlf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    assert (find(repository, cache), find(repository, cache, dirty=True)) == wanted


def test_attributes_and_settings_of_the_repository_change_no_byte(repository: Path, cache: Cache) -> None:
    odd = {".gitattributes": b"* text eol=crlf ident filter=x export-ignore\n", "lib/a.c": b"$Id$\nint a;\n"}
    write(repository, odd)
    git(repository, "config", "filter.x.clean", "false")
    git(repository, "config", "core.autocrlf", "true")
    taken = find(repository, cache, dirty=True)
    assert read_tree(taken.tree, cache) == {**KERNEL, "mm/a.c": b"int b;\n", **odd}


def test_a_repository_of_another_user(repository: Path, cache: Cache) -> None:
    wanted = find(repository, cache)
    for path in (repository, repository / ".git"):
        os.chown(path, 12345, 12345)
    assert find(repository, cache) == wanted


@pytest.mark.parametrize("ref", ["no-such", "", "--all", "HEAD~9", "main..v6.12", "v6.12:mm", "^main"])
def test_what_is_no_ref_is_told(repository: Path, cache: Cache, ref: str) -> None:
    with pytest.raises(ConfigError, match=r"^x\.yaml: base: git /.*/linux: ref ") as caught:
        find(repository, cache, ref)
    assert repr(ref) in str(caught.value)


@pytest.mark.parametrize("ref", [":/first", "HEAD^{/first}", "main~", "main@{0}~1", "annotated"])
def test_whatever_git_takes_for_a_commit(repository: Path, cache: Cache, ref: str) -> None:
    git(repository, "tag", "--annotate", "--message=x", "annotated", "main~1")
    assert find(repository, cache, ref).tree.id == git(repository, "rev-parse", "v6.12^{tree}")


def test_a_tag_of_something_else_than_a_commit(repository: Path, cache: Cache) -> None:
    git(repository, "tag", "tree", "main^{tree}")
    with pytest.raises(ConfigError, match=r"ref 'tree': not a commit of this repository$"):
        find(repository, cache, "tree")


def test_an_ambiguous_ref_is_told(repository: Path, cache: Cache) -> None:
    git(repository, "branch", "v6.12", "main")
    assert "ambiguous" in find(repository, cache, "v6.12").notes[0]


def test_what_is_no_repository_is_told(repository: Path, cache: Cache, tmp_path: Path) -> None:
    """A source that lies unpacked below a repository is not part of it."""
    write(repository / "unpacked", KERNEL)
    with pytest.raises(ConfigError, match="/unpacked is not the top of a git repository"):
        find(repository / "unpacked", cache)
    with pytest.raises(ConfigError, match=r"no such directory: .*/nowhere"):
        find(tmp_path / "nowhere", cache)


def test_a_repository_of_something_else(cache: Cache, tmp_path: Path) -> None:
    write(tmp_path / "r", {"README": b"x"})
    git(tmp_path, "init", "--quiet", "r")
    commit(tmp_path / "r", "x")
    with pytest.raises(ConfigError, match="is not a kernel source"):
        find(tmp_path / "r", cache)


def test_whether_a_commit_is_there(repository: Path, tmp_path: Path) -> None:
    assert has_commit(repository, git(repository, "rev-parse", "v6.12"))
    assert not has_commit(repository, "1" * 40)
    assert not has_commit(tmp_path, "1" * 40)


# --- work trees ------------------------------------------------------------------------------------


def test_uncommitted_changes_are_told(repository: Path, cache: Cache) -> None:
    write(repository, {"mm/a.c": b"int c;\n", "Kconfig": b"# other\n", "new.c": b""})
    git(repository, "add", "Kconfig")
    before = state(repository)
    note = f"{repository}: uncommitted changes to 2 files are not part of HEAD"
    assert find(repository, cache).notes == (note,)
    assert find(repository, cache, "main").notes != ()
    assert find(repository, cache, "v6.12").notes == (), "they are no changes of this one"
    assert state(repository) == before


def test_a_touched_file_is_no_change(repository: Path, cache: Cache) -> None:
    os.utime(repository / "mm/a.c", (1, 1))
    assert find(repository, cache).notes == ()


def test_a_work_tree_that_was_asked_for(repository: Path, cache: Cache) -> None:
    write(
        repository,
        {".gitignore": b"*.o\n", "mm/a.c": b"int c;\n", "mm/new.c": b"n", "mm/a.o": b"x", "tags": b"x"},
    )
    (repository / ".git/info").mkdir()
    (repository / ".git/info/exclude").write_text("tags\n")
    (repository / "Kconfig").chmod(0o755)
    (repository / "link").symlink_to("mm")
    git(repository, "add", "mm/new.c")
    git(repository.parent, "init", "--quiet", str(repository / "other"))
    before = state(repository)
    taken = find(repository, cache, dirty=True)
    assert read_tree(taken.tree, cache) == {
        **KERNEL,
        ".gitignore": b"*.o\n",
        "mm/a.c": b"int c;\n",
        "mm/new.c": b"n",
        "link": b"mm",
    }
    assert modes(taken, cache)["Kconfig"] == "100755"
    head = git(repository, "rev-parse", "HEAD")[:12]
    assert taken.description == f"git linux work tree ({head} and changes to 5 files)"
    assert state(repository) == before
    assert find(repository, cache, dirty=True) == taken
    assert not list((cache.root / "tree").glob(".*"))


def test_a_removed_file_is_not_in_the_work_tree(repository: Path, cache: Cache) -> None:
    (repository / "mm/a.c").unlink()
    assert set(read_tree(find(repository, cache, dirty=True).tree, cache)) == {"Kconfig", "Makefile"}


def test_a_directory_where_there_was_a_file(repository: Path, cache: Cache) -> None:
    (repository / "Makefile").unlink()
    shutil.rmtree(repository / "mm")
    write(repository, {"Makefile/x": b"x", "mm": b"y"})
    seen = read_tree(find(repository, cache, dirty=True).tree, cache)
    assert seen == {"Kconfig": KERNEL["Kconfig"], "Makefile/x": b"x", "mm": b"y"}
    (repository / "mm").unlink()
    (repository / "mm/empty").mkdir(parents=True)
    assert "mm" not in read_tree(find(repository, cache, dirty=True).tree, cache)


def test_a_file_of_the_work_tree_that_cannot_be_read(
    repository: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file of another user; root reads all. A repository without a commit stands for it."""
    git(repository.parent, "init", "--quiet", str(repository / "other"))
    monkeypatch.setattr(worktree, "_changed", lambda *_: [b"other"])
    with pytest.raises(ConfigError, match=r"^x.yaml: base: git /.*/linux: its work tree cannot be read: "):
        find(repository, cache, dirty=True)
    assert not list((cache.root / "tree").glob(".*"))


def test_a_clean_work_tree_is_its_commit(repository: Path, cache: Cache) -> None:
    assert find(repository, cache, dirty=True).tree.id == find(repository, cache).tree.id


@pytest.mark.parametrize("kind", ["split", "none"])
def test_any_index(repository: Path, cache: Cache, kind: str) -> None:
    if kind == "split":
        git(repository, "update-index", "--split-index")
    write(repository, {"mm/a.c": b"int c;\n"})
    if kind == "none":
        (repository / ".git/index").unlink()
    assert read_tree(find(repository, cache, dirty=True).tree, cache)["mm/a.c"] == b"int c;\n"
    assert "uncommitted changes to 1 file " in find(repository, cache).notes[0]


def test_a_change_within_the_time_that_a_file_system_tells(repository: Path, cache: Cache) -> None:
    """Size and times are as git has them in its index. It has to look at the content: the index is as old."""
    path = repository / "mm/a.c"
    git(repository, "update-index", "--refresh")
    stat = path.stat()
    path.write_bytes(b"int z;\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.utime(repository / ".git/index", ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    assert read_tree(find(repository, cache, dirty=True).tree, cache)["mm/a.c"] == b"int z;\n"


def test_an_unfinished_merge_is_told(repository: Path, cache: Cache) -> None:
    git(repository, "checkout", "--quiet", "-b", "other", "v6.12")
    write(repository, {"mm/a.c": b"int other;\n"})
    commit(repository, "other")
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "merge", "main")
    with pytest.raises(ConfigError, match=r"a merge is unfinished: mm/a\.c"):
        find(repository, cache, dirty=True)
    assert not list((cache.root / "tree").glob(".*"))


def test_a_bare_repository_has_no_work_tree(repository: Path, cache: Cache) -> None:
    with pytest.raises(ConfigError, match="has no work tree"):
        find(repository / ".git", cache, dirty=True)
