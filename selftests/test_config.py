# SPDX-License-Identifier: GPL-2.0-or-later
"""Configuration: what is wrong is named with file, key and what is allowed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from guestloop.config import (
    REPOSITORY,
    BaseKind,
    find_kernel_files,
    load_kernel,
    load_profiles,
    parse_duration,
    parse_kernel,
)
from guestloop.config.expect import parse_expect_options
from guestloop.ground.errors import ConfigError
from guestloop.job.options import Options, chosen_profile
from guestloop.results.cells import Mmu
from guestloop.results.plan import Reach
from guestloop.results.provenance import Expectation, Trend
from guestloop.workloads.catalog import AXES, all_cells, cell_of, special_axes
from guestloop.workloads.selection import count_cells, select

GOOD = """\
description: a kernel
base: {debian-source: linux-source-6.12}
config: [base.config]
"""


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    directory = tmp_path / "guestloop" / "kernels"
    directory.mkdir(parents=True)
    (directory / "base.config").write_text("CONFIG_KVM=m\n")
    return directory


def test_shipped_kernels_can_be_read() -> None:
    for name in find_kernel_files():
        assert load_kernel(name).description
    assert load_kernel("patched").reach.covers(Mmu.SHADOW)
    assert not load_kernel("patched").reach.covers(Mmu.TDP)
    assert load_kernel("unpatched").series == ()


def test_own_directory_comes_first(kernels: Path) -> None:
    (kernels / "patched.yaml").write_text(GOOD)
    assert load_kernel("patched").path == kernels / "patched.yaml"


def test_base_of_each_kind(kernels: Path) -> None:
    (kernels / "k.yaml").write_text(
        GOOD.replace("{debian-source: linux-source-6.12}", "{git: ., ref: v6.12}")
    )
    spec = load_kernel("k")
    assert (spec.base.kind, spec.base.location, spec.base.ref) == (BaseKind.GIT, str(kernels), "v6.12")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "serries: [x]\n", "unknown key 'serries'"),
        (GOOD.replace("debian-source", "debian"), "unknown key 'debian'"),
        (GOOD.replace("{debian-source: linux-source-6.12}", "{}"), "exactly one of"),
        (GOOD.replace("{debian-source: linux-source-6.12}", "{git: .}"), "'git' needs it"),
        (GOOD.replace("[base.config]", "[none.config]"), "no such file"),
        (GOOD.replace("[base.config]", "base.config"), "a list of texts was wanted"),
        (GOOD + "reach: {mmu: [shadw], because: x}\n", "unknown value 'shadw'"),
        (GOOD + "reach: {mmu: [shadow]}\n", "'because' is wanted"),
        (GOOD + "expect: {async_page_redy: fewer}\n", "expect: unknown call path 'async_page_redy'"),
        (GOOD + "expect: {zap: less}\n", "expect: unknown value 'less'"),
        (GOOD + "expect: {zap: 1}\n", "expect: zap: a text was wanted, seen: 1"),
        (GOOD + "expect: [zap]\n", "expect: a mapping was wanted"),
        ("- a\n", "a mapping was wanted"),
        ("a: [\n", "line 2: not valid YAML"),
    ],
)
def test_wrong_kernel_files(kernels: Path, text: str, message: str) -> None:
    path = kernels / "k.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        parse_kernel(path)
    assert str(path) in str(raised.value)


def test_an_element_of_a_series_may_be_a_folder_and_a_fragment_may_not(kernels: Path) -> None:
    (kernels / "patches").mkdir()
    (kernels / "mine.yaml").write_text(f"{GOOD}series: [patches]\n")
    assert load_kernel("mine").series == (kernels / "patches",)
    (kernels / "mine.yaml").write_text(GOOD.replace("base.config", "patches"))
    with pytest.raises(ConfigError, match=r"config: no such file: .*/patches"):
        load_kernel("mine")


def test_what_a_series_is_for(kernels: Path) -> None:
    (kernels / "k.yaml").write_text(GOOD + "expect: {async_page_ready: fewer, other:kvm_new: more}\n")
    assert load_kernel("k").expect == (
        Expectation("async_page_ready", Trend.FEWER),
        Expectation("other:kvm_new", Trend.MORE),
    )
    assert parse_expect_options(["zap:more"]) == (Expectation("zap", Trend.MORE),)


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (["zap"], "--expect zap: PATH:CHANGE was wanted", "for example zap:fewer"),
        (["zpa:fewer"], "--expect zpa:fewer: unknown call path 'zpa'", "did you mean 'zap'?"),
        (["zap:fewr"], "--expect zap:fewr: unknown value 'fewr'", "did you mean 'fewer'?"),
        (["zap:fewer", "zap:more"], "--expect: a call path is named twice", ""),
        (["other::fewer"], "unknown call path 'other:'", "or other:FUNCTION"),
    ],
)
def test_wrong_expectations(options: list[str], message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        parse_expect_options(options)
    assert hint in raised.value.hint


def test_unknown_kernel_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown kernel 'pached'") as raised:
        load_kernel("pached")
    assert "did you mean 'patched'?" in raised.value.hint


def left_out_count(line: str) -> int:
    """Cells that a line stands for: it names one, or says how many of a test there are."""
    return int(line.partition(" ")[0]) if " cells of " in line else 1


def test_profiles_select_from_the_full_product() -> None:
    profiles = load_profiles(AXES)
    everything = select(profiles["lab"])
    assert count_cells(profiles["lab"]) == len(everything.cells)
    assert [cell for cell in everything.cells if not special_axes(cell)] == all_cells()
    assert not everything.left_out
    smoke = select(profiles["smoke"])
    assert 1 <= len(smoke.cells) < len(everything.cells)
    left = sum(left_out_count(line) for line in smoke.left_out if "hardware" not in line)
    assert len(smoke.cells) + left == len(all_cells())


def test_default_profile_has_every_test_and_mode() -> None:
    cells = select(load_profiles(AXES)["default"]).cells
    assert {cell.test for cell in cells} == set(AXES)
    for test in AXES:
        assert {cell.mmu for cell in cells if cell.test == test} == {Mmu.TDP, Mmu.DIRECT, Mmu.SHADOW}


def test_what_only_some_hardware_has_is_in_the_lab_profile_and_named(tmp_path: Path) -> None:
    profiles = load_profiles(AXES)
    special = [cell for cell in select(profiles["lab"]).cells if special_axes(cell)]
    assert {cell.mmu for cell in special} >= {mode for mode in Mmu if not mode.is_everywhere}
    for mode in (Mmu.TDP_NO_EPTAD, Mmu.DIRECT_NO_EPTAD, Mmu.TDP_PML, Mmu.DIRECT_PML):
        assert {cell.test for cell in special if cell.mmu is mode} == set(AXES)
    assert {cell.variant["way"] for cell in special if cell.mmu.is_everywhere} == {
        *("dirty-ring-256", "dirty-ring-8192"),
    }
    storms = [cell for cell in special if cell.test == "asyncpf" and cell.mmu.code.value + "-pml" == cell.mmu]
    assert {cell.variant["way"] for cell in storms} == {"dirty-log"}, "nothing else is logged"
    assert not any(special_axes(cell) for cell in select(profiles["default"]).cells)
    (line,) = (line for line in select(profiles["default"]).left_out if "hardware" in line)
    assert line == (
        "cells of what only some hardware has: "
        "direct-no-eptad, direct-pml, dirty-ring-256, dirty-ring-8192, tdp-no-eptad, tdp-pml"
    )


def test_a_selection_that_leaves_an_axis_open_has_what_every_host_has(kernels: Path) -> None:
    own = kernels.parent / "profiles.yaml"
    own.write_text(
        "open: {description: d, cells: [{test: aging, driver: [mglru], pages: [4k], dirty_log: ['on']}]}\n"
        "named: {description: d, cells: [{test: aging, mmu: [tdp-pml], driver: [mglru], pages: [4k]}]}\n"
    )
    profiles = load_profiles(AXES)
    assert [cell.mmu for cell in select(profiles["open"]).cells] == [Mmu.TDP, Mmu.DIRECT, Mmu.SHADOW]
    assert {cell.mmu for cell in select(profiles["named"]).cells} == {Mmu.TDP_PML}


def test_profiles_in_a_directory_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of root, which HOME still names under setpriv. Root may read all, so it is denied here."""
    (tmp_path / "guestloop").mkdir()
    (tmp_path / "guestloop/profiles.yaml").write_text("mine: 1\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="mine"):
        load_profiles(AXES)
    monkeypatch.setattr(os, "access", lambda path, _mode: not Path(path).is_relative_to(tmp_path))
    assert list(load_profiles(AXES)) == ["smoke", "default", "lab"]


def test_shipped_profiles_have_looks_and_a_budget_or_fixed_rounds() -> None:
    profiles = load_profiles(AXES)
    assert (profiles["default"].looks, profiles["default"].budget_s) == ((1, 2, 4, 8), 20 * 60)
    assert (profiles["smoke"].looks, profiles["smoke"].budget_s) == ((1,), None)
    assert (profiles["lab"].looks, profiles["lab"].budget_s) == ((10,), None)


def test_the_lab_profile_alone_follows_the_host(kernels: Path) -> None:
    own = kernels.parent / "profiles.yaml"
    own.write_text("mine: {description: d, host-sizes: yes, cells: [{test: aging}]}\n")
    profiles = load_profiles(AXES)
    assert [name for name, one in profiles.items() if one.host_sizes] == ["lab", "mine"]
    own.write_text("mine: {description: d, host-sizes: large, cells: [{test: aging}]}\n")
    with pytest.raises(ConfigError, match="mine: host-sizes: "):
        load_profiles(AXES)


@pytest.mark.parametrize(
    ("options", "looks", "budget_s"),
    [
        (Options(), (1, 2, 4, 8), 20 * 60),
        (Options(rounds=3), (3,), None),
        (Options(budget_s=90.0), (1, 2, 4, 8), 90),
        (Options("smoke", budget_s=90.0), (1, 2, 4, 8), 90),
        (Options("smoke", rounds=3), (3,), None),
    ],
)
def test_the_command_line_goes_before_the_profile(
    options: Options, looks: tuple[int, ...], budget_s: float | None
) -> None:
    """A budget needs looks: a profile with a fixed number of rounds gets some."""
    profile = chosen_profile(options)
    assert (profile.looks, profile.budget_s) == (looks, budget_s)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("20m", 1200), ("1h", 3600), ("120m", 7200), ("05m", 300)]
)
def test_a_time_has_a_unit(text: str, seconds: float) -> None:
    assert parse_duration("--budget", text) == seconds


