# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM's modules: none is loaded."""

from __future__ import annotations

from guestloop.agent.changed import Watched
from guestloop.agent.dirty_ring import RingLimits
from guestloop.agent.kvm import Kvm
from scripted.stage import Stage


class ScriptedKvm(Kvm):
    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.directory, stage.trace)
        self._l1 = stage.l1

    def load(self, mmu: str, parameters: dict[str, dict[str, str]]) -> dict[str, str]:
        facts = {f"{module}.build_id": "ef01" for module in parameters}
        for module, values in parameters.items():
            facts |= {f"{module}.{key}": value for key, value in values.items()}
        return facts

    def ring_limits(self) -> RingLimits:
        return self._l1.script.ring_limits

    def watch(self, watched: tuple[Watched, ...]) -> None:
        self._l1.watched = watched

    def functions(self, names: list[str]) -> list[str]:
        """All but those of what came and went before 6.12."""
        return [name for name in names if "change_pte" not in name and name != "kvm_set_spte_gfn"]

    def try_out(self) -> None:
        """It accepts the machine."""

    def unload(self) -> None:
        """No module is loaded."""
