# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel is built for: to be tested as L1, or to run in every L2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from guestloop.ground.errors import ConfigError
from guestloop.kernels import kconfig


@dataclass(frozen=True)
class Role:
    """What a kernel needs for its role, and what its first build costs with the shipped configuration.

    ``options`` must be in its configuration, for the reason in ``because``. ``files`` is the number of files
    that make reports, ``cpu_s`` the CPU time in seconds on a slow core.
    """

    name: str
    options: Mapping[str, str]
    because: str
    files: int
    cpu_s: float

    def check(self, options: Mapping[str, str], where: str) -> None:
        """Raise ConfigError if a configuration lacks what the role needs, with each option (pure)."""
        if unmet := kconfig.find_unmet(self.options, options):
            raise ConfigError(
                f"{where}: config: not for a kernel of {self.name}: " + "; ".join(map(str, unmet)),
                hint=self.because,
            )


L1 = Role(
    "L1",
    {"KVM": "m", "KVM_AMD": "m", "KVM_INTEL": "m"},
    "KVM is loaded anew for each MMU mode, so it must be built as modules, for AMD and for Intel",
    files=1590,
    cpu_s=420.0,
)

L2 = Role("L2", {}, "", files=1100, cpu_s=180.0)
