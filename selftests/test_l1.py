# SPDX-License-Identifier: GPL-2.0-or-later
"""An L1 with stand-ins for its QEMU and its agent: boots, ends of every kind, and the end of a round."""

from __future__ import annotations

import os
import queue
import re
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fake_l1 import HELLO, make_parts
from stand_in import QMP

from guestloop.agent.system import Hello
from guestloop.ground import proc, threads
from guestloop.ground.errors import (
    Disconnected,
    GuestError,
    GuestStuck,
    InternalError,
    L1Ended,
    L1Panicked,
    L1Rebooted,
    LabError,
    LinkLost,
    MachineFault,
    NotBooted,
    Refused,
    TimedOut,
)
from guestloop.ground.qmp import Qmp
from guestloop.ground.rpc import Call, Caller, Methods, nothing_to_see
from guestloop.machines.emulated_svm import EmulatedSvm
from guestloop.results.sizes import Sizes
from guestloop.vm import boot, l1
from guestloop.vm.l1 import READY_MARKER, Machine
from guestloop.vm.parts import Keys, L1Parts

SOON_S = 10.0  # on a busy machine too; what would be waited for takes 30 s and more
PORT = 40022

# QEMU as far as an L1 has to do with it. Its name says how it behaves.
QEMU = """
line = " ".join(sys.argv)
mode = os.path.basename(sys.argv[0])
console = open(line.partition("-serial file:")[2].split()[0], "w", buffering=1)
print("stand-in:", mode, flush=True)
if mode == "dies-at-once":
    sys.exit(3)
qmp = int(line.partition("id=qmp,fd=")[2].split()[0])

def answer(request):
    command, arguments = request["execute"], request.get("arguments", {{}})
    if command == "boot":
        boot()
    if command == "quit" and mode != "does-not-quit":
        os._exit(0)
    if command == "human-monitor-command":
        row = "TCP[HOST_FORWARD]  14  127.0.0.1  {port}  10.0.2.15  22\\r\\n"
        return "" if mode == "without-forward" else row
    if command == "block_set_io_throttle":
        console.write(f"throttled: {{sorted(arguments.items())}}\\n")
        if mode == "dies-when-throttled":
            os._exit(7)
    return {{}}

def boot():
    console.write("[ 0.1] booting\\n")
    if mode == "panics":
        console.write("[ 0.5] Kernel panic - not syncing: VFS\\n")
    if mode in ("panics", "resets"):
        os._exit(0)
    if mode != "hangs":
        console.write("{marker}\\n")

for request in requests(qmp):
    if mode == "refuses" and request["execute"] == "block_set_io_throttle":
        send(qmp, {{"error": {{"class": "GenericError", "desc": "no such device"}}, "id": request.get("id")}})
    else:
        send(qmp, {{"return": answer(request), "id": request.get("id")}})
while mode == "does-not-quit":  # not even when nobody talks to it any more
    time.sleep(60)
"""


class BootingQmp(Qmp):
    """Has the stand-in boot once there is a session; a QEMU that ends earlier is another story."""

    def __init__(self, name: str, connected: socket.socket) -> None:
        super().__init__(name, connected)
        with suppress(Disconnected):
            self.execute("boot")


class System:
    """The agent's service of the same name; what it is asked is noted."""

    def __init__(self, console: Path) -> None:
        self.console, self.hello_is = console, HELLO
        self.paces: list[tuple[float, float]] = []
        self.writes_to_console = True
        self.ignores: set[str] = set()

    def hello(self) -> Hello:
        return self.hello_is

    def boot_facts(self) -> dict[str, str]:
        argv = (self.console.parent / "argv").read_text()
        told = shlex.split(argv)[shlex.split(argv).index("-append") + 1]
        return {"command_line": " ".join(word for word in told.split() if word not in self.ignores)}

    def set_pace(self, pace: float, slowdown: float) -> None:
        self.paces.append((pace, slowdown))

    def write_console(self, text: str) -> None:
        if self.writes_to_console:
            with self.console.open("a") as console:
                console.write(f"[ 9.9] {text}\n")

    def raise_faults(self) -> None:
        threads.raise_kept("the agent")


