"""JSON lines between L0 and the agent: ``{"id", "method", "params"}`` and its answer.

An answer is ``{"id", "result"}`` or ``{"id", "error": {"type", "message", "traceback"}}``. Each
request runs in a thread of its own, so that a stuck one does not keep others from asking why.
"""

from __future__ import annotations

import json
import socketserver
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

Handler = Callable[..., Any]


class Methods:
    """The methods that can be called, by name."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def add(self, prefix: str, *handlers: Handler) -> None:
        """Make ``prefix.<function name>`` callable for each handler."""
        for handler in handlers:
            self._handlers[f"{prefix}.{handler.__name__}"] = handler

    def answer(self, line: bytes) -> bytes:
        """Run one request; what it raises becomes the answer's error, with the traceback."""
        identity = None
        try:
            request = json.loads(line)
            identity = request["id"]
            handler = self._handlers.get(request["method"])
            if handler is None:
                raise LookupError(f"unknown method {request['method']!r}")
            return _line({"id": identity, "result": handler(**request.get("params", {}))})
        except Exception as error:  # noqa: BLE001 - the caller on L0 is the one who must see it
            fault = {"type": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
            return _line({"id": identity, "error": fault})


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


class _Connection(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        lock = threading.Lock()
        for line in self.rfile:
            threading.Thread(target=self._serve, args=(line, lock), daemon=True).start()

    def _serve(self, line: bytes, lock: threading.Lock) -> None:
        encoded = self.server.methods.answer(line)
        with lock, suppress(OSError):  # L0 went away; it will ask again if it comes back
            self.wfile.write(encoded)


class Server(socketserver.ThreadingTCPServer):
    """Serves methods on a loopback TCP port of L1."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, methods: Methods) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.methods = methods
