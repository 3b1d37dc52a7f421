# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel of every L2: guestloop's own, the same under all kernels under test, and none of them."""

from __future__ import annotations

from pathlib import Path

from guestloop.cache import Cache, file_digest
from guestloop.config import REPOSITORY, parse_kernel
from guestloop.kernels.artifacts import Kernel
from guestloop.kernels.build import build_kernel
from guestloop.kernels.cpus import with_cpus
from guestloop.kernels.role import L2
from guestloop.results.plan import L2Kernel

SPEC = REPOSITORY / "guest-images" / "l2" / "l2.yaml"


def build_l2_kernel(cache: Cache, spec: Path = SPEC, cpus: int = 1) -> Kernel:
    """Return the kernel of every L2, from the cache or built now, for L2s of up to so many vCPUs.

    Raises what build_kernel raises.
    """
    return build_kernel(with_cpus(parse_kernel(spec), cpus), cache, L2)


def describe_l2_kernel(kernel: Kernel) -> L2Kernel:
    """What a record says about the kernel of every L2."""
    return L2Kernel(
        release=kernel.release,
        base=kernel.base,
        config_sha256=file_digest(kernel.config),
        compiler=kernel.compiler,
        build_id=kernel.build_ids["vmlinux"],
    )
