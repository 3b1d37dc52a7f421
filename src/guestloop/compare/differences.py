# SPDX-License-Identifier: GPL-2.0-or-later
"""What differs between the kernels of a run beside the change under test, and may be what is seen.

The ground is the same for all kernels as far as they can be told (agent/settings.py). What they cannot be
told is shown: options of their configuration, what they made of the command line, defaults of parameters of
KVM.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from guestloop.ground.words import plural
from guestloop.results.plan import Plan
from guestloop.results.records import BOOT, SETTINGS, Outcome, Round

ABSENT = "-"


class Realm(StrEnum):
    """Where a difference is."""

    CONFIGURATION = "configuration"
    BOOT = "boot"
    SETTINGS = "settings"
    KVM = "kvm"

    @property
    def heading(self) -> str:
        """For a report."""
        return {
            Realm.CONFIGURATION: "options of the configuration",
            Realm.BOOT: "what is fixed at boot",
            Realm.SETTINGS: "settings of memory management",
            Realm.KVM: "parameters of KVM",
        }[self]

    def describe(self, number: int) -> str:
        """``16 options of the configuration``."""
        noun, _, rest = {
            Realm.CONFIGURATION: "option of the configuration",
            Realm.BOOT: "property of the boot",
            Realm.SETTINGS: "setting of memory management",
            Realm.KVM: "parameter of KVM",
        }[self].partition(" of ")
        return f"{plural(number, noun, 'properties' if noun == 'property' else '')} of {rest}"


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in all kernels: its value in each by name, ABSENT where it has none."""

    realm: Realm
    name: str
    values: Mapping[str, str]


def differences(plan: Plan, rounds: Sequence[Round]) -> tuple[Difference, ...]:
    """All of them, by realm and name. What rounds read back is compared in cells that all kernels have."""
    options = {kernel.name: kernel.options for kernel in plan.kernels.measured}
    # Nothing can be said of a kernel whose configuration is not known.
    found = list(_differing(Realm.CONFIGURATION, options)) if all(options.values()) else []
    for realm in (Realm.BOOT, Realm.SETTINGS, Realm.KVM):
        found += _differing(realm, _read_back(realm, rounds))
    return tuple(found)


def _differing(realm: Realm, values: Mapping[str, Mapping[str, str]]) -> Iterator[Difference]:
    for name in sorted({name for one in values.values() for name in one}):
        by_kernel = {kernel: one.get(name, ABSENT) for kernel, one in values.items()}
        if len(set(by_kernel.values())) > 1:
            yield Difference(realm, name, by_kernel)


def _read_back(realm: Realm, rounds: Iterable[Round]) -> dict[str, dict[str, str]]:
    """By kernel and fact what its rounds read back: all values, where cells want different ones."""
    chosen = [item for item in rounds if _tells(realm, item)]
    kernels = dict.fromkeys(item.kernel for item in chosen)
    cells = {name: {item.cell.id for item in chosen if item.kernel == name} for name in kernels}
    shared = set.intersection(*cells.values()) if cells else set()
    values: dict[str, dict[str, set[str]]] = {name: {} for name in kernels}
    for item in chosen:
        for fact, value in item.facts.items() if item.cell.id in shared else ():
            if _realm_of(fact) is realm:
                values[item.kernel].setdefault(fact, set()).add(value)
    return {
        name: {fact: " or ".join(sorted(seen)) for fact, seen in own.items()} for name, own in values.items()
    }


def _tells(realm: Realm, item: Round) -> bool:
    """A round that broke off may not have got as far as the settings of its cell."""
    if realm is Realm.SETTINGS and item.outcome is not Outcome.MEASURED:
        return False
    return any(_realm_of(fact) is realm for fact in item.facts)


@cache
def _realm_of(fact: str) -> Realm | None:
    if fact.startswith(BOOT):
        return Realm.BOOT
    if fact.startswith(SETTINGS):
        return Realm.SETTINGS
    if fact.startswith(("kvm.", "kvm_")) and not fact.endswith(".build_id"):
        return Realm.KVM
    return None
