"""What a test uses: an L1 of the lab, and the L2 guests in it."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from guestloop.ground.errors import GuestError, LabError
from guestloop.ground.wait import wait_for
from guestloop.lab.spec import SOCKET_VARIABLE
from guestloop.results.cells import Mmu
from guestloop.vm.argv import Incoming, L2Spec, l2_argv

logger = logging.getLogger("guestloop.lab")  # ends up in the test's debug.log

L2_START_DEADLINE_S = 120.0
LAB_GRACE_S = 30.0  # added to the agent's own time limit, so that the inner one speaks first
BOOT_WAIT_S = 300.0


class Connection:
    """A connection to the lab. Raises LabError when there is none, GuestError as the lab says."""

    def __init__(self, name: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._lock = threading.Lock()

        def attempt() -> bool | None:
            try:
                self._socket.connect(f"\0{name}")
            except ConnectionRefusedError:
                return None
            return True

        wait_for("the lab process to listen", attempt, 10.0)
        self._reader = self._socket.makefile("rb")

    def request(self, request: Mapping[str, Any], timeout_s: float) -> Any:
        """Send one request and give its result; what was asked, and how long it took, is logged."""
        started = time.monotonic()
        with self._lock:
            self._socket.settimeout(timeout_s)
            try:
                self._socket.sendall(json.dumps(request).encode() + b"\n")
                line = self._reader.readline()
            except OSError as error:
                raise LabError(f"the lab process did not answer {request.get('op')}: {error}") from error
        logger.debug("%s: %.2f s", _told(request), time.monotonic() - started)
        if not line:
            raise LabError("the lab process is gone")
        answer = json.loads(line)
        if fault := answer.get("error"):
            raise GuestError(fault["message"], hint=fault["hint"], traceback=fault["traceback"])
        return answer["result"]

    def close(self) -> None:
        self._reader.close()
        self._socket.close()


def _told(request: Mapping[str, Any]) -> str:
    """A request in short: ``unpatched guests.command l2 stop``."""
    params = request.get("params", {})
    words = [
        request.get("kernel"),
        request.get("method", request.get("op")),
        params.get("name"),
        params.get("line"),
    ]
    return " ".join(word for word in words if word)


def connect() -> Connection:
    """Connect to the lab of this run."""
    name = os.environ.get(SOCKET_VARIABLE)
    if not name:
        raise LabError(
            f"no lab is running ({SOCKET_VARIABLE} is not set)",
            hint="start the tests with scripts/run, or with 'avocado run -m avocado.yaml -- tests/'",
        )
    return Connection(name)


class L1:
    """The L1 of one kernel; ``fresh`` has it booted anew.

    ``boot`` counts its boots in this run, ``request`` is the number of KVM_REQ_TLB_FLUSH in its
    kernel, ``facts`` what was read back from it (releases, build ids, module parameters).
    """

    def __init__(self, connection: Connection, kernel: str, *, fresh: bool = False) -> None:
        self._connection, self.kernel = connection, kernel
        seen = connection.request({"kernel": kernel, "op": "acquire", "fresh": fresh}, BOOT_WAIT_S)
        self.boot: int = seen["boot"]
        self.console: str = seen["console"]
        self.request: int = seen["request"]
        self._vendor: str = seen["vendor"]
        hello = seen["hello"]
        self.facts: dict[str, str] = {"release": hello["release"], "vmlinux.build_id": hello["build_id"]}
        self._known_warnings = len(self._warnings())

    def call(self, method: str, /, deadline_s: float = 60.0, **params: Any) -> Any:
        """Call the agent in this L1."""
        request = {"kernel": self.kernel, "op": "call", "method": method, "params": params}
        return self._connection.request({**request, "timeout_s": deadline_s}, deadline_s + LAB_GRACE_S)

    def set_mmu(self, mmu: Mmu) -> None:
        """Have KVM loaded for this MMU mode; its parameters as read back are added to ``facts``."""
        self.facts |= self.call("kvm.load", vendor=self._vendor, mmu=mmu.value, request=self.request)

    def throttle_swap(self, reads_per_second: int) -> None:
        """Have L0 limit the reads of L1's swap disk; 0: no limit."""
        request = {"kernel": self.kernel, "op": "throttle", "reads": reads_per_second}
        self._connection.request(request, LAB_GRACE_S)

    def new_warnings(self) -> list[str]:
        """What the L1 kernel complained about on its console since this object was made."""
        return self._warnings()[self._known_warnings :]

    def _warnings(self) -> list[str]:
        seen = self._connection.request({"kernel": self.kernel, "op": "warnings"}, LAB_GRACE_S)
        return list(seen)

    def launch(self, spec: L2Spec) -> None:
        """Begin to start an L2 that ``guest`` will be asked for, while something else is done."""
        self.call("guests.launch", name=spec.name, argv=l2_argv(spec))

    @contextmanager
    def guest(self, spec: L2Spec) -> Iterator[L2]:
        """A running L2, ended when the body is left."""
        started = self.call(
            "guests.start",
            L2_START_DEADLINE_S + 10,
            name=spec.name,
            argv=l2_argv(spec),
            timeout_s=L2_START_DEADLINE_S,
            **({} if spec.incoming is Incoming.NO else {"incoming": True}),
        )
        l2 = L2(self, spec, _words(started["hello"]), started["seconds"])
        try:
            yield l2
        finally:
            self.call("guests.stop", name=spec.name)


@dataclass(frozen=True)
class L2:
    """A running L2. ``hello`` is what its payload said first, ``start_seconds`` how long that took."""

    l1: L1
    spec: L2Spec
    hello: Mapping[str, str]
    start_seconds: float

    def command(self, line: str, until: str, timeout_s: float = 60.0) -> list[str]:
        """Send the payload a command; gives its lines up to the one that begins with ``until``."""
        return list(
            self.l1.call(
                "guests.command",
                timeout_s + 10,
                name=self.spec.name,
                line=line,
                until=until,
                timeout_s=timeout_s,
            )
        )

    def answer(self, line: str, until: str, timeout_s: float = 60.0) -> dict[str, str]:
        """The ``key=value`` words of the last line of ``command``."""
        return _words(self.command(line, until, timeout_s)[-1])

    def qmp(self, command: str, **arguments: object) -> Any:
        """Run one QMP command in its QEMU; ``_`` in argument names becomes ``-``."""
        return self.call("qmp", command=command, arguments=arguments)

    def listen_for(self, verb: str, timeout_s: float) -> dict[str, str]:
        """The words of the next line that the payload says unasked and that begins with ``verb``."""
        params = {"name": self.spec.name, "until": verb, "timeout_s": timeout_s}
        return _words(self.l1.call("guests.listen", timeout_s + 10, **params)[-1])

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the agent about this guest."""
        return self.l1.call(f"guests.{method}", name=self.spec.name, **params)


def _words(line: str) -> dict[str, str]:
    """``ready pages=4 gva=0x0`` as a dictionary; words without ``=`` are left out."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)
