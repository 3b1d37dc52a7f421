# SPDX-License-Identifier: GPL-2.0-or-later
"""An unpacked kernel made bootable: the whole way on composed files, and every reason to refuse one."""

from __future__ import annotations

import dataclasses
import lzma
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from elves import BUILD_ID, bzimage, module, sized, vmlinux

from guestloop.cache import Cache
from guestloop.ground.errors import ConfigError
from guestloop.kernels import kconfig
from guestloop.kernels.existing.bootable import make_bootable
from guestloop.kernels.existing.requirements import (
    INITRAMFS,
    NEEDS,
    ROOT_DRIVERS,
    check_options,
    check_release,
)
from guestloop.kernels.origin import Origin, OriginKind, Unpacked

RELEASE = "6.12.9-cloud"
KVM = """
static const char info[] __attribute__((section(".modinfo"), used)) = "depends=irqbypass";
int kvm_make_all_cpus_request(void *kvm, unsigned int req);
void kvm_flush_remote_tlbs(void *kvm) { kvm_make_all_cpus_request(kvm, 0x300); }
"""
OPTIONS = {
    **{need.option: "y" for need in (*NEEDS, INITRAMFS)},
    **{
        "CC_VERSION_TEXT": '"gcc-14 (Debian 14.2.0) 14.2.0"',
        "MODULES": "y",
        "KVM": "m",
        "KVM_AMD": "m",
        "KVM_INTEL": "m",
    },
}
CLOUD = {**OPTIONS, "VIRTIO_BLK": "m", "VIRTIO_NET": "m"}
MODULES = {
    "virt/lib/irqbypass.ko": (),
    "arch/x86/kvm/kvm-amd.ko": ("depends=kvm,ccp",),
    "arch/x86/kvm/kvm-intel.ko": ("depends=kvm",),
    "drivers/crypto/ccp.ko": (),
    "drivers/virtio_blk.ko": (),
    "drivers/virtio_net.ko": ("depends=net_failover",),
    "drivers/net_failover.ko": (),
}


