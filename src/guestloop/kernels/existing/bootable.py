# SPDX-License-Identifier: GPL-2.0-or-later
"""Make an unpacked kernel one that can be booted as L1. Nothing of it is run, nothing is compiled of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from guestloop.cache import Cache, content_key
from guestloop.ground.log import step
from guestloop.images.initramfs import describe_initramfs, write_initramfs
from guestloop.kernels import artifacts, kconfig
from guestloop.kernels.artifacts import Kernel
from guestloop.kernels.existing import requirements
from guestloop.kernels.existing.image import make_boot_image
from guestloop.kernels.modules import ModuleTree, find_modules, read_listings
from guestloop.kernels.origin import Unpacked

# Part of every key. Increase it when this package makes something else of the same files.
RECIPE = 2
EXPECT_S = 5.0


def make_bootable(unpacked: Unpacked, name: str, cache: Cache) -> Kernel:
    """Return an unpacked kernel as one that can be booted, from the cache or made now.

    The key is made of the digests in its origin. Raises ConfigError for a kernel that cannot be booted or
    measured, with the reason: too old, no KVM that can be loaded, options that are missing, a boot image or
    a module that cannot be read or is not there.
    """
    if not unpacked.origin.sha256:
        raise ValueError(f"{unpacked.image}: nothing identifies its content: its origin has no digests")
    inputs = {
        "recipe": RECIPE,
        "existing": sorted(unpacked.origin.sha256.values()),
        "release": unpacked.release,
        "initramfs": describe_initramfs(),
    }
    directory = cache.obtain(artifacts.KIND, inputs, lambda into: _make(unpacked, name, into))
    return artifacts.read_kernel(name, content_key(inputs), directory)


def _make(unpacked: Unpacked, name: str, into: Path) -> None:
    what = f"--kernels {unpacked.origin.argument}"
    requirements.check_release(unpacked.release, what)
    options = kconfig.parse(unpacked.config.read_text(errors="replace"), f"{what}: {unpacked.config.name}")
    requirements.check_options(options, what)
    with step(f"prepare kernel {name} ({unpacked.release})", expect_s=EXPECT_S):
        _fill(unpacked, options, what, into)


def _fill(unpacked: Unpacked, options: Mapping[str, str], what: str, into: Path) -> None:
    origin = unpacked.origin
    files, listings = find_modules(unpacked.modules), read_listings(unpacked.modules)
    tree = ModuleTree(files, what, into, listings)
    kvm = tree.closure((artifacts.KVM, *requirements.modular(options, requirements.VENDORS)))
    drivers = tree.closure(requirements.modular(options, requirements.ROOT_DRIVERS))
    boot = make_boot_image(unpacked.image, into, what)
    (into / "modules").mkdir()
    for module in kvm:
        artifacts.copy_module(module, into)
    if drivers:
        write_initramfs({module.file: module.content for module in drivers}, into / artifacts.INITRAMFS)
    shutil.copyfile(unpacked.config, into / "config")
    facts = {
        "release": unpacked.release,
        "base": f"{origin.name} {origin.version}".strip(),
        "series": [],
        "provenance": {
            "origin": origin.kind,
            "sha256": dict(origin.sha256),
            "verified": origin.verified,
            "toolchain": {"compiler": options.get("CC_VERSION_TEXT", "").strip('"')},
        },
    }
    artifacts.describe(into, boot.path, boot.build_id, facts, kvm)
