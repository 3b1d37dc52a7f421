# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels of a run, whether guestloop builds them or they exist already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from guestloop.cache import Cache
from guestloop.config import ExistingSpec, KernelArgument, KernelSpec
from guestloop.job.options import labels
from guestloop.kernels import Kernel, build_kernel
from guestloop.kernels.existing import make_bootable, unpack_existing
from guestloop.results.origin import Origin, OriginKind
from guestloop.results.plan import PlannedKernel, Reach
from guestloop.results.provenance import Expectation, Failure, Provenance


@dataclass(frozen=True)
class ToBuild:
    """A kernel that is built when the lab is prepared, under its name in the results."""

    name: str
    spec: KernelSpec
    provenance: Provenance | None = None

    @property
    def expect(self) -> tuple[Expectation, ...]:
        return self.spec.expect

    @property
    def reach(self) -> Reach:
        return self.spec.reach

    def obtain(self, cache: Cache) -> Kernel:
        """Build it, or take it from the cache. Raises what ``build_kernel`` does."""
        return build_kernel(self.spec, cache)

    def origin(self, kernel: Kernel) -> Origin:
        """What the results say of where it comes from."""
        return Origin(OriginKind.BUILT, self.spec.name, kernel.base, kernel.release)

    def plan_without(self, failure: Failure) -> PlannedKernel:
        """What the plan says of it if it cannot be built."""
        origin = Origin(OriginKind.BUILT, self.spec.name, self.spec.base.location, "")
        series = tuple(path.name for path in self.spec.series)
        return PlannedKernel(
            name=self.name,
            release="",
            base=self.spec.base.location,
            series=series,
            sha256="",
            reach=self.reach,
            origin=origin,
            provenance=self.provenance,
            expect=self.expect,
            failure=failure,
        )


@dataclass(frozen=True)
class Existing:
    """A kernel that was there and can be booted. What its patches are, and where they act, is not known."""

    name: str
    kernel: Kernel
    found: Origin
    reach: Reach = field(default_factory=Reach)
    expect: tuple[Expectation, ...] = ()
    provenance: None = None

    def obtain(self, _cache: Cache) -> Kernel:
        """The kernel, which is in the cache."""
        return self.kernel

    def origin(self, _kernel: Kernel) -> Origin:
        """What was named, and what was taken for it."""
        return self.found

    def plan_without(self, failure: Failure) -> PlannedKernel:
        """What the plan says of it if it cannot be L1 on this machine."""
        return PlannedKernel(
            name=self.name,
            release="",
            base=self.kernel.base,
            series=(),
            sha256="",
            reach=self.reach,
            origin=self.found,
            failure=failure,
        )


Subject = ToBuild | Existing


def find_subjects(specs: Sequence[KernelArgument], module: str, cache: Cache) -> tuple[Subject, ...]:
    """The kernels of a run, in order, by their names in the results; those that exist are made bootable.

    ``module`` is KVM's for the CPU that L1 sees. Nothing is built, and no result is written yet. Raises
    ConfigError for a kernel that cannot be had or cannot be L1 on this machine.
    """
    return tuple(
        ToBuild(name, spec) if isinstance(spec, KernelSpec) else _existing(name, spec, module, cache)
        for name, spec in zip(labels(specs), specs, strict=True)
    )


def _existing(name: str, spec: ExistingSpec, module: str, cache: Cache) -> Existing:
    unpacked = unpack_existing(spec, cache)
    kernel = make_bootable(unpacked, name, cache)
    kernel.require_module(module)
    return Existing(name, kernel, unpacked.origin)
