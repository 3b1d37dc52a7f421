# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls across a process boundary: tests to the lab, the lab to the agent in an L1. One protocol for both.

A request is a line of JSON, ``{"id", "method", "params"}``; its answer is ``{"id", "result"}`` or
``{"id", "error": {"kind", "message", "hint", "traceback"}}`` (errors.describe). ``method`` is
``namespace.name``, params go by name.

Both sides are typed by the same class: a *service* is a class whose public methods can be called, a dataclass
of services names the namespaces. ``Methods`` serves an object of that dataclass, ``client`` makes one whose
services call the other side; to mypy they are the same, so a wrong name or argument does not pass it.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import queue
import socketserver
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import IO, Any, Protocol, TypeVar, cast, get_type_hints

from guestloop.ground import threads
from guestloop.ground.codec import CodecError, decode, encode, hints_of
from guestloop.ground.errors import GuestloopError, InternalError, LinkLost, TimedOut, describe, revive
from guestloop.ground.wait import Deadline

T = TypeVar("T")

CALL_S = 300.0
"""A backstop for methods without a ``timeout_s``: they are bounded by their own work."""

GRACE_S = 20.0
"""Added to a method's own time limit, so that the inner one, which knows more, is reported."""

LOOK_S = 0.5

Answer = dict[str, Any]
Mailbox = queue.Queue[Answer | None]  # None: the connection ended


class Call(Protocol):
    """Calls a method of the other side by name."""

    def __call__(self, method: str, params: Mapping[str, Any], timeout_s: float) -> Any: ...


# --- the side that is called -----------------------------------------------------------------------


class Methods:
    """The methods that can be called: the public ones of each service in a dataclass of services."""

    def __init__(self, services: Any) -> None:
        self._services = {item.name: getattr(services, item.name) for item in dataclasses.fields(services)}

    def answer(self, line: bytes | str) -> bytes:
        """Run one request; what it raises becomes the answer's error."""
        identity = None
        try:
            request = json.loads(line)
            identity = request["id"]
            result = self._run(request["method"], request.get("params", {}))
            return _line({"id": identity, "result": result})
        except Exception as error:  # noqa: BLE001 - the caller is the one who must see it
            return _line({"id": identity, "error": describe(error)})

    def _run(self, method: str, params: Mapping[str, Any]) -> Any:
        namespace, _, name = method.partition(".")
        service = self._services.get(namespace)
        function = getattr(type(service), name, None)
        if name.startswith("_") or not inspect.isfunction(function):
            raise InternalError(f"no method is called {method!r}")
        hints = hints_of(function)
        try:
            _signature_of(function).bind(service, **params)
            arguments = {key: decode(hints[key], value, key) for key, value in params.items()}
        except (TypeError, CodecError) as error:
            raise InternalError(f"{method}: {error}") from error
        return encode(function(service, **arguments))


@cache
def _signature_of(method: Callable[..., Any]) -> inspect.Signature:
    """Of a service's method, ``self`` included. Made once: that takes longer than a call."""
    return inspect.signature(method)


def _line(answer: Answer) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def serve_lines(methods: Methods, lines: Iterable[bytes], sink: IO[bytes]) -> None:
    """Answer the requests of one connection until it ends, each in a thread of its own.

    So a stuck call does not keep others from asking why.
    """
    lock = threading.Lock()

    def serve(line: bytes) -> None:
        answer = methods.answer(line)
        with lock, suppress(OSError, ValueError):  # the caller went away
            sink.write(answer)

    with suppress(ConnectionError):  # the caller was killed
        for line in lines:
            threading.Thread(target=serve, args=(line,), name="request", daemon=True).start()


class KeepsFaults(socketserver.BaseServer):
    """A server that keeps what breaks outside of a request, see ground/threads.py."""

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - socketserver's
        if error := sys.exception():
            threads.keep("a connection", error)


