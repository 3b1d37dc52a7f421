# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels of guestloop's own are configured for a few CPUs, and for more only where these are used."""

from __future__ import annotations

from dataclasses import replace

from guestloop.config import REPOSITORY, KernelSpec
from guestloop.kernels import kconfig

MANY_CPUS = REPOSITORY / "kernels" / "config" / "many-cpus.config"


def with_cpus(spec: KernelSpec, wanted: int) -> KernelSpec:
    """The kernel for a machine with so many CPUs.

    A whole configuration is the user's own, and says itself how many it is for. Raises ConfigError for
    fragments that cannot be read.
    """
    configured = kconfig.merge(spec.config).get("NR_CPUS", "")
    if spec.whole_config or not configured.isdigit() or int(configured) >= wanted:
        return spec
    return replace(spec, config=(*spec.config, MANY_CPUS))