class Kvm:
    """Loads, or refuses the machine."""

    def __init__(self) -> None:
        self.refuses: GuestError | None = None

    def try_out(self) -> None:
        if self.refuses:
            raise self.refuses


class Memory:
    """Notes which disk is used."""

    def __init__(self) -> None:
        self.serials: list[str] = []

    def swap_on(self, serial: str) -> int:
        self.serials.append(serial)
        return 1048572


class Guests:
    """Ends all guests, and does what was set when that happens."""

    def __init__(self) -> None:
        self.ended = 0
        self.then: Callable[[], object] = lambda: None

    def stop_all(self) -> list[str]:
        self.ended += 1
        self.then()
        return []

    def finish_lap(self, name: str) -> list[str]:
        raise GuestStuck(f"L2 {name} does not answer")


@dataclass(frozen=True)
class Services:
    """As much of an agent as is asked for here."""

    system: System
    kvm: Kvm
    memory: Memory
    guests: Guests


class FakeLink:
    """A link to these services. ``looks``: no call is answered, only what the caller looks at can end it."""

    made: list[FakeLink]

    looks = False

    def __init__(
        self, name: str, port: int, keys: Keys, seconds: float, look: Callable[[], None] = nothing_to_see
    ) -> None:
        self.port, self.keys, self.closed, self.lost = port, keys, False, False
        self.times: list[float] = []
        self.made.append(self)

    def serve(self, services: Services) -> None:
        self.methods = Methods(services)

    def call(
        self,
        method: str,
        params: Mapping[str, Any],
        timeout_s: float,
        look: Callable[[], None] = nothing_to_see,
    ) -> Any:
        self.times.append(timeout_s)
        if self.lost:
            raise LinkLost("L1 patched: the connection is lost")
        if self.looks:
            look()
            raise AssertionError("it is still waited for")
        return through_a_caller(self.methods)(method, params, timeout_s)

    def close(self) -> None:
        self.closed = True


def through_a_caller(methods: Methods) -> Call:
    """Calls that take the way through JSON."""
    answers: queue.Queue[bytes] = queue.Queue()
    return Caller("L1 patched", lambda line: answers.put(methods.answer(line)), iter(answers.get, b"")).call


class Lab:
    """Boots L1s of any mode in a directory."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory / "patched.1"
        self._programs = directory / "programs"
        self._programs.mkdir()
        self.services = Services(System(self.directory / "console.log"), Kvm(), Memory(), Guests())
        monkeypatch.setattr(FakeLink, "made", [], raising=False)
        monkeypatch.setattr("guestloop.vm.link.Link", self.link)
        monkeypatch.setattr(l1, "Qmp", BootingQmp)
        monkeypatch.setattr(l1, "ENDING_S", 1.0)

    def link(self, name: str, port: int, keys: Keys, seconds: float, look: Callable[[], None]) -> FakeLink:
        link = FakeLink(name, port, keys, seconds, look)
        link.serve(self.services)
        return link

    def parts(self, mode: str) -> L1Parts:
        program = self._programs / mode
        start = f"#!{sys.executable} -S\n{QMP}"
        program.write_text(start + QEMU.format(port=PORT, marker=READY_MARKER))
        program.chmod(0o755)
        return replace(make_parts("patched"), program=program)

    def boot(self, mode: str = "well") -> Machine:
        return Machine(self.parts(mode), self.directory)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(threads, "_kept", [])
    return Lab(tmp_path, monkeypatch)


@pytest.fixture
def machine(lab: Lab) -> Iterator[Machine]:
    machine = lab.boot()
    yield machine
    machine.close()


@pytest.fixture
def at_once() -> Iterator[None]:
    """What is known must be reported when it is known, and not at a deadline."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < SOON_S


# --- boots -----------------------------------------------------------------------------------------


def test_a_boot_leads_to_an_agent_with_swap_space(machine: Machine, lab: Lab) -> None:
    assert machine.hello == HELLO and 0 < machine.boot_seconds < 10
    assert lab.services.memory.serials == ["swap"]
    (link,) = FakeLink.made
    assert (link.port, link.keys) == (PORT, machine.parts.keys)
    argv = (lab.directory / "argv").read_text()
    assert f"file:{lab.directory}/console.log" in argv and "-accel tcg" in argv
    assert machine.process.poll() is None


