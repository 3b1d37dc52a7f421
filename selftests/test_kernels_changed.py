# SPDX-License-Identifier: GPL-2.0-or-later
"""Which functions differ between two builds: of modules with relocations, and of a kernel that is linked."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from objects import ABSOLUTE, PC32, PLT32, POINTER, RET, Part, calls, jumps_to, kernel_files, module_file

from guestloop.cache import Cache
from guestloop.ground.errors import ConfigError
from guestloop.kernels.artifacts import Kernel
from guestloop.kernels.binary import read_module, read_vmlinux
from guestloop.kernels.changed import Difference, compare_binaries, find_changes
from guestloop.results.changes import ChangedFunction, Changes

AT_LOAD = "it runs when its module is loaded or removed, or at boot"
Differ = Callable[[tuple[Part, ...], tuple[Part, ...]], Difference]

WALK = Part("walk", *calls("kvm_lock", "zap"))
ZAP = Part("zap", b"\x31\xc0" + RET)
AGE = Part("age", b"\xb8\x01\0\0\0" + RET)
LONGER = Part("new_helper", b"\x0f\x0b" * 40 + RET)


def of_modules(tmp_path: Path, a: tuple[Part, ...], b: tuple[Part, ...]) -> Difference:
    files = tmp_path / "a.ko", tmp_path / "b.ko"
    for file, parts in zip(files, (a, b), strict=True):
        file.write_bytes(module_file(*parts))
    return compare_binaries(*map(read_module, files))


def of_kernels(tmp_path: Path, a: tuple[Part, ...], b: tuple[Part, ...]) -> Difference:
    read = [read_vmlinux(*kernel_files(tmp_path / name, *parts)) for name, parts in (("a", a), ("b", b))]
    return compare_binaries(*read)


@pytest.fixture(params=[of_modules, of_kernels], ids=["modules", "kernels"])
def differ(request: pytest.FixtureRequest, tmp_path: Path) -> Differ:
    return partial(request.param, tmp_path)


LOCK = Part("kvm_lock", RET)


def functions(found: Difference) -> list[str]:
    return list(found.functions)


def test_the_same_build_differs_in_nothing(differ: Differ) -> None:
    parts = (WALK, ZAP, AGE, LOCK)
    assert differ(parts, parts) == Difference({}, ())


def test_an_instruction_that_has_changed(differ: Differ) -> None:
    found = differ((WALK, ZAP, AGE, LOCK), (WALK, ZAP, replace(AGE, content=b"\xb8\x02\0\0\0" + RET), LOCK))
    assert functions(found) == ["age"]


def test_what_has_only_moved_is_the_same(differ: Differ) -> None:
    found = differ((WALK, ZAP, AGE, LOCK), (LONGER, AGE, LOCK, WALK, ZAP))
    assert functions(found) == ["new_helper"], "which was added"
    assert found.functions["new_helper"][0] == ()


def test_a_function_that_was_removed_has_changed(differ: Differ) -> None:
    assert functions(differ((WALK, ZAP, AGE, LOCK), (WALK, ZAP, LOCK))) == ["age"]


def test_what_is_inlined_changes_its_callers(differ: Differ) -> None:
    inlined = Part("walk", b"\x31\xc0" + calls("kvm_lock")[0], {3: (PLT32, "kvm_lock", -4)})
    assert functions(differ((WALK, ZAP, AGE, LOCK), (inlined, ZAP, AGE, LOCK))) == ["walk"]


def test_the_same_bytes_may_call_another_function(differ: Differ) -> None:
    code, refers = calls("age")
    found = differ((Part("walk", *calls("zap")), ZAP, AGE), (Part("walk", code, refers), AGE, ZAP))
    assert functions(found) == ["walk"]


def test_a_resolved_call_to_another_function_is_seen(tmp_path: Path) -> None:
    """The assembler resolves calls within a file: both are 16 bytes on, where another function is now."""
    caller = Part("walk", jumps_to(11))
    age = replace(AGE, content=ZAP.content + b"\x90" * 3)
    zap = replace(ZAP, content=ZAP.content + b"\x90" * 3)
    found = of_modules(tmp_path, (caller, zap, age), (caller, age, zap))
    assert functions(found) == ["walk"]


def test_a_resolved_call_to_what_has_moved_is_the_same(tmp_path: Path) -> None:
    a = (Part("walk", jumps_to(11)), ZAP)
    b = (Part("walk", jumps_to(11 + 96)), LONGER, ZAP)
    assert functions(of_modules(tmp_path, a, b)) == ["new_helper"]


def test_a_constant_does_not_pass_for_a_displacement(tmp_path: Path) -> None:
    a = (Part("walk", b"\xb8" + struct.pack("<i", 11) + RET), ZAP)
    b = (Part("walk", b"\xb8" + struct.pack("<i", 11 + 96) + RET), LONGER, ZAP)
    assert functions(of_modules(tmp_path, a, b)) == ["new_helper", "walk"]


def test_pieces_of_a_function_and_their_numbers_are_one(tmp_path: Path) -> None:
    parts = (Part("zap.constprop.0", RET), Part("zap.cold", b"\x0f\x0b", section=".text.unlikely"))
    renumbered = (Part("zap.constprop.3", RET), parts[1])
    assert of_modules(tmp_path, parts, renumbered) == Difference({}, ())
    found = of_modules(tmp_path, parts, (parts[0], replace(parts[1], content=b"\xcc\x0b")))
    ((of_a, of_b),) = found.functions.values()
    assert functions(found) == ["zap"]
    assert [[piece.symbol for piece in of] for of in (of_a, of_b)] == [["zap.constprop.0", "zap.cold"]] * 2


def refers_to(section: str, offset: int) -> Part:
    return Part("walk", b"\x48\xc7\xc7" + bytes(4) + RET, {3: (ABSOLUTE, section, offset)})


TEXTS = ".rodata.str1.1"


def test_strings_are_compared_and_not_where_they_are(tmp_path: Path) -> None:
    a = (refers_to(TEXTS, 0), Part(".L", b"kvm\0", section=TEXTS))
    moved = (refers_to(TEXTS, 4), Part(".L", b"new\0kvm\0", section=TEXTS))
    other = (refers_to(TEXTS, 0), Part(".L", b"KVM\0", section=TEXTS))
    assert functions(of_modules(tmp_path, a, moved)) == []
    assert functions(of_modules(tmp_path, a, other)) == ["walk"]


def test_data_is_compared_by_symbol(tmp_path: Path) -> None:
    ops = Part("ops", bytes(8), {0: (ABSOLUTE, "zap", 0)}, ".data")
    a = (ZAP, AGE, ops, Part("limit", b"\x07", section=".data"))
    moved = (LONGER, *a[:2], Part("__key.7", b"\x01" * 90, section=".data"), *a[2:])
    assert of_modules(tmp_path, a, moved).data == (), "what is added can only be reached by what has changed"
    other = (*a[:2], replace(ops, refers={0: (ABSOLUTE, "age", 0)}), replace(a[3], content=b"\x08"))
    assert of_modules(tmp_path, a, other) == Difference({}, ("limit", "ops"))


def test_a_new_parameter_of_a_module_is_changed_data(tmp_path: Path) -> None:
    added = Part("__param_seeded", b"\x01" * 8, section="__param")
    assert of_modules(tmp_path, (ZAP,), (ZAP, added)).data == ("__param_seeded",)


def test_a_variable_without_a_size_does_not_name_its_neighbour(tmp_path: Path) -> None:
    """A key of lockdep has no bytes without lockdep: it stands where something else begins."""
    key, other = (
        Part(name, content, section=".bss") for name, content in (("__key.1", b""), ("flag", b"\0"))
    )
    walk = refers_to("__key.1", 0)
    assert (
        functions(of_modules(tmp_path, (walk, key, other), (walk, other, replace(key, name="__key.2")))) == []
    )


def warning(line: int, flags: int = 1, at: int = 0) -> Part:
    content = struct.pack("<iiHH", 0, 0, line, flags)
    refers = {0: (PC32, "walk", at), 4: (PC32, "file", 0)}
    return Part(f"bug{line}", content, refers, "__bug_table")


FILE = Part("file", b"mmu.c\0", section=TEXTS)
WARNS = Part("walk", b"\x0f\x0b\x0f\x0b" + RET)


def test_the_line_of_a_warning_is_no_difference_its_kind_is(tmp_path: Path) -> None:
    a = (WARNS, FILE, warning(10), warning(11, at=2))
    assert functions(of_modules(tmp_path, a, (WARNS, FILE, warning(10), warning(99, at=2)))) == []
    assert functions(of_modules(tmp_path, a, (WARNS, FILE, warning(10), warning(11, flags=3, at=2)))) == [
        "walk"
    ]
    assert functions(of_modules(tmp_path, a, a[:3])) == ["walk"]


def alternative(code: bytes) -> tuple[Part, ...]:
    record = struct.pack("<iiIBB", 0, 0, 5, 2, len(code))
    refers = {0: (PC32, "walk", 0), 4: (PC32, ".altinstr_replacement", 0)}
    return (
        Part("walk", b"\x66\x90" + RET),
        Part(".L", code, section=".altinstr_replacement"),
        Part(".L", record, refers, ".altinstructions"),
    )


def test_code_that_replaces_other_code_is_part_of_its_function(tmp_path: Path) -> None:
    assert functions(of_modules(tmp_path, alternative(b"\x0f\x01"), alternative(b"\x0f\x01"))) == []
    assert functions(of_modules(tmp_path, alternative(b"\x0f\x01"), alternative(b"\x0f\x02"))) == ["walk"]


SWITCH = b"\xff\x24\xf5" + bytes(4) + b"\x31\xc0" + RET + b"\x31\xdb" + RET


ANCHOR = Part("anchor", bytes(range(16)), section=".rodata")


def switching(name: str, *labels: int, at: int = 16) -> tuple[Part, Part]:
    """A function with a jump table of these labels. The table has no symbol, it is behind ANCHOR."""
    code = Part(name, SWITCH, {3: (ABSOLUTE, "anchor", at)})
    pointers = {8 * number: (POINTER, name, label) for number, label in enumerate(labels)}
    return code, Part(f".table of {name}", bytes(8 * len(labels)), pointers, ".rodata")


def test_a_jump_table_is_part_of_its_function(tmp_path: Path) -> None:
    a = ANCHOR, *switching("walk", 7, 10, 7)
    assert functions(of_modules(tmp_path, a, a)) == []
    assert functions(of_modules(tmp_path, a, (ANCHOR, *switching("walk", 7, 10, 10)))) == ["walk"]
    assert functions(of_modules(tmp_path, a, (ANCHOR, *switching("walk", 7, 10)))) == ["walk"]


def test_a_jump_table_that_has_moved_is_the_same(differ: Differ) -> None:
    walk = partial(switching, "walk", 7, 10)
    a = ANCHOR, *switching("other", 7, 10), *walk(at=32)
    b = ANCHOR, *switching("other", 7, 10, 7), *walk(at=48)
    found = differ(a, b)
    told = {("other",): (), (): ("anchor",)}  # in a kernel it is data behind the last symbol
    assert found.data == told[tuple(found.functions)]


def test_a_constant_without_a_symbol_is_compared_by_content(tmp_path: Path) -> None:
    def reads(*constants: bytes) -> tuple[Part, ...]:
        walk = refers_to(".rodata", 16 * (len(constants) - 1))
        return walk, *(Part(f".L{one!r}", one.ljust(16, b"\1"), section=".rodata") for one in constants)

    one, two, three = b"one", b"two", b"three"
    first = Part("first", b"\x48\xc7\xc7" + bytes(4) + RET, {3: (ABSOLUTE, ".rodata", 0)})
    second = replace(first, refers={3: (ABSOLUTE, ".rodata", 16)})
    a = (*reads(one, two), first)
    assert functions(of_modules(tmp_path, a, (*reads(three, one, two), second))) == []
    assert functions(of_modules(tmp_path, a, (*reads(one, three), first))) == ["walk"]


def in_text(symbol: str) -> Part:
    """Takes the address of what is in memory, as an operand relative to %rip."""
    return Part("walk", b"\x48\x8b\x05" + bytes(4) + RET, {3: (PC32, symbol, -4)})


def test_equal_bytes_of_a_kernel_may_read_other_data(tmp_path: Path) -> None:
    one, two = (Part(name, name.encode() * 16, section=".data") for name in ("a", "b"))
    assert functions(of_kernels(tmp_path, (in_text("a"), one, two), (in_text("b"), two, one))) == ["walk"]
    assert functions(of_kernels(tmp_path, (in_text("a"), one, two), (in_text("a"), two, one))) == []


def test_equal_bytes_of_a_kernel_may_take_another_address(tmp_path: Path) -> None:
    one, two = Part("one", b"\x31\xc0" + RET), Part("two", b"\x31\xdb" + RET)
    a, b = refers_to("one", 0), refers_to("two", 0)
    assert functions(of_kernels(tmp_path, (a, one, two), (b, two, one))) == ["walk"]
    assert functions(of_kernels(tmp_path, (a, one, two), (a, two, one))) == []


def test_a_module_without_symbols(tmp_path: Path) -> None:
    file = tmp_path / "kvm.ko"
    file.write_bytes(kernel_files(tmp_path, ZAP)[0].read_bytes())
    with pytest.raises(ConfigError, match=r"kvm\.ko: no symbols"):
        read_module(file)


def kernel(directory: Path, build_id: str, *parts: Part, image: str = "same") -> Kernel:
    """A kernel as in the cache, of which only what is compared is there."""
    directory.mkdir()
    modules = {"kvm-amd": directory / "kvm-amd.ko"}
    modules["kvm-amd"].write_bytes(module_file(*parts))
    return Kernel(
        name=build_id,
        release="6.12",
        base="",
        series=(),
        sha256=build_id,
        directory=directory,
        image=directory / "vmlinux",
        initramfs=None,
        modules=modules,
        build_ids={"vmlinux": image, "kvm-amd": build_id},
        tlb_flush_request=0,
        flush_callers={},
        compiler="",
    )


def test_the_changes_of_a_kernel_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guestloop.cache.store._sync_tree", lambda path: None)
    cache = Cache(tmp_path / "cache")
    setup = Part("setup", RET, section=".init.text")
    cold = Part("age.cold", b"\x0f\x0b", section=".text.unlikely")
    reference = kernel(tmp_path / "a", "aa", ZAP, AGE, setup, cold)
    candidate = kernel(
        tmp_path / "b",
        "bb",
        replace(ZAP, content=b"\x90" + RET),
        AGE,
        replace(setup, content=b"\x90\xc3"),
        replace(cold, content=b"\xcc\xcc"),
        Part("late.part.0", RET),
        Part("limit", b"\x07", section="__param"),
    )
    expected = Changes(
        (
            ChangedFunction("kvm_amd", "age", ("age",), ("age",)),
            ChangedFunction("kvm_amd", "late", (), ("late.part.0",)),
            ChangedFunction("kvm_amd", "setup", ("setup",), ("setup",), AT_LOAD),
            ChangedFunction("kvm_amd", "zap", ("zap",), ("zap",)),
        ),
        ("kvm_amd:limit",),
    )  # fmt: skip
    assert find_changes(reference, candidate, cache) == expected
    for file in tmp_path.glob("?/*.ko"):
        file.unlink()
    assert find_changes(reference, candidate, cache) == expected
    assert find_changes(reference, reference, cache) == Changes()


def test_a_name_that_is_not_unique_cannot_be_probed(tmp_path: Path) -> None:
    a = kernel(tmp_path / "a", "aa", ZAP, replace(ZAP, section=".text.other"))
    b = kernel(tmp_path / "b", "bb", ZAP, replace(ZAP, section=".text.other", content=b"\x90" + RET))
    (found,) = find_changes(a, b, Cache(tmp_path / "cache")).functions
    assert found.unprobeable == "several functions of its module have its name"


def test_strings_of_a_kernel_are_among_its_data(tmp_path: Path) -> None:
    data = Part("limits", b"\x07\0\0\0kvm\0", section=".rodata")
    more = replace(data, content=b"\x07\0\0\0new\0kvm\0")
    other = replace(data, content=b"\x07\0\0\0KVM\0")
    a, moved, changed = (
        (Part("walk", b"\x48\xc7\xc7" + bytes(4) + RET, {3: (ABSOLUTE, "limits", at)}), part)
        for part, at in ((data, 4), (more, 8), (other, 4))
    )
    assert functions(of_kernels(tmp_path, a, moved)) == []
    assert of_kernels(tmp_path, a, changed).data == ("limits",), "its place is the same, what is there is not"


def test_a_module_that_only_one_build_has(tmp_path: Path) -> None:
    one = kernel(tmp_path / "a", "aa", ZAP)
    other = replace(one, build_ids={"vmlinux": "same"})
    found = find_changes(one, other, Cache(tmp_path / "cache"))
    assert found == Changes((), ("kvm_amd: only one of the builds has it",))


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (b"\x8b\x05", b""),  # mov limit, %eax
        (b"\x80\x3d", b"\x01"),  # cmpb $1, limit
        (b"\x66\x81\x3d", b"\x01\x02"),  # cmpw
        (b"\x66\x41\xc7\x05", b"\x01\x02"),  # movw
        (b"\xc7\x05", b"\x01\x02\x03\x04"),  # movl
        (b"\xf6\x05", b"\x01"),  # testb
        (b"\xf7\x15", b""),  # notl
        (b"\x0f\xba\x2d", b"\x07"),  # btsl
    ],
)
def test_a_displacement_counts_from_behind_the_immediate(
    tmp_path: Path, before: bytes, behind: bytes
) -> None:
    """So what it leads to is found at the edge of a variable too, where another one has gone."""
    code, at = before + bytes(4) + behind + RET, len(before)
    refers = {at: (PC32, ".data", -4 - len(behind))}
    walk = Part("walk", code, refers)
    limit, other = (Part(name, bytes(16), section=".data") for name in ("limit", "other"))
    moved = replace(walk, refers={at: (PC32, ".data", 12 - len(behind))})
    assert functions(of_modules(tmp_path, (walk, limit, other), (moved, other, limit))) == []
    assert functions(of_modules(tmp_path, (walk, limit, other), (walk, other, limit))) == ["walk"]


def test_a_short_jump_to_another_function(tmp_path: Path) -> None:
    def jump(distance: int) -> Part:
        return Part("walk", bytes([0xEB, distance]) + RET)

    between = Part("new_helper", bytes([0x90]) * 15 + RET)
    assert functions(of_modules(tmp_path, (jump(14), ZAP), (jump(30), between, ZAP))) == ["new_helper"]
    assert functions(of_modules(tmp_path, (jump(14), ZAP), (jump(31), between, ZAP))) == [
        "new_helper",
        "walk",
    ]
