# SPDX-License-Identifier: GPL-2.0-or-later
"""Package files, tarballs, installed kernels and build trees: what is taken, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from packaged import CONFIG, KVM, RELEASE, make_deb, make_modules, make_root, make_tree, write

from guestloop.cache import Cache, file_digest
from guestloop.config.existing import parse_existing
from guestloop.ground.errors import ConfigError, LabError
from guestloop.kernels.existing import archives, tree, unpack_existing
from guestloop.kernels.origin import OriginKind, Unpacked


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def unpack(argument: str | Path, cache: Cache) -> Unpacked:
    spec = parse_existing(str(argument))
    assert spec
    return unpack_existing(spec, cache)


def refused(argument: str | Path, cache: Cache, message: str) -> ConfigError:
    """What it is refused with; and nothing may be left of it."""
    with pytest.raises(ConfigError, match=message) as caught:
        unpack(argument, cache)
    assert str(caught.value).startswith(f"--kernels {argument}: ")
    assert "\n" not in str(caught.value)
    assert not list(cache.root.glob("unpacked-kernel/*")) + list(cache.root.glob("unpacked-kernel/.*"))
    return caught.value


# --- package files ---------------------------------------------------------------------------------


def test_a_package_is_unpacked_and_no_script_of_it_runs(tmp_path: Path, cache: Cache) -> None:
    ran = tmp_path / "ran"
    deb = make_deb(make_root(tmp_path / "root"), f"linux-image-{RELEASE}", script=f"touch {ran}")
    kernel = unpack(deb, cache)
    assert kernel.release == RELEASE
    assert kernel.image.read_text() == "an image" and kernel.config.read_text() == CONFIG
    assert (kernel.modules / KVM / "kvm-amd.ko.xz").read_text() == "module kvm-amd"
    assert all(path.is_relative_to(cache.root) for path in (kernel.image, kernel.config, kernel.modules))
    assert not ran.exists() and not list(cache.root.rglob("preinst"))
    origin = kernel.origin
    assert (origin.kind, origin.name, origin.version) == (
        OriginKind.FILES,
        f"linux-image-{RELEASE}",
        "6.12.117-1",
    )
    assert dict(origin.sha256) == {deb.name: file_digest(deb)} and not origin.verified


def test_it_is_unpacked_once(tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    deb = make_deb(make_root(tmp_path / "root"), "linux-image")
    first = unpack(deb, cache)
    monkeypatch.setattr(archives, "unpack", None)
    assert unpack(deb, cache) == first


def test_a_kernel_in_several_packages(tmp_path: Path, cache: Cache) -> None:
    """As since 6.19: image and configuration lie beside the modules."""
    modules = Path(f"usr/lib/modules/{RELEASE}")
    write(tmp_path / "binary" / modules / "vmlinuz", "an image")
    write(tmp_path / "base" / modules / "config", CONFIG)
    make_modules(tmp_path / "modules" / modules)
    parts = [make_deb(tmp_path / name, f"linux-{name}-{RELEASE}") for name in ("binary", "base", "modules")]
    kernel = unpack("+".join(map(str, parts)), cache)
    assert kernel.image == kernel.modules / "vmlinuz" and kernel.config == kernel.modules / "config"
    assert kernel.origin.sha256.keys() == {part.name for part in parts}

    binary, base, _ = parts
    for path in cache.root.glob("unpacked-kernel/*"):
        shutil.rmtree(path)
    error = refused(f"{binary}+{base}", cache, "no modules in it .*; seen: usr/lib/modules/.*/vmlinuz")
    assert "name both: A.deb+B.deb" in error.hint
    refused(
        f"{base}+{parts[2]}", cache, f"no image in it; wanted: boot/vmlinuz-{RELEASE.replace('+', '.')} or"
    )


def test_half_a_download(tmp_path: Path, cache: Cache) -> None:
    deb = make_deb(make_root(tmp_path / "root"), "linux-image")
    os.truncate(deb, deb.stat().st_size // 2)
    error = refused(
        deb, cache, "linux-image_6.12.117-1_amd64.deb cannot be unpacked: dpkg-deb.* unexpected end of file"
    )
    assert error.hint.startswith("is it whole?")
    deb.write_text("<html>404: no such file</html>")
    refused(deb, cache, "linux-image.* cannot be unpacked: dpkg-deb: error: ")


def test_another_architecture(tmp_path: Path, cache: Cache) -> None:
    deb = make_deb(make_root(tmp_path / "root"), "linux-image", architecture="arm64")
    refused(deb, cache, "linux-image_6.12.117-1_arm64.deb is for arm64; amd64 was wanted")


def test_a_file_that_is_not_there(tmp_path: Path, cache: Cache) -> None:
    refused(tmp_path / "a.deb", cache, f"no such file: {tmp_path}/a.deb")
    assert not cache.root.exists()


@pytest.mark.parametrize(
    ("config", "release", "message"),
    [
        (CONFIG.replace("X86_64", "ARM64").replace("x86", "arm64"), RELEASE, "says: Linux/arm64"),
        (CONFIG.replace("CONFIG_KVM=m", "# CONFIG_KVM is not set"), RELEASE, "CONFIG_KVM is not set"),
        ("what is this", RELEASE, "config-.*, line 1: not a kernel option: 'what is this'"),
        (CONFIG, "5.10.0-28-amd64", "kernel 5.10.0-28-amd64 is not supported, wanted 6.1"),
    ],
)
def test_kernels_that_cannot_be_measured(
    tmp_path: Path, cache: Cache, config: str, release: str, message: str
) -> None:
    deb = make_deb(make_root(tmp_path / "root", release, config), "linux-image")
    refused(deb, cache, message)


def test_two_kernels_in_one(tmp_path: Path, cache: Cache) -> None:
    make_root(tmp_path / "root", "6.18.1")
    deb = make_deb(make_root(tmp_path / "root"), "linux-image")
    refused(deb, cache, r"one kernel was wanted, seen: 6\.12\.117\+deb13-amd64, 6\.18\.1")


def test_a_link_out_of_the_package_is_not_followed(tmp_path: Path, cache: Cache) -> None:
    root = make_root(tmp_path / "root")
    image = root / f"boot/vmlinuz-{RELEASE}"
    image.unlink()
    image.symlink_to("/etc/passwd")
    refused(make_deb(root, "linux-image"), cache, "no image in it")


# --- tarballs and rpm ------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tar.xz"])
def test_what_tar_pkg_makes(tmp_path: Path, cache: Cache, ending: str) -> None:
    root = make_root(tmp_path / "root", "6.18.0")
    write(root / "boot/vmlinux-6.18.0", "an ELF file")
    path = tmp_path / f"linux-6.18.0-x86{ending}"
    subprocess.run(["tar", "-caf", path, "-C", root, "boot", "usr"], check=True)
    kernel = unpack(path, cache)
    assert kernel.release == kernel.origin.version == "6.18.0" and kernel.origin.name == "linux-6.18.0-x86"
    assert kernel.image.name == "vmlinuz-6.18.0"
    os.truncate(path, path.stat().st_size // 3)
    shutil.rmtree(cache.root / "unpacked-kernel")
    refused(path, cache, f"linux-6.18.0-x86{ending} cannot be unpacked: ")


@pytest.mark.parametrize(
    ("name", "missing", "package"),
    [("kernel-6.18.rpm", "bsdtar", "libarchive-tools"), ("linux.tar.zst", "zstd", "zstd")],
)
def test_the_program_for_a_rare_format_is_named(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch, name: str, missing: str, package: str
) -> None:
    path = write(tmp_path / name, "content")
    monkeypatch.setattr("guestloop.ground.proc.shutil.which", lambda _, path: None)
    with pytest.raises(LabError, match=f"program not found: {missing}") as caught:
        unpack(path, cache)
    assert caught.value.hint.startswith(f"apt-get install {package}")


def test_an_rpm_is_unpacked_by_bsdtar(tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """bsdtar reads both formats alike; here a tarball stands in for the payload of the rpm."""
    program = write(tmp_path / "bin/bsdtar", '#!/bin/sh\n[ "$1" = -x ] && exec tar -x -f "$4" -C "$6"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    root = make_root(tmp_path / "root", "6.18.0")
    subprocess.run(
        ["tar", "-cf", tmp_path / "kernel-6.18.0-1.x86_64.rpm", "-C", root, "boot", "usr"], check=True
    )
    kernel = unpack(tmp_path / "kernel-6.18.0-1.x86_64.rpm", cache)
    assert (kernel.release, kernel.origin.kind) == ("6.18.0", OriginKind.FILES)


# --- installed kernels -----------------------------------------------------------------------------


def test_an_installed_kernel_stays_where_it_is(tmp_path: Path, cache: Cache) -> None:
    root = make_root(tmp_path / "machine")
    kernel = unpack(root / f"boot/vmlinuz-{RELEASE}", cache)
    assert kernel.modules == root / f"usr/lib/modules/{RELEASE}"
    assert kernel.image == root / f"boot/vmlinuz-{RELEASE}"
    assert (kernel.origin.kind, kernel.origin.version) == (OriginKind.INSTALLED, RELEASE)
    assert kernel.origin.sha256.keys() == {f"vmlinuz-{RELEASE}", f"config-{RELEASE}", "modules"}


def test_another_module_is_another_installed_kernel(tmp_path: Path, cache: Cache) -> None:
    root = make_root(tmp_path / "machine")
    argument = root / f"boot/vmlinuz-{RELEASE}"
    before = unpack(argument, cache).origin.sha256
    write(root / f"usr/lib/modules/{RELEASE}/updates/kvm-amd.ko", "another")
    assert unpack(argument, cache).origin.sha256 != before


def test_an_image_without_modules(tmp_path: Path, cache: Cache) -> None:
    image = write(tmp_path / "boot/vmlinuz-6.12.1", "an image")
    refused(
        image, cache, f"kernel 6.12.1 has no modules: no {tmp_path}/usr/lib/modules/6.12.1 or {tmp_path}/lib/"
    )
    make_modules(tmp_path / "lib/modules/6.12.1")
    refused(image, cache, "no configuration in it; wanted: boot/config-6.12.1 or lib/modules/6.12.1/config")


# --- build trees -----------------------------------------------------------------------------------


@pytest.fixture
def strips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was stripped; the modules here are none."""
    seen: list[str] = []
    monkeypatch.setattr(
        "guestloop.kernels.existing.tree.proc.run", lambda argv: seen.extend(path.name for path in argv[2:])
    )
    return seen


