# SPDX-License-Identifier: GPL-2.0-or-later
"""What people write: other encodings, values that YAML reads otherwise, keys twice, files that are none."""

from __future__ import annotations

import codecs
import os
import subprocess
import sys
from pathlib import Path

import pytest

from guestloop.config import find_kernel_files, load_argument, load_profiles, parse_kernel
from guestloop.config.kernels import KernelSpec
from guestloop.ground.errors import ConfigError
from guestloop.kernels import kconfig
from guestloop.workloads.catalog import AXES

GIT = """\
description: a kernel
base: {git: ., ref: REF}
config: [base.config]
"""
NAME = "Jürgen's kernel"


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own folder of kernels, below a home of their own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    directory = tmp_path / ".config/guestloop/kernels"
    directory.mkdir(parents=True)
    (directory / "base.config").write_text("CONFIG_KVM=m\n")
    return directory


def written(kernels: Path, text: str | bytes) -> Path:
    path = kernels / "k.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        parse_kernel(path)
    assert str(raised.value).startswith(str(path))
    return raised.value


# --- bytes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [b"", codecs.BOM_UTF8], ids=["plain", "bom"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "dos"])
def test_text_is_utf8_with_or_without_a_mark(kernels: Path, before: bytes, end: str) -> None:
    text = GIT.replace("a kernel", NAME).replace("REF", "v6.12").replace("\n", end)
    spec = parse_kernel(written(kernels, before + text.encode()))
    assert (spec.description, spec.base.ref) == (NAME, "v6.12")
    fragment = kernels / "base.config"
    fragment.write_bytes(before + f"# {NAME}{end}CONFIG_KVM=m{end}".encode())
    assert kconfig.merge([fragment]) == {"KVM": "m"}


@pytest.mark.parametrize(
    ("encoding", "line", "byte", "remedy"),
    [("latin-1", 2, "0xfc", "-f LATIN1 -t UTF-8"), ("utf-16", 1, "0xff", "-f UTF-16 -t UTF-8")],
)
def test_other_encodings_are_refused_with_the_line(
    kernels: Path, encoding: str, line: int, byte: str, remedy: str
) -> None:
    mark = codecs.BOM_UTF8 if line > 1 else b""
    error = refused(written(kernels, mark + f"# first\n# {NAME}\n{GIT}".encode(encoding)))
    assert str(error).endswith(f"k.yaml, line {line}: not UTF-8: byte {byte}") and remedy in error.hint
    fragment = kernels / "base.config"
    fragment.write_bytes(f"CONFIG_KVM=m\n# {NAME}\n".encode(encoding))
    with pytest.raises(ConfigError, match=rf"base\.config, line {line}: not UTF-8"):
        kconfig.merge([fragment])


def test_bytes_that_no_text_has(kernels: Path) -> None:
    assert "not valid YAML: " in str(refused(written(kernels, GIT + "# \0\n")))


@pytest.mark.parametrize("kind", ["directory", "pipe", "link", "large"])
def test_files_that_are_none(kernels: Path, kind: str) -> None:
    """A pipe would be waited for; a device would have no end."""
    path = kernels / "k.yaml"
    match kind:
        case "directory":
            path.mkdir()
            seen = "a file was wanted, seen: a directory"
        case "pipe":
            os.mkfifo(path)
            seen = "a file was wanted, seen: a pipe or device"
        case "link":
            path.symlink_to("nowhere")
            seen = "no such file"
        case _:
            path.write_bytes(b"#" * (5 << 20))
            seen = "larger than 4 MiB; a text was wanted"
    assert str(refused(path)) == f"{path}: {seen}"
    with pytest.raises(ConfigError, match=seen):
        kconfig.merge([path])


def test_profiles_likewise(kernels: Path) -> None:
    path = kernels.parent / "profiles.yaml"
    path.write_bytes(f"mine: {{description: {NAME}, cells: [{{test: asyncpf}}]}}".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"profiles\.yaml, line 1: not UTF-8: byte 0xfc"):
        load_profiles(AXES)
    one = "mine: {description: d, fresh-boots: yes, cells: [{test: asyncpf}]}\n"
    path.write_text(one)
    assert load_profiles(AXES)["mine"].fresh_boots
    path.write_text(one.replace("yes", "maybe"))
    with pytest.raises(ConfigError, match="fresh-boots: yes or no was wanted, seen: 'maybe'"):
        load_profiles(AXES)
    path.write_text(one + one)
    with pytest.raises(
        ConfigError, match=r"line 2: not valid YAML: the key 'mine' is there twice, in line 1 too"
    ):
        load_profiles(AXES)
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match="a file was wanted, seen: a directory"):
        load_profiles(AXES)


# --- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ref",
    ["0012345", "6.10", "yes", "off", "1e5", "0x10", "12_000", "2026-11-26", "1:30", "+1", ".5"],
)
def test_a_text_that_yaml_takes_for_something_else(kernels: Path, ref: str) -> None:
    """What was written is told, and accepted when it is quoted."""
    text = GIT.replace("REF", ref)
    try:
        assert parse_kernel(written(kernels, text)).base.ref == ref, "1e5 is a text in YAML 1.1"
    except ConfigError as error:
        assert str(error).endswith(f"base: ref: a text was wanted, seen: {ref}, quote it: '{ref}'")
    assert parse_kernel(written(kernels, text.replace(ref, f"'{ref}'"))).base.ref == ref


def test_which_of_them_are_refused(kernels: Path) -> None:
    for ref in ("0012345", "6.10", "yes", "2026-11-26"):
        refused(written(kernels, GIT.replace("REF", ref)))