def test_an_l1_is_as_large_as_its_parts_say(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    swaps: list[int] = []
    monkeypatch.setattr(l1, "_make_swap", lambda descriptor: swaps.append(os.fstat(descriptor).st_size))
    lab.services.system.hello_is = replace(HELLO, cpus=8)
    machine = Machine(replace(lab.parts("well"), sizes=Sizes.of(4)), lab.directory)
    argv = (lab.directory / "argv").read_text()
    assert "-smp 8,sockets=8" in argv and "-m 8192" in argv and swaps == [4096 << 20]
    machine.close()


def test_a_kernel_that_does_not_use_all_cpus_is_none_to_compare_with(lab: Lab) -> None:
    lab.services.system.hello_is = replace(HELLO, cpus=16)
    with pytest.raises(LabError, match="L1 patched uses 16 CPUs, it was given 32") as raised:
        Machine(replace(lab.parts("well"), sizes=Sizes.of(16)), lab.directory)
    assert "CONFIG_NR_CPUS" in raised.value.hint


def test_closing_ends_qemu_softly(lab: Lab) -> None:
    machine = lab.boot()
    machine.close()
    assert machine.process.returncode == 0 and FakeLink.made[0].closed


def test_a_qemu_that_does_not_quit_is_killed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(l1, "QUIT_S", 0.05)
    machine = lab.boot("does-not-quit")
    machine.close()
    assert machine.process.returncode == -9


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("mode", "kind", "message"),
    [
        ("dies-at-once", L1Ended, r"^L1 patched: QEMU did not start\n  qemu \| stand-in: dies-at-once"),
        ("panics", L1Panicked, r"^L1 patched panicked: Kernel panic - not syncing: VFS\n"),
        ("resets", L1Rebooted, r"^L1 patched reset itself without being asked \(QEMU: exit status 0\)\n"),
        ("without-forward", LabError, r"^L1 patched: no SSH forward in QEMU's 'info usernet':"),
    ],
)
def test_a_boot_that_fails_says_how_at_once(lab: Lab, mode: str, kind: type[LabError], message: str) -> None:
    with pytest.raises(kind, match=message):
        lab.boot(mode)


def test_a_boot_that_hangs_is_given_up_with_the_end_of_its_console(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "IDLE_S", 0.3)
    with pytest.raises(NotBooted) as raised:
        lab.boot("hangs")
    first, *rest = str(raised.value).splitlines()
    assert first == "L1 patched hangs: nothing new on its console while it was idle for 0 s"
    assert rest[-1] == "  console | [ 0.1] booting"


def test_a_kernel_whose_kvm_never_loads_hangs_too(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "IDLE_S", 0.0)
    monkeypatch.setattr(FakeLink, "looks", True, raising=False)
    with pytest.raises(NotBooted, match=r"^L1 patched hangs: nothing new on its console while it was idle"):
        lab.boot()


def test_kvm_that_refuses_the_machine_ends_the_boot(lab: Lab) -> None:
    lab.services.kvm.refuses = GuestError("kvm-amd does not load: kvm: no constant TSC")
    with pytest.raises(GuestError, match=r"^kvm-amd does not load: kvm: no constant TSC$"):
        lab.boot()
    assert FakeLink.made[0].closed and lab.services.memory.serials == []


def test_another_kernel_than_was_built_is_refused(lab: Lab) -> None:
    lab.services.system.hello_is = replace(HELLO, build_id="ef01")
    with pytest.raises(LabError) as raised:
        lab.boot()
    wanted = "L1 patched runs another kernel than was built: build id ef01, wanted abcd"
    assert str(raised.value) == wanted
    assert FakeLink.made[0].closed and lab.services.memory.serials == []


def test_a_kernel_that_keeps_to_a_command_line_of_its_own_is_refused(lab: Lab) -> None:
    lab.services.system.ignores = {"mitigations=off", "nokaslr"}
    with pytest.raises(LabError) as raised:
        lab.boot()
    wanted = "L1 patched has another command line than it was given: without mitigations=off nokaslr"
    assert str(raised.value) == wanted and "CONFIG_CMDLINE_OVERRIDE" in raised.value.hint