def test_a_build_tree_is_copied(tmp_path: Path, cache: Cache, strips: list[str]) -> None:
    built = make_tree(tmp_path / "linux")
    kernel = unpack(built, cache)
    shutil.rmtree(built)
    assert kernel.release == "6.18.0-rc3" and kernel.image.read_text() == "a bzImage"
    assert kernel.config.read_text() == CONFIG
    assert (kernel.modules / KVM / "kvm-amd.ko").read_text() == "module kvm-amd"
    assert (kernel.modules / "modules.order").is_file()
    assert (kernel.config.parent / "System.map-6.18.0-rc3").is_file()
    assert sorted(strips) == ["kvm-amd.ko", "kvm.ko"]
    assert (kernel.origin.kind, kernel.origin.name) == (OriginKind.TREE, str(built))


def test_a_tree_is_taken_as_it_is_now(tmp_path: Path, cache: Cache, strips: list[str]) -> None:
    built = make_tree(tmp_path / "linux")
    first = unpack(built, cache)
    assert unpack(built, cache) == first and len(strips) == 2
    write(built / "arch/x86/kvm/kvm.ko", "built again")
    again = unpack(built, cache)
    assert again.modules != first.modules and again.origin.sha256 != first.origin.sha256


def test_vmlinux_that_was_linked_after_bzimage(tmp_path: Path, cache: Cache, strips: list[str]) -> None:
    built = make_tree(tmp_path / "linux")
    later = (built / "arch/x86/boot/bzImage").stat().st_mtime_ns + 1_000_000_000
    os.utime(built / "vmlinux", ns=(later, later))
    assert unpack(built, cache).image.read_text() == "an ELF file"
    assert strips