@pytest.fixture(scope="module")
def kvm(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A kvm.ko that requests flushes."""
    file = tmp_path_factory.mktemp("kvm") / "kvm.ko"
    flags = ["-r", "-nostdlib", "-O2", "-fno-pic", "-g", "-Wl,--build-id=sha1"]
    subprocess.run(["gcc", *flags, "-x", "c", "-o", file, "-"], input=KVM.encode(), check=True)
    return file.read_bytes()


def unpack(root: Path, kvm: bytes, options: Mapping[str, str]) -> Unpacked:
    """A package's files, as the contents of a bzImage, of modules and of a configuration."""
    modules = root / "lib/modules" / RELEASE
    for name, records in MODULES.items():
        file = modules / "kernel" / f"{name}.xz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(lzma.compress(module(*records)))
    (modules / "kernel/arch/x86/kvm/kvm.ko").write_bytes(kvm)
    image, config = root / "vmlinuz", root / "config"
    image.write_bytes(bzimage(sized(lzma.compress(vmlinux()), vmlinux())))
    config.write_text(kconfig.render(options))
    origin = Origin(OriginKind.FILES, "a.deb", "linux-image-cloud", "6.12.9-1", {"a.deb": "ab" * 32})
    return Unpacked(RELEASE, image, modules, config, origin)


@pytest.fixture
def unpacked(tmp_path: Path, kvm: bytes) -> Unpacked:
    return unpack(tmp_path / "unpacked", kvm, CLOUD)


def test_the_whole_way(unpacked: Unpacked, tmp_path: Path) -> None:
    kernel = make_bootable(unpacked, "A", Cache(tmp_path / "cache"))
    assert (kernel.name, kernel.release, kernel.base) == ("A", RELEASE, "linux-image-cloud 6.12.9-1")
    assert kernel.image.read_bytes() == vmlinux()
    assert list(kernel.modules) == ["irqbypass", "kvm", "ccp", "kvm-amd", "kvm-intel"]
    assert kernel.modules["ccp"].read_bytes() == module(), "decompressed"
    assert {kernel.build_ids[name] for name in ("vmlinux", "irqbypass", "ccp")} == {BUILD_ID.hex()}
    assert kernel.tlb_flush_request == 0x300
    assert kernel.compiler == "gcc-14 (Debian 14.2.0) 14.2.0"
    assert kernel.flush_callers["kvm_make_all_cpus_request"] == ("kvm_flush_remote_tlbs",)
    assert (kernel.directory / "config").read_text() == unpacked.config.read_text()
    assert (
        kernel.modules["kvm"].stat().st_size
        < (unpacked.modules / "kernel/arch/x86/kvm/kvm.ko").stat().st_size
    )

    assert kernel.initramfs
    archive = subprocess.run(
        ["cpio", "-i", "--to-stdout", "--quiet", "modules/order"],
        input=kernel.initramfs.read_bytes(),
        capture_output=True,
        check=True,
    )
    assert archive.stdout.decode().split() == ["virtio_blk.ko", "net_failover.ko", "virtio_net.ko"]
    assert sorted(path.name for path in kernel.directory.iterdir()) == [
        *("config", "initramfs.cpio", "inputs.json", "kernel.json", "modules", "vmlinux")
    ]


def test_the_same_files_are_not_made_again(unpacked: Unpacked, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    first = make_bootable(unpacked, "A", cache)
    unpacked.image.unlink()
    origin = dataclasses.replace(unpacked.origin, argument="deb:newest", sha256={"b.deb": "ab" * 32})
    again = make_bootable(dataclasses.replace(unpacked, origin=origin), "B", cache)
    assert again == dataclasses.replace(first, name="B")
    other = dataclasses.replace(unpacked, origin=dataclasses.replace(origin, sha256={"b.deb": "cd" * 32}))
    with pytest.raises(FileNotFoundError):
        make_bootable(other, "C", cache)
    with pytest.raises(ValueError, match="nothing identifies its content"):
        make_bootable(
            dataclasses.replace(unpacked, origin=dataclasses.replace(origin, sha256={})), "D", cache
        )


def test_no_initramfs_where_the_root_is_found_without(tmp_path: Path, kvm: bytes) -> None:
    options = {**OPTIONS, "BLK_DEV_INITRD": "n", "KVM_INTEL": "n"}
    kernel = make_bootable(unpack(tmp_path / "unpacked", kvm, options), "A", Cache(tmp_path / "cache"))
    assert kernel.initramfs is None
    assert list(kernel.modules) == ["irqbypass", "kvm", "ccp", "kvm-amd"]
    kernel.require_module("kvm_amd")
    with pytest.raises(
        ConfigError, match=r"A: 6\.12\.9-cloud has no module kvm_intel, .*CPU needs; it has: irqb"
    ):
        kernel.require_module("kvm_intel")


def test_a_kernel_without_its_modules_leaves_nothing(unpacked: Unpacked, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with pytest.raises(ConfigError, match=r"^--kernels a\.deb: there is no module kvm$"):
        make_bootable(dataclasses.replace(unpacked, modules=tmp_path / "empty"), "A", cache)
    assert list((cache.root / "kernel").iterdir()) == []


# --- what is refused before anything runs ------------------------------------------------------------


@pytest.mark.parametrize(
    "release", ["6.1.0-50-amd64", "6.1", "6.12.117+deb13-cloud-amd64", "7.0.0-rc1", "10.0.1"]
)
def test_releases_that_are_supported(release: str) -> None:
    check_release(release, "x")


@pytest.mark.parametrize("release", ["5.10.0-30-amd64", "6.0.19", "4.19", "odd", ""])
def test_releases_that_are_not(release: str) -> None:
    with pytest.raises(ConfigError, match=rf"^x: kernel {release} is not supported, wanted 6\.1 or later"):
        check_release(release, "x")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"KVM": "n"}, "the kernel has no KVM: CONFIG_KVM is not set"),
        ({"KVM": "y"}, r"KVM is built into the kernel \(CONFIG_KVM=y\), wanted a module"),
        ({"KVM_INTEL": "y"}, r"KVM is built into the kernel \(CONFIG_KVM_INTEL=y\), wanted a module"),
        (
            {"KVM_AMD": "n", "KVM_INTEL": "n"},
            "KVM for no vendor: neither of CONFIG_KVM_AMD, CONFIG_KVM_INTEL",
        ),
        ({"MODULES": "n"}, "no loadable modules: CONFIG_MODULES is not set"),
        (
            {"HIST_TRIGGERS": "n"},
            r"lacks .* CONFIG_HIST_TRIGGERS \(the histogram that counts flush requests\)$",
        ),
        ({"DEBUG_FS": "n", "KPROBE_EVENTS": "n"}, r"CONFIG_KPROBE_EVENTS \(.*\); CONFIG_DEBUG_FS \(.*\)$"),
        ({"MODULE_UNLOAD": "m"}, "CONFIG_MODULE_UNLOAD"),
        ({"EXT4_FS": "n"}, "CONFIG_EXT4_FS"),
        (
            {"EXT4_FS": "m", "BLK_DEV_INITRD": "n"},
            r"CONFIG_BLK_DEV_INITRD \(drivers of L1's root are modules",
        ),
    ],
)
def test_a_configuration_that_cannot_be_measured(changed: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=f"^x: .*{why}"):
        check_options({**OPTIONS, **changed}, "x")


@pytest.mark.parametrize("changed", [{}, dict.fromkeys(ROOT_DRIVERS, "m"), {"KVM_AMD": "n"}])
def test_configurations_that_can(changed: dict[str, str]) -> None:
    check_options({**OPTIONS, **changed}, "x")


def test_options_that_are_not_there_are_not_set() -> None:
    with pytest.raises(ConfigError, match="the kernel has no KVM"):
        check_options({}, "x")


def test_the_configuration_that_guestloop_builds_has_what_it_asks_of_others() -> None:
    recorded = Path(__file__).with_name("data") / "kernels/base-6.12.config"
    check_options(kconfig.parse(recorded.read_text()), "x")
