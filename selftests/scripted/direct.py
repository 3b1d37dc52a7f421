# SPDX-License-Identifier: GPL-2.0-or-later
"""Both hops of a call, test to lab and lab to agent, without the connections that carry them.

What is asked and answered is the same, to the byte (ground/rpc.py). What is left out are sockets and
threads, four of them for a call, which take longer than what most calls do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from guestloop.ground.errors import LinkLost
from guestloop.ground.rpc import Caller, Methods, nothing_to_see, result_of
from guestloop.lab.client import Connection
from guestloop.vm.link import Link


class DirectCaller(Caller):
    """Has each request answered in the thread that calls."""

    def __init__(self, name: str, methods: Methods) -> None:
        self.name, self._methods = name, methods
        self._closed = False

    def call(
        self,
        method: str,
        params: Mapping[str, Any],
        timeout_s: float,
        look: Callable[[], None] = nothing_to_see,
    ) -> Any:
        self._check(method)
        answer = json.loads(self._methods.answer(json.dumps({"id": 1, "method": method, "params": params})))
        self._check(method)
        return result_of(answer)

    def _check(self, method: str) -> None:
        if self._closed:
            raise LinkLost(f"{self.name}: the connection was lost during {method}")

    def close(self) -> None:
        self._closed = True


class DirectLink(Link):
    """From the lab to the agent of a scripted L1."""

    def __init__(self, name: str, methods: Methods) -> None:
        self.name = name
        self._direct = self._caller = DirectCaller(f"L1 {name}", methods)

    def close(self) -> None:
        self._direct.close()


class DirectConnection(Connection):
    """From a test to the lab."""

    def __init__(self, methods: Methods) -> None:
        self._methods = methods
        super().__init__("in this process")

    def _connect(self, name: str) -> Caller:
        return DirectCaller(f"the lab {name}", self._methods)

    def close(self) -> None:
        """Nothing is open."""
