# SPDX-License-Identifier: GPL-2.0-or-later
"""Small stand-ins for kernels as packages lay them out, for the tests of what unpacks them."""

from __future__ import annotations

import subprocess
from pathlib import Path

RELEASE = "6.12.117+deb13-amd64"
CONFIG = """\
# Linux/x86 6.12.117 Kernel Configuration
CONFIG_X86_64=y
CONFIG_MODULES=y
CONFIG_KVM=m
CONFIG_KVM_AMD=m
# CONFIG_KVM_INTEL is not set
"""
KVM = "kernel/arch/x86/kvm"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def make_root(root: Path, release: str = RELEASE, config: str = CONFIG) -> Path:
    """Image, configuration and modules below a root, as Debian's linux-image of 6.12 has them."""
    write(root / f"boot/vmlinuz-{release}", "an image")
    write(root / f"boot/config-{release}", config)
    return make_modules(root / f"usr/lib/modules/{release}").parents[3]


def make_modules(modules: Path) -> Path:
    for name in ("kvm", "kvm-amd"):
        write(modules / KVM / f"{name}.ko.xz", f"module {name}")
    return modules


def make_deb(
    root: Path, name: str, version: str = "6.12.117-1", architecture: str = "amd64", script: str = ""
) -> Path:
    """A package with the content of a root beside it. ``script`` is run by whoever installs it."""
    control = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
    write(
        root / "DEBIAN/control", f"{control}Maintainer: nobody <nobody@one.example>\nDescription: a kernel\n"
    )
    if script:
        write(root / "DEBIAN/preinst", f"#!/bin/sh\n{script}\n").chmod(0o755)
    deb = root.with_name(f"{name}_{version}_{architecture}.deb")
    # Stored, not compressed: compression takes most of the time.
    argv: list[str | Path] = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", root, deb]
    subprocess.run(argv, check=True, capture_output=True)
    return deb


def make_tree(directory: Path, release: str = "6.18.0-rc3", config: str = CONFIG) -> Path:
    """What a build leaves in its output directory. The modules are real files of no ELF format."""
    write(directory / ".config", config)
    write(directory / "include/config/kernel.release", f"{release}\n")
    write(directory / "modules.order", "arch/x86/kvm/kvm.o\narch/x86/kvm/kvm-amd.o\n")
    write(directory / "vmlinux", "an ELF file")
    write(directory / "arch/x86/boot/bzImage", "a bzImage")
    write(directory / "System.map", "ffffffff81000000 T _text\n")
    for name in ("kvm", "kvm-amd"):
        write(directory / f"arch/x86/kvm/{name}.ko", f"module {name}")
    return directory
