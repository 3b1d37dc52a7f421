# SPDX-License-Identifier: GPL-2.0-or-later
"""The closure of modules by kmod's rules, on composed modules and on a recorded modules.dep."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest
from elves import module

from guestloop.ground.errors import ConfigError
from guestloop.kernels.modules import (
    Listings,
    ModuleTree,
    find_modules,
    module_name,
    parse_aliases,
    parse_dependencies,
    parse_modinfo,
    read_listings,
    read_module,
)

DATA = Path(__file__).with_name("data") / "kernels"
KVM = {
    "virt/lib/irqbypass.ko": (),
    "arch/x86/kvm/kvm.ko": ("depends=irqbypass",),
    "arch/x86/kvm/kvm-amd.ko": ("license=GPL", "depends=kvm,ccp", "name=kvm_amd"),
    "drivers/crypto/ccp/ccp.ko": ("depends=",),
}


def make_tree(directory: Path, modules: dict[str, tuple[str, ...]]) -> ModuleTree:
    """Modules as a package has them, and the tree of them."""
    for name, records in modules.items():
        file = directory / "kernel" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(module(*records))
    return ModuleTree(find_modules(directory), "deb:x", directory, read_listings(directory))


def names(tree: ModuleTree, *wanted: str) -> list[str]:
    return [found.name for found in tree.closure(wanted)]


def test_each_comes_after_what_it_needs(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, KVM)
    assert names(tree, "kvm", "kvm_amd") == ["irqbypass", "kvm", "ccp", "kvm-amd"]
    assert names(tree, "kvm-amd") == ["irqbypass", "kvm", "ccp", "kvm-amd"], "- and _ are the same"
    assert names(tree) == []


def test_modules_dep_goes_before_what_a_module_says(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text((DATA / "modules.dep").read_text())
    listed = [line.partition(":")[0] for line in (DATA / "modules.dep").read_text().splitlines()]
    tree = make_tree(tmp_path, {name.removeprefix("kernel/").removesuffix(".xz"): () for name in listed})
    assert names(tree, "virtio_net") == ["failover", "net_failover", "virtio_net"]
    assert names(tree, "ext4") == ["jbd2", "mbcache", "crc16", "ext4"], (
        "as modprobe --show-depends lists them"
    )
    assert names(tree, "kvm-amd") == ["irqbypass", "kvm", "ccp", "kvm-amd"]


def test_what_is_built_in_is_not_missing(tmp_path: Path) -> None:
    tmp_path.joinpath("modules.builtin").write_text("kernel/drivers/crypto/ccp/ccp.ko\n")
    modules = {name: records for name, records in KVM.items() if "ccp.ko" not in name}
    assert names(make_tree(tmp_path, modules), "kvm-amd") == ["irqbypass", "kvm", "kvm-amd"]
    (tmp_path / "modules.builtin").unlink()
    with pytest.raises(ConfigError, match=r"deb:x: there is no module ccp, which kvm_amd needs$"):
        names(make_tree(tmp_path, modules), "kvm-amd")
    with pytest.raises(ConfigError, match=r"deb:x: there is no module virtio_pci$"):
        names(make_tree(tmp_path, modules), "virtio_pci")


def test_soft_dependencies_are_loaded_before_if_they_exist(tmp_path: Path) -> None:
    modules = {
        "fs/a.ko": ("softdep=pre: b c-d gone post: e", "softdep=pre: f"),
        **{f"fs/{name}.ko": () for name in ("b", "c_d", "e", "f")},
    }
    assert names(make_tree(tmp_path, modules), "a") == ["b", "c_d", "f", "a"]


def test_soft_dependencies_that_go_round_end(tmp_path: Path) -> None:
    modules: dict[str, tuple[str, ...]] = {"a.ko": ("softdep=pre: b",), "b.ko": ("depends=a",)}
    assert names(make_tree(tmp_path, modules), "a") == ["b", "a"]
    assert names(make_tree(tmp_path, modules), "b") == ["a", "b"]


CRC = {
    "ext4.ko": ("softdep=pre: crypto-crc32c",),
    "crc32c_generic.ko": ("alias=crc32c", "alias=crypto-crc32c"),
    "crc32c-intel.ko": ("alias=crypto-crc32c",),
    "crc32c_other.ko": ("alias=crypto-crc32",),
}


def test_a_soft_dependency_may_be_an_alias_of_several(tmp_path: Path) -> None:
    wanted = ["crc32c_generic", "crc32c-intel", "ext4"]
    assert names(make_tree(tmp_path, CRC), "ext4") == wanted, "from what the modules say"
    aliases = "# Aliases\nalias crypto-crc32c crc32c_generic\nalias pci:v* ext4\nalias x\n"
    (tmp_path / "modules.alias").write_text(aliases)
    assert names(make_tree(tmp_path, CRC), "ext4") == [wanted[0], "ext4"], (
        "from depmod's list, where there is one"
    )
    assert parse_aliases(aliases.splitlines()) == {"crypto_crc32c": ("crc32c_generic",)}


def test_an_updated_module_goes_before_the_kernels_own(tmp_path: Path) -> None:
    make_tree(tmp_path, {"arch/kvm.ko": ("version=1",), "zzz/other.ko": ()})
    (tmp_path / "updates").mkdir()
    (tmp_path / "updates/kvm.ko").write_bytes(module("version=2"))
    (tmp_path / "build").symlink_to(tmp_path)
    files = find_modules(tmp_path)
    assert files == {"kvm": tmp_path / "updates/kvm.ko", "other": tmp_path / "kernel/zzz/other.ko"}


def test_compressed_modules_are_read(tmp_path: Path) -> None:
    content = module("depends=kvm", "parm=npt:x")
    files = {"a-b.ko": content, "a-b.ko.xz": lzma.compress(content), "a-b.ko.gz": gzip.compress(content)}
    for name, packed in files.items():
        (tmp_path / name).write_bytes(packed)
        found = read_module(tmp_path / name, tmp_path, "deb:x")
        assert (found.name, found.file, found.content, found.depends) == ("a-b", "a-b.ko", content, ("kvm",))
    assert [module_name(Path(name)) for name in (*files, "a.ko.zst", "a.konf")] == [
        *("a-b", "a-b", "a-b", "a", "a.konf")
    ]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.ko", b"", r"deb:x: a\.ko begins with nothing"),
        ("a.ko", module()[:100], r"deb:x: a\.ko is cut short"),
        (
            "a.ko.xz",
            lzma.compress(module())[:60],
            r"deb:x: a\.ko\.xz cannot be decompressed: damaged xz data",
        ),
        ("a.ko.xz", module(), r"deb:x: a\.ko\.xz cannot be decompressed: no known compression"),
    ],
)
def test_a_module_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=why):
        read_module(tmp_path / name, tmp_path, "deb:x")


def test_records_of_a_module() -> None:
    assert parse_modinfo(b"alias=a\0\0odd\0alias=b=c\0name=x") == {"alias": ("a", "b=c"), "name": ("x",)}
    assert parse_modinfo(b"") == {}


def test_needs_are_listed_in_load_order() -> None:
    assert dict(parse_dependencies(["k/a-b.ko: k/c.ko.xz k/d.ko", "k/d.ko:"])) == {"a_b": ("d", "c"), "d": ()}
    assert Listings() == read_listings(Path("/nonexistent"))
