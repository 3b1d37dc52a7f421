# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab of a run and its L1s in a control group of their own, with limits where this machine has them.

Where systemd is the manager, the group is a transient scope (systemd.scope(5)), as nobody else may make
groups in its tree. Elsewhere it is a child of the run's own group. No controller is switched on for it,
because that would be a change of the host: a limit whose controller is not passed on is left out, which is
said.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from guestloop.ground import proc
from guestloop.ground.errors import LabError
from guestloop.ground.wait import wait_for
from guestloop.machines.cgroups import Cgroups, read_cgroups

SYSTEMD = Path("run/systemd/system")
"""There where systemd has booted the machine (sd_booted(3))."""

CONTROLLERS = ("memory", "pids")
SYSTEMD_S, EMPTY_S = 10.0, 10.0


@dataclass(frozen=True)
class Limits:
    """Memory in MiB, and processes with threads. L0 does not page any of it out."""

    memory_mib: int
    tasks: int

    @property
    def properties(self) -> Mapping[str, str]:
        """As systemd calls them (systemd.resource-control(5))."""
        return {
            "MemoryMax": f"{self.memory_mib}M",
            "MemorySwapMax": "0",
            "TasksMax": f"{self.tasks}",
        }

    @property
    def files(self) -> Mapping[str, str]:
        """As the kernel does (Documentation/admin-guide/cgroup-v2.rst)."""
        return {
            "memory.max": f"{self.memory_mib}M",
            "memory.swap.max": "0",
            "pids.max": f"{self.tasks}",
        }

    def __str__(self) -> str:
        return f"at most {self.memory_mib} MiB and {self.tasks} tasks"


class Way(StrEnum):
    """How a run would be contained on this machine."""

    SCOPE = "a scope of systemd"
    GROUP = "a cgroup of its own"
    NONE = "none"


@dataclass(frozen=True)
class Prospect:
    """``missing`` are controllers that have no limits for want of them, ``reason`` is why there is no way."""

    way: Way
    missing: tuple[str, ...] = ()
    reason: str = ""


def find_way(groups: Cgroups, root: Path = Path("/")) -> Prospect:
    """What ``contained`` would do here."""
    if (root / SYSTEMD).is_dir():  # whatever version its groups are of
        return Prospect(Way.SCOPE)
    if groups.own is None:
        return Prospect(Way.NONE, reason="there are no control groups of version 2")
    if not groups.writable:
        return Prospect(Way.NONE, reason=f"{groups.own} cannot be written")
    return Prospect(Way.GROUP, tuple(name for name in CONTROLLERS if name not in groups.controllers))


@dataclass(frozen=True)
class Containment:
    """``prefix`` goes before a command that is to be contained, ``add`` is then given its process.

    ``text`` says what it is.
    """

    text: str
    prefix: tuple[str, ...] = ()
    add: Callable[[int], None] = lambda _pid: None


NOT_CONTAINED = Containment("L1s are not contained")


@contextmanager
def contained(limits: Limits, root: Path = Path("/"), number: int = 1) -> Iterator[Containment]:
    """A control group for as long as the body runs. Nothing of it is left, also when this process is killed.

    One that cannot be had is no error: the text of what is yielded says why. ``number`` tells several groups
    of one process apart.
    """
    name = f"guestloop-{os.getpid()}" + (f"-{number}" if number > 1 else "")
    groups = read_cgroups(root)
    prospect = find_way(groups, root)
    match prospect.way:
        case Way.SCOPE:
            yield _scope(limits, name)
        case Way.GROUP:
            assert groups.own is not None
            with _group(groups.own / name, limits, prospect) as made:
                yield made
        case Way.NONE:
            yield _not_contained(prospect.reason)


def _not_contained(reason: str) -> Containment:
    return Containment(f"{NOT_CONTAINED.text}: {reason}")


def _scope(limits: Limits, unit: str) -> Containment:
    """A scope is there as long as a process in it. It is tried out: not every user may have one."""
    manager = [] if os.geteuid() == 0 else ["--user"]
    options = [f"--property={name}={value}" for name, value in limits.properties.items()]
    prefix = ("systemd-run", *manager, "--scope", "--slice-inherit", "--collect", "--quiet", *options)
    try:
        tried = proc.read([*prefix, "--", "true"], check=False, timeout_s=SYSTEMD_S)
    except LabError as error:
        return _not_contained(error.first_line)
    if tried.status != 0:
        said = tried.stderr.strip().splitlines()
        return _not_contained(said[-1] if said else f"systemd-run: exit status {tried.status}")
    return Containment(f"L1s are contained by {unit}.scope: {limits}", (*prefix, f"--unit={unit}", "--"))


@contextmanager
def _group(path: Path, limits: Limits, prospect: Prospect) -> Iterator[Containment]:
    """The guard ends and removes it if this process cannot."""
    proc.guard_cgroup(path)
    try:
        path.mkdir()
        for name, value in limits.files.items():
            if name.partition(".")[0] not in prospect.missing:
                _write(path / name, value)
    except OSError as error:
        with suppress(OSError):
            path.rmdir()
        proc.forget_cgroup(path)
        yield _not_contained(f"{error.filename}: {error.strerror}")
        return
    without = f", without limits of {' and '.join(prospect.missing)}" if prospect.missing else ""
    limited = "" if len(prospect.missing) == len(CONTROLLERS) else f": {limits}"
    try:
        yield Containment(
            f"L1s are contained by {path}{limited}{without}",
            add=lambda pid: _write(path / "cgroup.procs", f"{pid}"),
        )
    finally:
        _remove(path)
        proc.forget_cgroup(path)


def _write(path: Path, text: str) -> None:
    """Into a file that the kernel has made, and only then."""
    with path.open("r+") as file:
        file.write(text)


def _remove(path: Path) -> None:
    """End what is left in it. A group can be removed a moment after its last process has ended."""
    with suppress(OSError):  # from 5.14 on
        _write(path / "cgroup.kill", "1")

    def removed() -> bool | None:
        try:
            path.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return None
        return True

    wait_for(f"{path} to be empty", removed, EMPTY_S, interval=0.01)