@pytest.mark.parametrize("text", ["", "20", "0m", "-5m", "1.5h", "20 m", "20min", "m", "1h30m", "٣m"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ConfigError, match="--budget: a time with its unit was wanted, seen: ") as raised:
        parse_duration("--budget", text)
    assert "20m" in raised.value.hint


def test_selection_names_what_does_not_exist() -> None:
    profile = load_profiles(AXES)["default"]
    with pytest.raises(ConfigError, match="unknown test 'asyncfp'"):
        select(profile, tests=("asyncfp",))
    with pytest.raises(ConfigError, match="unknown MMU mode 'ept'"):
        select(profile, mmus=("ept",))
    with pytest.raises(ConfigError, match="has no cell for"):
        select(load_profiles(AXES)["smoke"], mmus=("tdp",))


def test_legacy_tdp_is_another_name_of_direct(kernels: Path) -> None:
    cells = select(load_profiles(AXES)["default"], mmus=("legacy-tdp",)).cells
    assert cells == select(load_profiles(AXES)["default"], mmus=("direct",)).cells
    assert {cell.id.split("/")[1] for cell in cells} == {"direct"}
    own = kernels.parent / "profiles.yaml"
    own.write_text("mine: {description: d, cells: [{test: asyncpf, mmu: [legacy-tdp, tdp]}]}\n")
    assert {cell.mmu for cell in select(load_profiles(AXES)["mine"]).cells} == {Mmu.DIRECT, Mmu.TDP}
    (kernels / "k.yaml").write_text(GOOD + "reach: {mmu: [legacy-tdp], because: x}\n")
    assert load_kernel("k").reach.mmu == (Mmu.DIRECT,)
    assert cell_of({"asyncpf": None, "load": {"read-own"}}, "legacy-tdp").mmu is Mmu.DIRECT


def test_the_matrix_of_avocado_has_every_mode() -> None:
    matrix = (REPOSITORY / "avocado.yaml").read_text()
    assert re.findall(r"^    mmu: (.*)$", matrix, re.MULTILINE) == [
        mode for mode in Mmu if mode.is_everywhere
    ]


def test_own_profile_with_a_typo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "guestloop" / "profiles.yaml"
    file.parent.mkdir()
    file.write_text("mine: {description: d, rounds: 3, cells: [{test: asyncpf, mmu: [shadow, tpd]}]}\n")
    with pytest.raises(ConfigError, match="unknown value 'tpd'"):
        load_profiles(AXES)
    file.write_text("mine: {description: d, rounds: 0, cells: [{test: asyncpf}]}\n")
    with pytest.raises(ConfigError, match="a number of 1 or more"):
        load_profiles(AXES)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("rounds: 2, looks: [1, 2]", "rounds and looks exclude each other"),
        ("looks: 2", "looks: a list of numbers was wanted, seen: 2"),
        ("looks: [1, two]", "looks: a list of numbers was wanted, seen: "),
        ("looks: [1, yes]", "looks: a list of numbers was wanted, seen: "),
        ("looks: []", "looks: looks rise from 1 or more, seen: none"),
        ("looks: [0, 1]", "looks: looks rise from 1 or more, seen: 0, 1"),
        ("looks: [2, 2]", "looks: looks rise from 1 or more, seen: 2, 2"),
        ("rounds: 2, budget: 20m", "budget: there are no looks that it could end"),
        ("looks: [1, 2], budget: 20", "budget: a text was wanted, seen: 20"),
        ("looks: [1, 2], budget: 0m", "budget: a time with its unit was wanted, seen: '0m'"),
    ],
)
def test_own_profile_with_wrong_looks(
    keys: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "guestloop" / "profiles.yaml"
    file.parent.mkdir()
    file.write_text(f"mine: {{description: d, {keys}, cells: [{{test: asyncpf}}]}}\n")
    with pytest.raises(ConfigError) as raised:
        load_profiles(AXES)
    assert str(raised.value).startswith(f"{file}: mine: {message}")


def test_cell_of_tags() -> None:
    cell = cell_of({"asyncpf": None, "load": {"read-own"}}, "shadow")
    assert cell.id.startswith("asyncpf/shadow/read-own")
    with pytest.raises(ConfigError, match="must be tagged"):
        cell_of({"load": {"read-own"}}, "shadow")
    with pytest.raises(ConfigError, match="unknown load 'reed'"):
        cell_of({"asyncpf": None, "load": {"reed"}}, "shadow")


# --- like ------------------------------------------------------------------------------------------


def write(kernels: Path, name: str, text: str) -> Path:
    path = kernels / f"{name}.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def family(kernels: Path) -> Path:
    """A kernel with a series, and files that others may add."""
    for name in ("a.patch", "b.patch", "more.config"):
        (kernels / name).write_text("")
    write(
        kernels,
        "parent",
        f"{GOOD}series: [a.patch]\nreach: {{mmu: [tdp], because: x}}\nexpect: {{zap: more}}\n",
    )
    return kernels


def test_like_another_with_more(family: Path) -> None:
    write(family, "child", "like: parent\nconfig: [more.config]\nseries: [b.patch]\n")
    child, parent = load_kernel("child"), load_kernel("parent")
    assert (child.name, child.base) == ("child", parent.base)
    assert [path.name for path in child.config] == ["base.config", "more.config"]
    assert [path.name for path in child.series] == ["a.patch", "b.patch"]
    assert (child.reach, child.expect) == (Reach(), ()), "these are about the whole series"
    assert child.description == "like parent"


def test_like_another_on_another_base_through_a_chain(family: Path) -> None:
    write(family, "child", "like: ./parent.yaml\nbase: {tarball: x.tar}\ndescription: own\n")
    write(family, "grandchild", "like: child\nseries: [b.patch]\nexpect: {zap: fewer}\n")
    found = load_kernel("grandchild")
    assert (found.base.kind, found.base.location) == (BaseKind.TARBALL, str(family / "x.tar"))
    assert [path.name for path in found.series] == ["a.patch", "b.patch"]
    assert found.expect == (Expectation("zap", Trend.FEWER),)
    assert load_kernel("child").description == "own"


def test_a_file_may_be_like_the_shipped_one_that_it_hides(family: Path) -> None:
    write(family, "unpatched", "like: unpatched\nconfig: [more.config]\n")
    shipped, *own = load_kernel("unpatched").config
    assert shipped == REPOSITORY / "kernels/config/base.config" and own == [family / "more.config"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"k": "like: k\n"}, r"k\.yaml: like: a circle: .*k\.yaml -> .*k\.yaml$"),
        ({"k": "like: k.yaml\n"}, r"like: a circle: .*k\.yaml -> .*k\.yaml$"),
        (
            {"k": "like: m\n", "m": "like: k\n"},
            r"m\.yaml: like: a circle: .*k\.yaml -> .*m\.yaml -> .*k\.yaml$",
        ),
        (
            {"k": "like: m\n", "m": "like: n\n", "n": "like: m\n"},
            r"n\.yaml: like: a circle: .*/m\.yaml -> .*n\.y",
        ),
        ({"k": "like: parnet\n"}, r"k\.yaml: like: unknown kernel 'parnet'"),
        ({"k": "like: [parent]\n"}, "like: a text was wanted"),
        ({"k": "like: gone.yaml\n"}, r"gone\.yaml: no such file"),
        ({"k": "like: deb:6.12\n"}, "like: unknown kernel 'deb:6.12'"),
    ],
)
def test_like_what_cannot_be(family: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        write(family, name, text)
    with pytest.raises(ConfigError, match=message):
        load_kernel("k")