def test_a_kernel_without_a_build_id_is_refused_too(lab: Lab) -> None:
    lab.services.system.hello_is = replace(HELLO, build_id="")
    with pytest.raises(LabError, match="build id none, wanted abcd"):
        lab.boot()


# --- ends ------------------------------------------------------------------------------------------


def panic(machine: Machine) -> None:
    with machine.console.path.open("a") as console:
        console.write("[ 3.0] Oops: 0002 [#1]\n[ 3.1] Kernel panic - not syncing: Fatal exception\n")


def end(machine: Machine, status: int) -> None:
    """QEMU ends with this status (negative: by this signal)."""
    if status:
        machine.process.send_signal(-status)
    else:
        with suppress(Disconnected):
            machine.qmp.execute("quit")
    machine.process.wait(5)


def test_what_lives_is_alive(machine: Machine) -> None:
    machine.check_alive()


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (0, L1Rebooted, r"^L1 patched reset itself without being asked \(QEMU: exit status 0\)\n"),
        (-9, L1Ended, r"^L1 patched: QEMU ended \(killed by signal 9\)\n  qemu \| stand-in: well\n"),
    ],
)
def test_an_end_is_a_reset_or_comes_from_outside(
    machine: Machine, status: int, kind: type[LabError], message: str
) -> None:
    end(machine, status)
    with pytest.raises(kind, match=message):
        machine.check_alive()


@pytest.mark.parametrize(
    "lines",
    [
        "[ 9.1] Oops: int3: 0000 [#1] SMP NOPTI\n",  # since 6.8
        "[ 9.1] int3: 0000 [#1] PREEMPT SMP\n[ 9.2] Kernel panic - not syncing: Fatal exception\n",
    ],
)
def test_a_known_fault_of_the_machine_is_no_panic_of_the_kernel(machine: Machine, lines: str) -> None:
    with machine.console.path.open("a") as console:
        console.write(lines)
    with pytest.raises(L1Panicked):
        machine.check_alive()
    machine.parts = replace(machine.parts, machine_faults=EmulatedSvm.faults)
    with pytest.raises(MachineFault, match="a known fault of the machine that runs it: int3: 0000") as raised:
        machine.check_alive()
    assert "  console | [ 9.1]" in str(raised.value)


def test_other_panics_on_such_a_machine_are_the_kernels(machine: Machine) -> None:
    machine.parts = replace(machine.parts, machine_faults=EmulatedSvm.faults)
    panic(machine)
    with pytest.raises(L1Panicked):
        machine.check_alive()


def test_a_panic_is_a_panic_whether_qemu_lives_or_not(machine: Machine) -> None:
    panic(machine)
    for _ in range(2):
        with pytest.raises(L1Panicked, match=r"^L1 patched panicked: Oops: 0002 \[#1\]\n") as raised:
            machine.check_alive()
        assert "  console | [ 3.1] Kernel panic - not syncing: Fatal exception" in str(raised.value)
        end(machine, -9)


# --- calls -----------------------------------------------------------------------------------------


def test_an_error_of_the_agent_is_raised_as_it_is(machine: Machine) -> None:
    with pytest.raises(GuestStuck, match=r"^L2 storm does not answer$"):
        machine.call("guests.finish_lap", {"name": "storm"}, 5)


@pytest.mark.usefixtures("at_once")
def test_a_link_that_is_lost_because_l1_died_is_reported_as_that(machine: Machine) -> None:
    FakeLink.made[0].lost = True
    end(machine, -9)
    with pytest.raises(L1Ended, match="killed by signal 9"):
        machine.agent.system.hello()


