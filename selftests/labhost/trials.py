# SPDX-License-Identifier: GPL-2.0-or-later
"""What runs on which lab host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

REFERENCE = "unpatched"
PACKAGE = "deb:linux-image-cloud-amd64"  # by the name of a meta package: versions vanish from package sources
KERNELS = (REFERENCE, "patched")  # under test, as in any run that names none


class Size(StrEnum):
    """How much is run."""

    SHORT = "short"
    FULL = "full"
    SSH = "ssh"

    @property
    def expected(self) -> str:
        """How long it takes, in words."""
        return {
            Size.SHORT: "at most 25 minutes",
            Size.FULL: "at most 80 minutes",
            Size.SSH: "at most 20 minutes",
        }[self]


@dataclass(frozen=True)
class Trial:
    """One ``scripts/run --accel kvm`` on a lab host. ``profile`` may be one of guest-images/lab-host.

    ``through_ssh``: it is ``scripts/run --host`` that is run, on this machine.
    """

    name: str
    profile: str
    through_ssh: bool = False


@dataclass(frozen=True)
class Stay:
    """What is run between power-on and the end of one host, whose own kernel is ``kernel``."""

    kernel: str
    trials: tuple[Trial, ...]


STAYS = {
    Size.SHORT: (
        Stay(REFERENCE, (Trial("smoke", "smoke"), Trial("cells", "lab-host"))),
        Stay(PACKAGE, (Trial("smoke-on-packaged", "smoke"),)),
    ),
    Size.FULL: (Stay(REFERENCE, (Trial("full", "lab-host-full"),)),),
    Size.SSH: (Stay(REFERENCE, (Trial("smoke-through-ssh", "smoke", through_ssh=True),)),),
}


def profiles(stays: Iterable[Stay]) -> list[str]:
    """The profiles that are run, each once, for the emulator to run them too."""
    return list(dict.fromkeys(trial.profile for stay in stays for trial in stay.trials))
