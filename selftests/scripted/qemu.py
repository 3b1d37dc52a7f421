# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP of a scripted L2: statistics, dirty logging, and a migration that takes a step at each question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from guestloop.ground.errors import Disconnected, Refused
from guestloop.ground.qmp import Qmp
from guestloop.ground.units import PAGE
from scripted.kernel import VCPU_COUNTERS, Kernel
from scripted.script import Script

RELEASED_DOWNTIME_MS = 1000
TARGETS = {"vm": ("remote_tlb_flush_requests", "remote_tlb_flush"), "vcpu": VCPU_COUNTERS}
RAM_PAGES = 16384


class Outgoing:
    """The migration of a source, as ``query-migrate`` reports it. Each question takes it a step further."""

    def __init__(self, script: Script, capabilities: list[str], sync: Callable[[], None]) -> None:
        self._script, self._sync = script, sync
        self._pauses = "pause-before-switchover" in capabilities
        self._multifd = "multifd" in capabilities
        self.status, self.released = "setup", False
        self._rounds = self._sent = self._left = 0
        self._asked = 0
        self._entered = False

    def ask(self) -> dict[str, Any]:
        """The present state, and a step towards the next."""
        answer = self._report()
        self._asked += 1
        if self.status in ("setup", "active"):
            self._go_on()
        elif self.status in ("device", "postcopy-active", "cancelling"):
            self.status = "cancelled" if self.status == "cancelling" else "completed"
        return answer

    def _report(self) -> dict[str, Any]:
        ram = {
            "dirty-sync-count": self._rounds,
            "normal": self._sent,
            "duplicate": 3,
            "remaining": self._left * PAGE,
            "transferred": self._asked,
        }
        ram["multifd-bytes"] = self._script.multifd_bytes if self._multifd and self._sent else 0
        ram["postcopy-requests"] = self._script.page_requests if self._entered else 0
        fault = {"error-desc": "scripted"} if self.status == "failed" else {}
        return {"status": self.status, "ram": ram, **fault}

    def _go_on(self) -> None:
        script = self._script
        if self.status == "active" and self._rounds and self._rounds == script.fails_in:
            self.status = "failed"
        elif self.released or (script.outruns_in and self._rounds >= script.outruns_in):
            self._next_round()
            self.status = "pre-switchover" if self._pauses else "completed"
        elif self.status == "setup":
            self.status = "active"
        elif self._rounds < script.held_in:
            self._next_round()

    def _next_round(self) -> None:
        self._sent += self._left
        self._rounds += 1
        self._left = RAM_PAGES if self._rounds == 1 else self._script.dirty
        self._sync()

    def switch(self, status: str) -> None:
        """What one of the commands has asked for."""
        self.status = status
        self._entered = self._entered or status == "postcopy-active"


class ScriptedQmp(Qmp):
    """The QMP of one L2. ``arrive`` has the guest run at this end, with what it has brought along."""

    def __init__(self, name: str, kernel: Kernel, script: Script, threads: list[int], ring: bool) -> None:
        self.name, self._kernel, self._script = name, kernel, script
        self._threads, self._ring = threads, ring
        self.outgoing: Outgoing | None = None
        self.gone = False
        self.source: Outgoing | None = None
        self._capabilities: list[str] = []
        self._measuring_s = 0
        self.on_cont: Callable[[], None] = lambda: None

    def execute(self, command: str, timeout_s: float = 30.0, **arguments: object) -> Any:
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        return self.execute_as_spelt(command, named, timeout_s)

    def execute_as_spelt(self, command: str, arguments: Mapping[str, object], timeout_s: float = 30.0) -> Any:
        if self.gone:
            raise Disconnected(f"{self.name}: QMP {command}: connection lost (scripted)")
        name = f"_{command.replace('-', '_')}"
        if not hasattr(self, name):
            raise Refused(f"{self.name}: QMP {command} refused: not scripted")
        return getattr(self, name)(**{key.replace("-", "_"): value for key, value in arguments.items()})

    def close(self) -> None:
        self.gone = True

    # --- what is always there

    def _query_status(self) -> dict[str, str]:
        return {"status": "running"}

    def _query_cpus_fast(self) -> list[dict[str, int]]:
        return [{"thread-id": thread, "cpu-index": at} for at, thread in enumerate(self._threads)]

    def _human_monitor_command(self, command_line: str) -> str:
        return f"{command_line}: scripted\r\n"

    def _query_stats_schemas(self, provider: str) -> list[dict[str, Any]]:
        return [
            {"target": target, "stats": [{"name": name, "type": "cumulative"} for name in names]}
            for target, names in TARGETS.items()
        ]

    def _query_stats(self, target: str) -> list[dict[str, Any]]:
        counters = self._kernel.counters(self.name)
        return [{"stats": [{"name": name, "value": counters[name]} for name in TARGETS[target]]}]

    # --- the dirty rate

    def _calc_dirty_rate(self, calc_time: int, mode: str) -> dict[str, Any]:
        self._measuring_s = calc_time
        self._kernel.hit("log_sync", 2)
        return {}

    def _query_dirty_rate(self) -> dict[str, str]:
        """A second is over at once, a minute only when the script has it so."""
        return {"status": "measuring" if self._measuring_s > 1 and self._script.logs else "measured"}

    # --- migration

    def _migrate_set_capabilities(self, capabilities: list[dict[str, Any]]) -> dict[str, Any]:
        self._capabilities = [str(item["capability"]) for item in capabilities if item["state"]]
        return {}

    def _migrate_set_parameters(self, **parameters: object) -> dict[str, Any]:
        downtime_ms = parameters.get("downtime_limit")
        if self.outgoing and isinstance(downtime_ms, int) and downtime_ms > RELEASED_DOWNTIME_MS:
            self.outgoing.released = True
        return {}

    def _migrate_incoming(self, uri: str) -> dict[str, Any]:
        return {}

    def _migrate(self, uri: str) -> dict[str, Any]:
        self.outgoing = Outgoing(self._script, self._capabilities, self._sync)
        return {}

    def _sync(self) -> None:
        """KVM's dirty log is read, or the rings are emptied: what is dirty is write-protected again."""
        kernel, script = self._kernel, self._script
        kernel.flush(self.name, "dirty_log", 5)
        kernel.count(self.name, "remote_tlb_flush_requests", script.uncounted)
        kernel.reload_roots(script.root_loads)
        if self._ring:
            kernel.hit("kvm_dirty_ring_push", script.ring_pages)
            kernel.hit("kvm_dirty_ring_exit", script.ring_exits)
            kernel.hit("kvm_dirty_ring_reset", script.ring_resets)
        else:
            kernel.hit("log_sync", script.log_syncs)

    def _query_migrate(self) -> dict[str, Any]:
        return self.outgoing.ask() if self.outgoing else {}

    def _migrate_continue(self, state: str) -> dict[str, Any]:
        return self._switch("device")

    def _migrate_start_postcopy(self) -> dict[str, Any]:
        return self._switch("completed" if self._script.stays_precopy else "postcopy-active")

    def _migrate_cancel(self) -> dict[str, Any]:
        self._kernel.flush(self.name, "dirty_logging_off", 1)
        return self._switch("cancelling")

    def _switch(self, status: str) -> dict[str, Any]:
        assert self.outgoing
        self.outgoing.switch(status)
        return {}

    def _stop(self) -> dict[str, Any]:
        return {}

    def _cont(self) -> dict[str, Any]:
        self.on_cont()
        return {}
