# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing of another kernel gets into one, whatever became of its build. No guest runs; kernels are built."""

from __future__ import annotations

import difflib
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from processes import is_running

from guestloop.cache import Cache
from guestloop.config import load_kernel
from guestloop.ground.errors import NotBuilt
from guestloop.ground.wait import wait_for
from guestloop.kernels import Kernel, build_kernel, find_inputs
from guestloop.sources.trees import read_file

pytestmark = pytest.mark.guest

BUILD = """\
import sys
from dataclasses import replace
from pathlib import Path
from guestloop.cache import Cache
from guestloop.config import load_kernel
from guestloop.kernels import build_kernel
build_kernel(replace(load_kernel("unpatched"), name="killed", series=(Path(sys.argv[1]),)), Cache())
"""
BUILD_S = 300.0

# Each with something that no compiler cache has seen: what leaves a trace in many objects of a build.
CHANGES: dict[str, tuple[str, Callable[[str, str], str]]] = {
    "a header": ("arch/x86/kvm/mmu.h", lambda text, new: f"enum {{ killed_{new} }};\n{text}"),
    "flags": ("arch/x86/kvm/Makefile", lambda text, new: f"ccflags-y += -DKILLED_{new}\n{text}"),
    "the release": (
        "Makefile",
        lambda text, new: text.replace("EXTRAVERSION =", f"EXTRAVERSION = -{new}", 1),
    ),
}


def patch(into: Path, name: str, old: str, new: str) -> Path:
    """A diff of one file; an empty text stands for no file."""
    before, after = (f"{prefix}/{name}" if text else "/dev/null" for prefix, text in (("a", old), ("b", new)))
    lines = difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), before, after)
    path = into / "one.patch"
    path.write_text("".join(lines))
    return path


def processes() -> Iterator[tuple[int, str, int]]:
    """Number, name and parent of all processes."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            head, _, rest = path.read_text().rpartition(")")
            number, _, name = head.partition(" (")
            yield int(number), name, int(rest.split()[1])


def compilers(above: int) -> list[int]:
    """The processes below one that compile."""
    there, below = list(processes()), {above}
    while more := {number for number, _, parent in there if parent in below} - below:
        below |= more
    return [number for number, name, _ in there if name == "cc1" and number in below]


@pytest.mark.parametrize("what", CHANGES)
def test_a_kernel_is_the_same_after_builds_that_were_killed(
    kernel: Kernel, tmp_path: Path, what: str
) -> None:
    """What differs from the reference in a text alone is built anew, and has its build ids."""
    cache, spec, token = Cache(), load_kernel("unpatched"), secrets.token_hex(8)
    name, change = CHANGES[what]
    text = (read_file(find_inputs(spec, cache).source.tree, name, cache) or b"").decode()
    series = patch(tmp_path, name, text, change(text, token))
    with subprocess.Popen([sys.executable, "-c", BUILD, series]) as builder:
        found = wait_for("a compiler", lambda: compilers(builder.pid) or None, BUILD_S)
        os.kill(builder.pid, signal.SIGKILL)
    wait_for("the compiler to be gone", lambda: None if any(map(is_running, found)) else True, BUILD_S)

    note = patch(tmp_path, "Documentation/killed.rst", "", f"{what} {token}\n")
    again = build_kernel(replace(spec, series=(note,)), cache)
    try:
        assert again.directory != kernel.directory and again.build_ids == kernel.build_ids
        assert again.image.read_bytes() == kernel.image.read_bytes()
    finally:
        shutil.rmtree(again.directory)


def test_a_source_that_is_gone_is_missed(kernel: Kernel, tmp_path: Path) -> None:
    """Its object is there from the kernel before, and the Makefile still names it."""
    cache, spec, name = Cache(), load_kernel("unpatched"), "arch/x86/kvm/debugfs.c"
    text = (read_file(find_inputs(spec, cache).source.tree, name, cache) or b"").decode()
    series = patch(tmp_path, name, text, "")
    with pytest.raises(NotBuilt, match=r"No rule to make target 'arch/x86/kvm/debugfs\.o'"):
        build_kernel(replace(spec, series=(series,)), cache)
