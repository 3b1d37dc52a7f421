# SPDX-License-Identifier: GPL-2.0-or-later
"""Which packages hold the kernel that was asked for, in lists of Debian 12 and sid as they were recorded."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from guestloop.config.existing import PackageSpec, parse_existing
from guestloop.debian.index import Dependency, Package, parse_packages
from guestloop.ground.errors import ConfigError
from guestloop.kernels.existing.choose import PREFIX, Chosen, choose, not_found

DATA = Path(__file__).parent / "data/kernels"


@cache
def packages(suite: str) -> tuple[Package, ...]:
    return tuple(parse_packages((DATA / f"packages-{suite}.txt").read_bytes(), suite, PREFIX))


BOOKWORM, SID = packages("bookworm"), packages("sid")


def spec(argument: str) -> PackageSpec:
    found = parse_existing(argument)
    assert isinstance(found, PackageSpec)
    return found


def names(chosen: Chosen | None) -> list[str]:
    assert chosen
    return [package.name for package in chosen.packages]


@pytest.mark.parametrize(
    ("argument", "name", "version"),
    [
        ("deb:linux-image-amd64", "linux-image-6.1.0-56-amd64", "6.1.192-2"),
        ("deb:linux-image-6.12-amd64", "linux-image-6.12.117+deb12-amd64", "6.12.117-1~deb12u1"),
        ("deb:linux-image-6.1.0-55-amd64", "linux-image-6.1.0-55-amd64", "6.1.192-1"),
        ("deb:6.1-amd64", "linux-image-6.1.0-56-amd64", "6.1.192-2"),
        ("deb:6.1.192-amd64", "linux-image-6.1.0-56-amd64", "6.1.192-2"),
        ("deb:6.1.192-1-amd64", "linux-image-6.1.0-55-amd64", "6.1.192-1"),
        ("deb:6.1.0-55-rt-amd64", "linux-image-6.1.0-55-rt-amd64", "6.1.192-1"),
        ("deb:6.12.115-cloud-amd64", "linux-image-6.12.115+deb12-cloud-amd64", "6.12.115-2~deb12u1"),
        ("deb:6.12.117+deb12-rt-amd64", "linux-image-6.12.117+deb12-rt-amd64", "6.12.117-1~deb12u1"),
        ("deb:newest-cloud-amd64", "linux-image-6.12.117+deb12-cloud-amd64", "6.12.117-1~deb12u1"),
    ],
)
def test_one_package_holds_all_of_an_older_kernel(argument: str, name: str, version: str) -> None:
    """Headers, firmware, linux-base and what makes an initramfs are not fetched, nor is the meta package."""
    chosen = choose(spec(argument), BOOKWORM)
    assert names(chosen) == [name]
    assert chosen and chosen.version == version


@pytest.mark.parametrize(
    "argument", ["deb:newest-amd64@sid", "deb:linux-image-amd64@sid", "deb:7.2-amd64@sid"]
)
def test_a_newer_kernel_is_in_several(argument: str) -> None:
    chosen = choose(spec(argument), SID)
    release = "7.2.13+deb14-amd64"
    parts = {f"linux-{part}-{release}" for part in ("base", "binary", "modules")}
    assert names(chosen)[0] == f"linux-image-{release}" and set(names(chosen)[1:]) == parts
    assert chosen and chosen.size == 1892 + 469412 + 14252084 + 110095088


@pytest.mark.parametrize("version", ["6.12.117", "6.12", "6.12.117+deb12", "6.12.117-1~deb12u1", "newest"])
def test_several_flavours_are_listed(version: str) -> None:
    with pytest.raises(ConfigError, match=r"3 flavours match: amd64, cloud-amd64, rt-amd64") as caught:
        choose(spec(f"deb:{version}"), BOOKWORM)
    listed = [f"deb:linux-image-6.12.117+deb12-{flavour}" for flavour in ("amd64", "cloud-amd64", "rt-amd64")]
    assert caught.value.hint.startswith(f"name one of {', '.join(listed)};")
    for argument in listed:
        assert names(choose(spec(argument), BOOKWORM)) == [argument.removeprefix("deb:")]


def test_the_listed_names_keep_the_suite() -> None:
    with pytest.raises(ConfigError) as caught:
        choose(spec("deb:newest@sid"), SID)
    assert "deb:linux-image-7.2.13+deb14-cloud-amd64@sid" in caught.value.hint


@pytest.mark.parametrize("argument", ["deb:6.11", "deb:6.12.1", "deb:6", "deb:linux-image-6.12.9"])
def test_what_is_not_there_is_none(argument: str) -> None:
    if argument == "deb:6":  # the beginning of every version there
        with pytest.raises(ConfigError, match="flavours match"):
            choose(spec(argument), BOOKWORM)
    else:
        assert choose(spec(argument), BOOKWORM) is None


def test_what_is_there_instead_is_told() -> None:
    message, hint = not_found(spec("deb:6.11-amd64@sid"), SID)
    assert message == "--kernels deb:6.11-amd64@sid: no package of kernel 6.11 amd64 in suite sid"
    assert hint == "kernels there: 7.2.13+deb14"
    message, hint = not_found(spec("deb:linux-imag-amd64"), BOOKWORM)
    assert message.endswith("no package linux-imag-amd64 in this machine's package sources")
    assert hint.startswith("did you mean linux-image-amd64? kernels there: 6.1.0-55, 6.1.0-56, 6.12.115+")
    assert not_found(spec("deb:6.11"), ())[1] == "kernels there: none"


def test_a_package_that_is_no_kernel() -> None:
    with pytest.raises(ConfigError, match="package linux-base is no kernel and depends on none"):
        choose(spec("deb:linux-base"), BOOKWORM)


@pytest.mark.parametrize("ending", ["-dbg", "-dbgsym"])
def test_a_package_for_debuggers_is_not_fetched(ending: str) -> None:
    """It has a gigabyte and no image. The meta package of its kind leads there too."""
    image = next(one for one in BOOKWORM if one.name == "linux-image-6.1.0-56-amd64")
    symbols = replace(image, name=f"{image.name}{ending}", depends=())
    meta = replace(
        image, name=f"linux-image-amd64{ending}", depends=(Dependency(symbols.name, symbols.version),)
    )
    for package in (symbols, meta):
        with pytest.raises(
            ConfigError, match=f"package {symbols.name} has no kernel that can be booted"
        ) as caught:
            choose(spec(f"deb:{package.name}"), (*BOOKWORM, symbols, meta))
        assert caught.value.hint == f"its kernel is in {image.name}"


def test_a_suite_that_is_being_updated() -> None:
    """The meta package of today needs an image that is not in the list yet."""
    there = [package for package in BOOKWORM if package.name != "linux-image-6.1.0-56-amd64"]
    with pytest.raises(
        ConfigError, match=r"linux-image-amd64 6\.1\.192-2 depends on linux-image-6.1.0-56-amd64"
    ):
        choose(spec("deb:linux-image-amd64"), there)


def test_of_two_versions_of_a_name_the_newer_is_taken_and_its_own_parts() -> None:
    rebuilt = tuple(
        replace(
            package,
            version="7.2.13-2",
            depends=tuple(replace(each, exactly=each.exactly and "7.2.13-2") for each in package.depends),
        )
        for package in SID
    )
    chosen = choose(spec("deb:newest-amd64@sid"), (*rebuilt, *SID))
    assert chosen and {package.version for package in chosen.packages} == {"7.2.13-2"}
