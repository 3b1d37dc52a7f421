# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel configuration and progress lines: parsing alone, on recorded output."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from guestloop.config import REPOSITORY
from guestloop.ground.errors import ConfigError
from guestloop.ground.log import Step
from guestloop.kernels import kconfig
from guestloop.kernels.build import Progress

DATA = Path(__file__).with_name("data") / "kernels"
BASE_CONFIG = REPOSITORY / "kernels/config/base.config"
L2_CONFIG = REPOSITORY / "guest-images/l2/l2.config"


def test_options_are_parsed() -> None:
    text = '# a comment\nCONFIG_KVM=m\n\n# CONFIG_VT is not set\nCONFIG_NR_CPUS=16\nCONFIG_CMDLINE="a=b c"\n'
    assert kconfig.parse(text) == {"KVM": "m", "VT": "n", "NR_CPUS": "16", "CMDLINE": '"a=b c"'}


def test_a_line_that_is_no_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r"x\.config, line 2: not a kernel option: 'KVM=m'"):
        kconfig.parse("CONFIG_A=y\nKVM=m\n", "x.config")


def test_a_later_fragment_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "a.config", tmp_path / "b.config"
    first.write_text("CONFIG_A=y\nCONFIG_B=y\n")
    second.write_text("# CONFIG_A is not set\n")
    assert kconfig.merge([first, second]) == {"A": "n", "B": "y"}


def test_rendered_options_parse_back() -> None:
    options = kconfig.merge([BASE_CONFIG])
    assert kconfig.parse(kconfig.render(options)) == options
    assert kconfig.render(options) == kconfig.render(dict(reversed(options.items())))


def settle(wanted: dict[str, str], *made: dict[str, str], source: Path = DATA) -> list[dict[str, str]]:
    """Configure kernels whose tools make these configurations, one after the other; gives what was asked."""
    asked: list[dict[str, str]] = []

    def configure(options: Mapping[str, str]) -> dict[str, str]:
        asked.append(dict(options))
        return made[len(asked) - 1]

    kconfig.refuse(kconfig.settle(wanted, configure, source), "base.config")
    return asked


def test_every_unmet_option_is_named_with_the_value_seen() -> None:
    wanted = {"KVM": "m", "MICROCODE": "n", "KSM": "y", "NO_SUCH_THING": "y", "VT": "n"}
    with pytest.raises(ConfigError) as caught:
        settle(wanted, {"KVM": "m", "MICROCODE": "y", "KSM": "n"})
    message = str(caught.value)
    assert message.startswith("base.config: 3 options could not be set: ")
    for part in ("CONFIG_MICROCODE: wanted n, seen y", "CONFIG_KSM: wanted y, seen n"):
        assert part in message
    assert "CONFIG_NO_SUCH_THING: wanted y, seen n" in message
    assert "VT" not in message


def test_of_alternatives_the_first_that_can_be_set_is_taken() -> None:
    wanted = kconfig.parse("CONFIG_A=y | CONFIG_B=y | CONFIG_C=m\nCONFIG_D=8\n")
    assert settle(wanted, {"A": "y", "D": "8"}) == [{"A": "y", "D": "8"}]
    asked = settle(wanted, {"D": "8"}, {"D": "8"}, {"C": "m", "D": "8"})
    assert asked == [{"A": "y", "D": "8"}, {"B": "y", "D": "8"}, {"C": "m", "D": "8"}]
    assert len(settle(wanted, {"B": "y", "D": "8"})) == 1, "it is there without having been asked for"
    with pytest.raises(ConfigError) as caught:
        settle(wanted, {"D": "8"}, {"D": "8"}, {"C": "y", "D": "8"})
    parts = ("CONFIG_A: wanted y, seen n", "CONFIG_B: wanted y, seen n", "CONFIG_C: wanted m, seen y")
    assert caught.value.first_line == f"base.config: 1 option could not be set: {' and '.join(parts)}"


def test_an_option_may_be_absent_only_where_no_kconfig_file_has_it(tmp_path: Path) -> None:
    wanted = kconfig.parse("CONFIG_OLD=y | CONFIG_NEW=y where it exists\n")
    (tmp_path / "mm").mkdir()
    (tmp_path / "mm/Kconfig.debug").write_text("config NEWER\n\tbool\nsource OLD\n")
    assert settle(wanted, {}, {}, source=tmp_path) == [{"OLD": "y"}, {"NEW": "y"}]
    (tmp_path / "mm/Kconfig").write_text("if MM\n\n\tmenuconfig NEW\n\t\tbool\n")
    with pytest.raises(ConfigError, match="CONFIG_OLD: wanted y, seen n and CONFIG_NEW: wanted y, seen n"):
        settle(wanted, {}, {}, source=tmp_path)


@pytest.mark.parametrize("line", ["CONFIG_A=y | B=y", "CONFIG_A=y or CONFIG_B=y", "CONFIG_A=y if it exists"])
def test_a_misspelt_alternative_is_no_value(line: str) -> None:
    with pytest.raises(ConfigError, match="line 1: not a kernel option"):
        kconfig.parse(line)


def test_a_string_may_hold_anything() -> None:
    value = '"console=ttyS0 | CONFIG_B=y"'
    assert kconfig.wish_of("CMDLINE", value).choices == (("CMDLINE", value),)


def test_a_later_line_replaces_all_that_name_one_of_its_options(tmp_path: Path) -> None:
    first, second = tmp_path / "a.config", tmp_path / "b.config"
    first.write_text("CONFIG_A=y | CONFIG_B=y\nCONFIG_C=y\n")
    second.write_text("CONFIG_B=m\n")
    assert kconfig.merge([first, second]) == {"B": "m", "C": "y"}


@pytest.mark.parametrize(
    ("fragment", "recorded"), [(BASE_CONFIG, "base-6.12.config"), (L2_CONFIG, "l2-6.12.config")]
)
def test_the_recorded_configuration_meets_the_shipped_fragment(fragment: Path, recorded: str) -> None:
    made = kconfig.parse((DATA / recorded).read_text())
    assert kconfig.find_unmet(kconfig.merge([fragment]), made) == ()


def test_progress_counts_files_in_recorded_make_output() -> None:
    progress = Progress(Step("build", None), expected=0)
    for line in (DATA / "make-output.txt").read_text().splitlines():
        progress.line(line)
    assert progress.made == 14


def test_an_entry_that_a_diff_moves_is_not_removed() -> None:
    diff = "-config KVM_SMM\n-menuconfig VIRTUALIZATION\n-config KVM_XEN\n+config KVM_XEN\n config KVM\n"
    options = ("KVM_SMM", "KVM_XEN", "KVM", "VIRTUALIZATION", "EPT")
    unmet = kconfig.find_unmet(dict.fromkeys(options, "y"), {})
    assert kconfig.removed_by(diff, unmet) == ("KVM_SMM", "VIRTUALIZATION")