class _Connection(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        serve_lines(self.server.methods, self.rfile, cast("IO[bytes]", self.wfile))


class Server(KeepsFaults, socketserver.ThreadingTCPServer):
    """Serves methods on a loopback TCP port."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, methods: Methods) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.methods = methods


# --- the side that calls ---------------------------------------------------------------------------


def client(services: type[T], call: Call) -> T:
    """An object of the dataclass ``services`` whose methods run on the other side of ``call``.

    They raise what the other side raised, as the same type. A method's ``timeout_s`` bounds the call as
    well; without one it is CALL_S.
    """
    hints = get_type_hints(services)
    proxies = {
        item.name: _Proxy(item.name, hints[item.name], call)
        for item in dataclasses.fields(services)  # type: ignore[arg-type]
    }
    return services(**proxies)


class _Proxy:
    """Stands for one service."""

    def __init__(self, namespace: str, service: type[Any], call: Call) -> None:
        self._namespace, self._service, self._call = namespace, service, call

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self._service, name)
        signature, returned = _signature_of(function), hints_of(function)["return"]
        method = f"{self._namespace}.{name}"

        def invoke(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(None, *args, **kwargs)
            params = {key: encode(value) for key, value in list(bound.arguments.items())[1:]}
            bound.apply_defaults()
            own = bound.arguments.get("timeout_s")
            seen = self._call(method, params, CALL_S if own is None else own + GRACE_S)
            try:
                return decode(returned, seen, method)
            except CodecError as error:
                raise InternalError(f"{method} answered with something else: {error}") from error

        setattr(self, name, invoke)  # found at once from now on
        return invoke


def nothing_to_see() -> None:
    """For calls during which nothing else is looked at."""


class Caller:
    """One connection's calls; safe to use from several threads.

    ``name`` is of the other side, for messages; ``send`` writes bytes to it, ``lines`` are what it answers.
    """

    def __init__(self, name: str, send: Callable[[bytes], object], lines: Iterable[bytes | str]) -> None:
        self.name = name
        self._send, self._lines = send, lines
        self._pending: dict[int, Mailbox] = {}
        self._lock = threading.Lock()
        self._next = 0
        self._closed, self._why = False, ""
        threading.Thread(target=self._receive, name=f"calls-{name}", daemon=True).start()

    def _receive(self) -> None:
        """Hand out answers. However this ends, whoever waits for one is told."""
        try:
            for line in self._lines:
                answer = json.loads(line)
                with self._lock:
                    waiting = self._pending.pop(answer["id"], None)
                if waiting:
                    waiting.put(answer)
        except Exception as error:  # noqa: BLE001 - of whatever is below the lines, or an answer that is none
            self._why = f" ({error!r})"
        with self._lock:
            self._closed = True
            for waiting in self._pending.values():
                waiting.put(None)
            self._pending.clear()

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        return self._closed

    def call(
        self,
        method: str,
        params: Mapping[str, Any],
        timeout_s: float,
        look: Callable[[], None] = nothing_to_see,
    ) -> Any:
        """Call a method and return its result.

        ``look`` is called every LOOK_S while the answer is awaited; what it raises ends the waiting.
        Raises what the other side raised, LinkLost when the connection ends, TimedOut after ``timeout_s``.
        """
        mailbox: Mailbox = queue.Queue()
        identity = self._post(mailbox, method, params)
        try:
            answer = self._take(mailbox, method, timeout_s, look)
        finally:
            with self._lock:
                self._pending.pop(identity, None)
        if answer is None:
            raise LinkLost(f"{self.name}: the connection was lost during {method}{self._why}")
        return result_of(answer)

    def _post(self, mailbox: Mailbox, method: str, params: Mapping[str, Any]) -> int:
        with self._lock:
            if self._closed:
                raise LinkLost(f"{self.name}: the connection is lost{self._why}")
            self._next += 1
            identity = self._next
            request = _line({"id": identity, "method": method, "params": dict(params)})
            try:
                self._send(request)
            except OSError as error:
                raise LinkLost(f"{self.name}: the connection is lost ({error})") from error
            self._pending[identity] = mailbox  # the answer cannot be taken before this lock is free
        return identity

    def _take(
        self, mailbox: Mailbox, method: str, timeout_s: float, look: Callable[[], None]
    ) -> Answer | None:
        deadline = Deadline(timeout_s)
        while True:
            try:
                return mailbox.get(timeout=min(LOOK_S, deadline.left))
            except queue.Empty:
                if deadline.passed:
                    raise TimedOut(f"{self.name}: {method}: no answer in {timeout_s:g} s") from None
            look()


def result_of(answer: Mapping[str, Any]) -> Any:
    """The result that an answer has. Raises what the other side raised, where it has an error."""
    if fault := answer.get("error"):
        raise _revive(fault)
    return answer["result"]


def _revive(fault: Mapping[str, str]) -> GuestloopError:
    try:
        return revive(fault)
    except (KeyError, TypeError, ValueError):
        return InternalError(f"an error of an unknown shape: {fault!r}")
