# SPDX-License-Identifier: GPL-2.0-or-later
"""L2's payload, run as an ordinary process on a terminal: the real protocol without a guest."""

import os
import subprocess
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from guestloop.agent.kvm import build_id
from guestloop.images import l2
from guestloop.images.compiler import compile_program

ANSWER_S = 20


@dataclass
class Payload:
    """The near end of the terminal."""

    lines: Iterator[str]
    descriptor: int
    process: subprocess.Popen[bytes]
    unasked: list[str] = field(default_factory=list)

    def ask(self, command: str) -> str:
        os.write(self.descriptor, f"{command}\n".encode())
        return self.answer()

    def answer(self) -> str:
        for line in self.lines:
            if not line.startswith(("progress ", "bad ")):
                return line
            self.unasked.append(line)
        raise AssertionError("the payload ended")


def values(line: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in line.split()[1:])


def read_lines(descriptor: int) -> Iterator[str]:
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        rest = b""
        while data := file.read(4096):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line.decode()


@pytest.fixture
def payload(program: Path) -> Iterator[Payload]:
    with running(program) as found:
        yield found


@contextmanager
def running(program: Path, *arguments: str) -> Iterator[Payload]:
    near, far = os.openpty()
    tty.setraw(far)
    argv = ["timeout", "-k", "1", f"{ANSWER_S}", f"{program}", os.ttyname(far), *arguments]
    process = subprocess.Popen(argv)
    try:
        found = Payload(read_lines(near), near, process)
        assert found.answer().startswith("hello version=1 vcpus=")
        yield found
    finally:
        process.terminate()
        process.wait()
        os.close(far)
        os.close(near)


def test_hello_names_the_kernel_that_runs(payload: Payload) -> None:
    """As the agent reads it for L1; empty where a kernel does not show its notes."""
    assert values(payload.ask("hello"))["build_id"] == build_id("vmlinux")


def per_vcpu(line: str) -> list[int]:
    """The visits of each vCPU in a report."""
    return [int(count) for name, count in values(line).items() if name.startswith("v")]


@pytest.mark.parametrize(
    "load",
    ["read-shared", "read-own", "write-shared", "hot", "sweep", "once", "chain", "mix", "linger"],
)
def test_a_load_from_beginning_to_end(payload: Payload, load: str) -> None:
    ready = payload.ask(f"load name={load} mib=2 seed=7 crews=2")
    assert ready.startswith("ready ") and values(ready)["pages"] == "512"
    assert payload.ask("start report_ms=50") == "running"
    while not payload.unasked or 0 in per_vcpu(payload.unasked[-1]):  # a busy machine lets one of them wait
        payload.unasked.append(next(payload.lines))
    assert payload.unasked[0].startswith("progress t_ms=")
    stopped = payload.ask("stop")
    assert int(values(stopped)["reads"]) == sum(per_vcpu(stopped))
    writes, visits = int(values(stopped)["writes"]), int(values(stopped)["reads"])
    if load in ("write-shared", "sweep", "chain"):
        assert writes == visits, "each visit writes its page"
    else:
        assert (writes > 0) is not load.startswith("read-")
    assert values(stopped)["bad"] == "0"
    assert payload.ask("check") == "checked pages=512 bad=0"
    assert payload.ask("unload") == "unloaded"


def test_load_again_with_another_seed(payload: Payload) -> None:
    for seed in (1, 2):
        assert payload.ask(f"load name=write-shared mib=1 seed={seed}").startswith("ready ")
        assert payload.ask("start") == "running"
        assert payload.ask("stop").startswith("stopped ")
        assert payload.ask("check") == "checked pages=256 bad=0"
        assert payload.ask("unload") == "unloaded"


def flip_byte(payload: Payload, program: Path, address: int) -> None:
    """Change the payload's memory behind its back, through /proc (read-only mappings included)."""
    children = Path(f"/proc/{payload.process.pid}/task/{payload.process.pid}/children").read_text().split()
    with Path(f"/proc/{children[0]}/mem").open("r+b", buffering=0) as memory:
        memory.seek(address)
        (byte,) = memory.read(1)
        memory.seek(address)
        memory.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("offset", [0, 8, 2049, 4095])
def test_one_wrong_byte_anywhere_is_found(payload: Payload, program: Path, offset: int) -> None:
    ready = values(payload.ask("load name=read-shared mib=1"))
    flip_byte(payload, program, int(ready["gva"], 16) + 3 * 4096 + offset)
    assert payload.ask("check") == "checked pages=256 bad=1"
    (line,) = payload.unasked
    bad = values(line)
    assert (bad["page"], bad["offset"]) == ("3", str(offset // 8 * 8))
    assert bad["wanted"] != bad["seen"]


def test_at_most_16_bad_lines(payload: Payload, program: Path) -> None:
    ready = values(payload.ask("load name=read-shared mib=1"))
    for page in range(20):
        flip_byte(payload, program, int(ready["gva"], 16) + page * 4096 + 64)
    assert payload.ask("check") == "checked pages=256 bad=20"
    assert len(payload.unasked) == 16


def test_quit_ends_it(payload: Payload) -> None:
    assert payload.ask("quit") == "bye"
    assert payload.process.wait(ANSWER_S) == 0


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("dance", "unknown-command"),
        ("", "unknown-command"),
        ("load", "missing:name"),
        ("load name=nothing mib=1", "unknown-load"),
        ("load name=read-own mib=0", "bad-number:mib"),
        ("load name=read-own mib=1x", "bad-number:mib"),
        ("load name=read-own colour=red", "unknown-key:colour"),
        ("load name=read-own mib=1 mib=2", "given-twice:mib"),
        ("load read-own", "not-key=value:read-own"),
        ("load name=read-own mib=65536", "not-enough-memory"),
        ("start", "nothing-loaded"),
        ("start now=1", "unknown-key:now"),
        ("stop", "not-running"),
        ("check", "nothing-loaded"),
        ("x" * 600, "line-too-long"),
    ],
)
def test_what_is_wrong_is_named(payload: Payload, command: str, what: str) -> None:
    assert payload.ask(command) == f"error what={what}"


def test_commands_that_come_at_the_wrong_time(payload: Payload) -> None:
    payload.ask("load name=read-own mib=1")
    assert payload.ask("load name=read-own mib=1") == "error what=already-loaded"
    payload.ask("start")
    assert payload.ask("start") == "error what=already-running"
    assert payload.ask("check") == "error what=still-running"
    assert payload.ask("unload") == "error what=still-running"
    assert payload.ask("stop").startswith("stopped ")


def test_init_of_l1_compiles_without_warnings(tmp_path: Path) -> None:
    compile_program(l2.RECIPE.parent / "l1", tmp_path / "init")
