# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole .configs of users: what is refused at once, and what is laid over them."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from guestloop.config import REPOSITORY
from guestloop.ground.errors import ConfigError
from guestloop.kernels import kconfig
from guestloop.kernels.existing.requirements import NEEDS, VENDORS
from guestloop.kernels.whole import laid_over, read_whole_config, without_files

DATA = Path(__file__).with_name("data") / "kernels"
CONFIGS = REPOSITORY / "kernels/config"
WHOLE = """\
#
# Linux/x86 6.12.117 Kernel Configuration
#
CONFIG_CC_VERSION_TEXT="gcc (Debian 12.2.0-14) 12.2.0"
CONFIG_X86_64=y
CONFIG_KVM=y
# CONFIG_KVM_AMD is not set
CONFIG_PREEMPT=y
CONFIG_SYSTEM_TRUSTED_KEYS="debian/certs/debian-uefi-certs.pem"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / ".config"
    path.write_text(WHOLE)
    return path


def test_a_whole_config_is_read(config: Path) -> None:
    options = read_whole_config(config)
    assert (options["KVM"], options["KVM_AMD"], options["PREEMPT"]) == ("y", "n", "y")
    config.write_text(f"\ufeff{WHOLE}")
    assert read_whole_config(config) == options
    assert read_whole_config(DATA / "base-6.12.config")["KVM"] == "m"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("CONFIG_KVM=y", "# CONFIG_KVM is not set", "a kernel without KVM: CONFIG_KVM is not set in it"),
        ("CONFIG_KVM=y\n", "", "a kernel without KVM"),
        ("CONFIG_X86_64=y\n", "", "a whole .config for x86_64 was wanted, this does not say CONFIG_X86_64=y"),
        ("CONFIG_X86_64=y", "# CONFIG_X86_64 is not set", "this does not say CONFIG_X86_64=y"),
        (WHOLE, "# Linux/arm64 6.12.0 Kernel Configuration\nCONFIG_ARM64=y\nCONFIG_KVM=y\n", "is for arm64"),
        (WHOLE, "CONFIG_KSM=y\n", "this does not say CONFIG_X86_64=y"),
        (WHOLE, "", "this does not say CONFIG_X86_64=y"),
        ("CONFIG_PREEMPT=y", "CONFIG_PREEMPT:y", "line 8: not a kernel option"),
    ],
)
def test_what_is_no_config_for_l1(old: str, new: str, message: str, config: Path) -> None:
    config.write_text(WHOLE.replace(old, new))
    with pytest.raises(ConfigError, match=message) as raised:
        read_whole_config(config)
    assert str(raised.value).startswith(str(config)) and raised.value.hint


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x1f\x8b\x08\x00\xff\xfe", "damaged gzip file"),
        (WHOLE.encode("utf-16"), "line 1: not UTF-8"),
        (WHOLE.encode() + b'CONFIG_LOCALVERSION="\xe9"\n', "line 10: not UTF-8"),
    ],
)
def test_what_is_no_text(data: bytes, message: str, config: Path) -> None:
    config.write_bytes(data)
    with pytest.raises(ConfigError, match=f"^{config}.*{message}"):
        read_whole_config(config)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_packed_config_is_read(config: Path, pack: Callable[[bytes], bytes]) -> None:
    """As /proc/config.gz."""
    options = read_whole_config(config)
    config.write_bytes(pack(WHOLE.encode()))
    assert read_whole_config(config) == options


def test_files_beside_the_sources_are_left_out(config: Path) -> None:
    config.write_text(f'{WHOLE}CONFIG_INITRAMFS_SOURCE="/boot/x.cpio"\nCONFIG_EXTRA_FIRMWARE="x.bin"\n')
    options = read_whole_config(config)
    assert [without_files(options)[name] for name in ("INITRAMFS_SOURCE", "EXTRA_FIRMWARE")] == ['""', '""']
    assert 'CONFIG_INITRAMFS_SOURCE: "/boot/x.cpio" -> ""' in laid_over(options, {})


def test_what_is_laid_over_is_told(config: Path) -> None:
    over = kconfig.merge([CONFIGS / "whole.config"])
    told = laid_over(read_whole_config(config), over)
    assert "CONFIG_KVM: y -> m" in told and "CONFIG_KVM_AMD: n -> m" in told
    assert 'CONFIG_SYSTEM_TRUSTED_KEYS: "debian/certs/debian-uefi-certs.pem" -> ""' in told
    assert not any("PREEMPT" in line or "X86_64" in line for line in told), "the rest is the user's"
    made = {**without_files(read_whole_config(config)), **over}
    assert laid_over(made, over) == ()


def test_nothing_is_laid_over_that_is_not_in_the_shipped_configuration() -> None:
    base, over = (kconfig.merge([CONFIGS / name]) for name in ("base.config", "whole.config"))
    own = {"SECURITY_LOCKDOWN_LSM": "n", "MODULE_SIG": "n", "CMDLINE_OVERRIDE": "n"}
    assert {name: value for name, value in over.items() if base.get(name) != value} == own


def test_what_an_existing_kernel_needs_is_laid_over() -> None:
    """Both say what nothing can be measured without."""
    over = kconfig.merge([CONFIGS / "whole.config"])
    assert {need.option for need in NEEDS} | VENDORS.keys() | {"KVM", "MODULES"} <= over.keys()