def lose(name: str) -> Callable[[Path], None]:
    return lambda built: (built / name).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose(".config"), r"is no build tree of a kernel: no \.config$"),
        (lose("include/config/kernel.release"), r"no include/config/kernel\.release$"),
        (lose("modules.order"), r"no modules\.order$"),
        (lose("arch/x86/kvm/kvm.ko"), r"kvm\.ko is in modules\.order and is not there"),
        (shutil.rmtree, "no such directory: "),
        (
            lambda built: write(built / "include/config/kernel.release", "5.10.1"),
            "kernel 5.10.1 is not supported",
        ),
    ],
)
def test_directories_that_are_no_build_tree(
    tmp_path: Path, cache: Cache, strips: list[str], damage: Callable[[Path], object], message: str
) -> None:
    built = make_tree(tmp_path / "linux")
    damage(built)
    refused(built, cache, message)


def test_a_tree_without_an_image(tmp_path: Path, cache: Cache) -> None:
    built = make_tree(tmp_path / "linux")
    lose("vmlinux")(built)
    lose("arch/x86/boot/bzImage")(built)
    refused(built, cache, "has neither arch/x86/boot/bzImage nor vmlinux")


def test_a_file_is_no_build_tree(tmp_path: Path, cache: Cache) -> None:
    error = refused(write(tmp_path / "bzImage", "an image"), cache, f"not a directory: {tmp_path}/bzImage")
    assert "an image alone has no modules" in error.hint


@pytest.mark.parametrize("moment", ["while it is read", "while it is copied", "gone while it is copied"])
def test_a_build_that_goes_on_is_noticed(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    built = make_tree(tmp_path / "linux")
    module = built / "arch/x86/kvm/kvm.ko"

    def digest(path: Path) -> str:
        found = file_digest(path)
        if path == module and moment == "while it is read":
            write(module, "built anew")
        return found

    def copy(source: Path, target: Path) -> None:
        if source == module and moment == "while it is copied":
            write(module, "built anew")
        if source == module and moment == "gone while it is copied":
            module.unlink()
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(tree, "file_digest", digest)
    monkeypatch.setattr("guestloop.kernels.existing.tree.shutil.copyfile", copy)
    refused(built, cache, r"changes while it is copied: arch/x86/kvm/kvm\.ko")
