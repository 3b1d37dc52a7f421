# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of machine that there are, and which of them a run takes."""

from __future__ import annotations

from dataclasses import dataclass

from guestloop.ground.errors import ConfigError, LabError
from guestloop.machines.emulated_svm import EmulatedSvm
from guestloop.machines.features import Feature, State, state
from guestloop.machines.host import Host, Vendor
from guestloop.machines.kind import MachineKind
from guestloop.machines.nested_kvm import NestedKvm

# In the order of preference. The last one runs on every host.
KINDS: tuple[MachineKind, ...] = (NestedKvm(), EmulatedSvm())
AUTO = "auto"


@dataclass(frozen=True)
class Choice:
    """The kind of machine that L1 runs on, the vendor that L1 sees there, and why this kind and no other."""

    kind: MachineKind
    vendor: Vendor
    reason: str

    def __str__(self) -> str:
        return f"{self.kind.name} ({self.reason})"


def choose(host: Host, wanted: str = AUTO) -> Choice:
    """Resolve ``auto``, which takes the first kind that this host can run, or the name of a kind.

    Raises LabError when the wanted kind cannot be had here, ConfigError when there is none of this name.
    """
    if wanted == AUTO:
        kind = next(kind for kind in KINDS if kind.availability(host).usable)
    else:
        kind = _find(host, wanted)
    return Choice(kind, kind.vendor(host), _reason(host, kind))


def kind_named(name: str) -> MachineKind:
    """The kind of this name, whether or not this host can run it. Raises ConfigError when there is none."""
    kind = next((kind for kind in KINDS if kind.name == name), None)
    if kind is None:
        known = ", ".join([AUTO, *(kind.name for kind in KINDS)])
        raise ConfigError(f"unknown accelerator {name!r}", hint=f"accelerators: {known}")
    return kind


def _find(host: Host, name: str) -> MachineKind:
    kind = kind_named(name)
    seen = kind.availability(host)
    if not seen.usable:
        raise LabError(f"--accel {name}: {seen.reason}", hint=seen.hint)
    return kind


def _reason(host: Host, chosen: MachineKind) -> str:
    """What speaks for the chosen kind, and why those that are preferred to it are not used."""
    own = chosen.availability(host).reason
    preferred = KINDS[: KINDS.index(chosen)]
    against = [f"{kind.title} is not used: {kind.availability(host).reason}" for kind in preferred]
    return "; ".join([f"{chosen.title}: {own}" if own else chosen.title, *against])


def labels(host: Host) -> tuple[str, ...]:
    """What a scheduler may ask of this host: features of an L1 on hardware, else the name of the emulator."""
    if not KINDS[0].availability(host).usable:
        return (KINDS[-1].name,)
    return tuple(feature.value for feature in Feature if state(host, feature) is State.OFFERED)