@pytest.mark.parametrize("key", ["series", "reach"])
def test_a_key_that_is_left_empty(kernels: Path, key: str) -> None:
    spec = parse_kernel(written(kernels, GIT.replace("REF", "v6.12") + f"{key}:\n"))
    assert spec.series == () and spec.reach.mmu == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "series: []\nseries: []\n",
            "line 5: not valid YAML: the key 'series' is there twice, in line 4 too",
        ),
        ("'config': []\n", "line 4: not valid YAML: the key 'config' is there twice, in line 3 too"),
        ("yes: 1\n", "line 4: not valid YAML: a key that is no text; quote it: 'yes'"),
        ("[a, b]: 1\n", "line 4: not valid YAML: a key that is no text"),
        ("series:\n\t- x\n", "line 5: not valid YAML: found character that cannot start any token: a tab"),
        ("series: [1]\n", "series: a list of texts was wanted, seen: 1, quote it: '1'"),
        ("series: x.patch\n", "series: a list of texts was wanted, seen: 'x.patch'"),
        ("when: 2026-02-31\n", "not valid YAML: day is out of range for month"),
        ("--- {}\n", "line 4: not valid YAML: but found another document"),
        ("series: !!python/name:os.system\n", "line 4: not valid YAML: could not determine a constructor"),
        ("series: *nobody\n", "line 4: not valid YAML: found undefined alias"),
    ],
)
def test_what_is_wrong_has_its_line(kernels: Path, text: str, message: str) -> None:
    assert message in str(refused(written(kernels, GIT.replace("REF", "v6.12") + text)))


def test_an_empty_file(kernels: Path) -> None:
    assert str(refused(written(kernels, "# nothing\n"))).endswith("a mapping was wanted, seen: nothing")


def test_anchors_and_merges_are_yaml(kernels: Path) -> None:
    """A merged key may be replaced: that is what merging is for."""
    text = """\
description: &text a kernel
base: {<<: &git {<<: {ref: v6.10}, git: ., ref: v6.11}, ref: v6.12}
unused: *git
config: [base.config]
reach: {mmu: [shadow], because: *text}
"""
    assert "unknown key 'unused'" in str(refused(written(kernels, text))), "and no key is there twice"
    spec = parse_kernel(written(kernels, text.replace("unused: *git\n", "")))
    assert (spec.base.ref, spec.reach.because) == ("v6.12", "a kernel")


def test_another_library_cannot_change_how_yaml_is_read(kernels: Path) -> None:
    """It does so for the whole process, and then nothing is merged any more."""
    code = """if True:
    import sys, yaml
    from pathlib import Path
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        loader.add_constructor("tag:yaml.org,2002:map", lambda self, node: dict(self.construct_pairs(node)))
    from guestloop.config import parse_kernel
    print(parse_kernel(Path(sys.argv[1])).base.ref)
    """
    text = "description: text\nbase: {<<: {git: .}, ref: v6.12}\nconfig: [base.config]\n"
    command = [sys.executable, "-c", code, str(written(kernels, text))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "v6.12\n"


def test_aliases_of_aliases_do_no_harm(kernels: Path) -> None:
    """The last one stands for 10^30 texts, and none of the messages has them all."""
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 31)]
    assert "unknown key 'a0'" in str(refused(written(kernels, "\n".join(lines))))
    bomb = f"config: [{{{', '.join(lines)}}}]\n".replace("a0: &a0", "a0: &a0")
    text = GIT.replace("REF", "v6.12").replace("config: [base.config]\n", bomb)
    message = str(refused(written(kernels, text)))
    assert "config: a list of texts was wanted, seen: {" in message and len(message) < 500
    assert "and so on" not in str(refused(written(kernels, "series: &a [*a]\n")))


def test_brackets_without_an_end(kernels: Path) -> None:
    assert "not valid YAML" in str(refused(written(kernels, "a: " + "[" * 100_000)))


# --- names -----------------------------------------------------------------------------------------


def test_a_kernel_by_either_ending_and_by_path(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GIT.replace("REF", "v6.12")
    for name in ("one.yml", "two.yaml"):
        (kernels / name).write_text(text)
    monkeypatch.chdir(kernels)
    ways = [
        "one",
        "one.yml",
        "./one.yml",
        "~/.config/guestloop/kernels/one.yml",
        "../kernels/two.yaml",
        "./one",
        "~/.config/guestloop/kernels/two",
        "two",
    ]
    for way in ways:
        spec = load_argument(way)
        assert isinstance(spec, KernelSpec) and spec.name in ("one", "two"), way
        assert spec.config == (kernels / "base.config",)
    assert find_kernel_files()["one"] == kernels / "one.yml"


@pytest.mark.parametrize("name", ["loop", "x" * 300, '"a\\0b"', "~nobody-at-all/x", "base.config/x"])
def test_paths_that_cannot_be(kernels: Path, name: str) -> None:
    (kernels / "loop").symlink_to("loop")
    text = GIT.replace("REF", "v6.12")
    assert "k.yaml: series: " in str(refused(written(kernels, text + f"series: [{name}]\n")))


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "~nobody-at-all/x", "/dev/null/x"])
def test_kernels_by_paths_that_cannot_be(name: str) -> None:
    with pytest.raises(ConfigError):
        load_argument(f"{name}.yaml")


def test_without_a_home_there_are_the_shipped_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user of a container whom its passwd does not know."""
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert "patched" in find_kernel_files() and "smoke" in load_profiles(AXES)
    with pytest.raises(ConfigError, match=r"~/x\.yaml: Could not determine home directory"):
        load_argument("~/x.yaml")