def test_a_link_that_is_lost_while_l1_lives_is_just_that(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(l1, "ENDING_S", 0.01)
    FakeLink.made[0].lost = True
    with pytest.raises(LinkLost):
        machine.agent.system.hello()


@pytest.mark.usefixtures("at_once")
def test_a_kernel_that_hangs_as_it_dies_is_not_waited_for(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(l1, "ENDING_S", 0.01)
    FakeLink.made[0].looks = True
    with pytest.raises(AssertionError, match="still waited for"):
        machine.agent.system.hello()
    panic(machine)
    with pytest.raises(L1Panicked):
        machine.agent.system.hello()


def test_the_pace_is_reported_briefly(machine: Machine, lab: Lab) -> None:
    machine.set_pace(3.5, 2.0)
    assert lab.services.system.paces == [(3.5, 2.0)]
    assert FakeLink.made[0].times[-1] == l1.PACE_S, "an agent that hangs must not keep others waiting"


# --- the end of a round ----------------------------------------------------------------------------


def test_guests_end_first_and_then_the_console_is_complete(machine: Machine, lab: Lab) -> None:
    def warn() -> None:
        assert "end of round" not in machine.console.text()
        with machine.console.path.open("a") as console:
            console.write("[ 5.0] WARNING: while a guest ended\n")

    lab.services.guests.then = warn
    machine.end_of_round()
    lines = machine.console.text().splitlines()
    assert lines[-2:] == ["[ 5.0] WARNING: while a guest ended", "[ 9.9] guestloop: end of round 1"]
    lab.services.guests.then = lambda: None
    machine.end_of_round()
    assert machine.console.text().endswith("guestloop: end of round 2\n") and lab.services.guests.ended == 2


def test_the_marker_of_an_earlier_round_is_not_taken_for_this_one(
    machine: Machine, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.end_of_round()
    monkeypatch.setattr(l1, "DRAIN_S", 0.1)
    lab.services.system.writes_to_console = False
    with pytest.raises(TimedOut, match=r"for the console of L1 patched to show 'guestloop: end of round 2'"):
        machine.end_of_round()


@pytest.mark.usefixtures("at_once")
def test_a_panic_while_guests_end_is_of_this_round(machine: Machine, lab: Lab) -> None:
    lab.services.guests.then = lambda: panic(machine)
    lab.services.system.writes_to_console = False
    with pytest.raises(L1Panicked):
        machine.end_of_round()


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("status", "kind"), [(0, L1Rebooted), (-9, L1Ended)])
def test_an_l1_that_ends_with_its_guests_is_of_this_round(
    machine: Machine, lab: Lab, status: int, kind: type[LabError]
) -> None:
    lab.services.guests.then = lambda: end(machine, status)
    lab.services.system.writes_to_console = False
    with pytest.raises(kind):
        machine.end_of_round()


def test_a_thread_of_the_agent_that_died_is_a_fault_of_this_round(machine: Machine) -> None:
    threads.keep("thread port-storm", KeyError("reads"))
    with pytest.raises(InternalError, match=r"^thread port-storm of the agent failed: KeyError: 'reads'$"):
        machine.end_of_round()
    machine.end_of_round()


# --- swap ------------------------------------------------------------------------------------------


def test_reads_of_the_swap_disk_are_limited(machine: Machine) -> None:
    machine.throttle_swap(250)
    machine.throttle_swap(0)
    seen = [line for line in machine.console.text().splitlines() if line.startswith("throttled")]
    assert re.findall(r"'(iops_rd|iops)', (\d+)", seen[0]) == [("iops", "0"), ("iops_rd", "250")]
    assert "('iops_rd', 0)" in seen[1] and "/machine/peripheral/swap/virtio-backend" in seen[1]


def test_a_limit_that_qemu_refuses(lab: Lab) -> None:
    machine = lab.boot("refuses")
    with pytest.raises(Refused, match="block_set_io_throttle refused: no such device"):
        machine.throttle_swap(250)
    machine.close()


@pytest.mark.usefixtures("at_once")
def test_an_l1_that_ends_meanwhile_is_reported_as_that(lab: Lab) -> None:
    machine = lab.boot("dies-when-throttled")
    with pytest.raises(L1Ended, match=r"QEMU ended \(exit status 7\)"):
        machine.throttle_swap(250)
    machine.close()


def test_the_swap_disk_has_a_header_that_a_kernel_accepts(tmp_path: Path) -> None:
    with (tmp_path / "swap").open("w+b") as swap:
        swap.truncate(1 << 20)
        l1._make_swap(swap.fileno())
        swap.seek(4096 - 10)
        assert swap.read(10) == b"SWAPSPACE2"  # include/linux/swap.h: union swap_header
    with pytest.raises(LabError):
        proc.run(["mkswap", tmp_path / "none"])
