# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels of a run, whether guestloop builds them or they exist already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from guestloop.cache import Cache
from guestloop.config import ExistingSpec, KernelArgument, KernelSpec
from guestloop.ground.errors import ConfigError, GuestloopError, NotApplied
from guestloop.ground.log import say
from guestloop.ground.words import plural
from guestloop.job.options import labels
from guestloop.kernels import (
    Inputs,
    Kernel,
    build_kernel,
    describe_attempt,
    describe_inputs,
    find_inputs,
)
from guestloop.kernels.cpus import with_cpus
from guestloop.kernels.existing import make_bootable, unpack_existing
from guestloop.results.origin import Origin, OriginKind, describe_origin
from guestloop.results.plan import PlannedKernel, Reach
from guestloop.results.provenance import Expectation, Failure, Provenance
from guestloop.results.sizes import Sizes
from guestloop.sources import read_series


@dataclass(frozen=True)
class ToBuild:
    """A kernel that is built when the lab is prepared, under its name in the results.

    ``inputs`` are what it is built from: what was announced, whatever becomes of its files until then.
    ``refusal`` is set if its series does not apply, and then there are none.
    """

    name: str
    spec: KernelSpec
    provenance: Provenance = field(default_factory=Provenance)
    refusal: NotApplied | None = None
    inputs: Inputs | None = None

    @property
    def reach(self) -> Reach:
        return self.spec.reach

    @property
    def expect(self) -> tuple[Expectation, ...]:
        return self.spec.expect

    def obtain(self, cache: Cache) -> Kernel:
        """Build it, or take it from the cache. Raises what ``build_kernel`` does."""
        if self.refusal:
            raise self.refusal
        return build_kernel(self.spec, cache, inputs=self.inputs)

    def origin(self, kernel: Kernel) -> Origin:
        """What the results say of where it comes from."""
        return self._origin(kernel.base, kernel.release)

    def plan_without(self, failure: Failure) -> PlannedKernel:
        """What the plan says of it if it cannot be built."""
        made = self.provenance
        series = tuple(patch.name for patch in made.patches)
        return _plan_without(self, made.base, series, self._origin(made.base, ""), failure)

    def _origin(self, base: str, release: str) -> Origin:
        return Origin(OriginKind.BUILT, self.spec.written or self.spec.name, base, release)


@dataclass(frozen=True)
class Existing:
    """A kernel that was there and can be booted. What its patches are, and where they act, is not known."""

    name: str
    kernel: Kernel
    found: Origin
    reach: Reach = field(default_factory=Reach)
    expect: tuple[Expectation, ...] = ()
    provenance: None = None
    refusal: None = None

    def obtain(self, _cache: Cache) -> Kernel:
        """The kernel, which is in the cache."""
        return self.kernel

    def origin(self, _kernel: Kernel) -> Origin:
        """What was named, and what was taken for it."""
        return self.found

    def plan_without(self, failure: Failure) -> PlannedKernel:
        """What the plan says of it if it cannot be L1 on this machine."""
        return _plan_without(self, self.kernel.base, (), self.found, failure)


Subject = ToBuild | Existing


def _plan_without(
    subject: Subject, base: str, series: tuple[str, ...], origin: Origin, failure: Failure
) -> PlannedKernel:
    return PlannedKernel(
        name=subject.name,
        release="",
        base=base,
        series=series,
        sha256="",
        reach=subject.reach,
        origin=origin,
        provenance=subject.provenance,
        expect=subject.expect,
        failure=failure,
    )


def fit_kernels(specs: Sequence[KernelArgument], sizes: Sizes) -> tuple[KernelArgument, ...]:
    """The kernels to compare, with those that are built for as many CPUs as an L1 has.

    Raises ConfigError for a configuration that cannot be read.
    """
    return tuple(with_cpus(one, sizes.l1_cpus) if isinstance(one, KernelSpec) else one for one in specs)


def find_subjects(
    specs: Sequence[KernelArgument], module: str, cache: Cache, expect: Sequence[Expectation] = ()
) -> tuple[Subject, ...]:
    """The kernels of a run, in order, by their names in the results; those that exist are made bootable.

    ``module`` is KVM's for the CPU that L1 sees. ``expect`` is what all candidates are for, beside what their
    files say. Sources are found and series applied to them, so what cannot be had is known before anything is
    built or a result is written. Raises ConfigError for a kernel that cannot be had or cannot be L1 on this
    machine; of candidates that do not apply only if no other is left.
    """
    named = dict(zip(labels(specs), specs, strict=True))
    # First what takes no time: reading the base of the first kernel may take a minute.
    for spec in specs:
        if isinstance(spec, KernelSpec):
            read_series(spec.series)
    existing = {
        name: _existing(name, spec, module, cache)
        for name, spec in named.items()
        if not isinstance(spec, KernelSpec)
    }
    reference, *candidates = (
        _to_build(name, spec, cache) if isinstance(spec, KernelSpec) else existing[name]
        for name, spec in named.items()
    )
    if reference.refusal:
        raise reference.refusal
    refuse_if_none_is_left([one.refusal for one in candidates])
    return (reference, *(_expecting(one, expect) for one in candidates))


def _to_build(name: str, spec: KernelSpec, cache: Cache) -> ToBuild:
    try:
        inputs = find_inputs(spec, cache)
        subject = ToBuild(name, spec, describe_inputs(spec, inputs), inputs=inputs)
    except NotApplied as error:
        subject = ToBuild(name, spec, describe_attempt(spec, cache), error)
    announce(subject)
    return subject


def announce(subject: ToBuild) -> None:
    """Say what was taken for base, series and configuration of a kernel."""
    made = subject.provenance
    parts = [
        made.base,
        plural(len(made.patches), "patch", "patches") if made.patches else "",
        f"tree {made.tree[:12]}" if made.tree else "",
        f"configuration {', '.join(made.config.files)}",
    ]
    say(f"==> {subject.name}: {', '.join(filter(None, parts))}")
    for patch in made.patches:
        say(f"      {patch.name}: {patch.subject}" if patch.subject else f"      {patch.name}")
    for note in made.notes:
        say(f"      {note}")
    if made.config.laid_over:
        say(f"      laid over {made.config.files[0]}: {', '.join(made.config.laid_over)}")


def refuse_no_change(subjects: Sequence[Subject]) -> None:
    """Raise ConfigError if a candidate is what the reference is. Comparing them would find nothing."""
    reference, *candidates = (subject.provenance for subject in subjects)
    for made in filter(None, candidates):
        if reference and made.tree and (made.tree, made.config.sha256) == _key(reference):
            raise ConfigError(
                f"nothing is changed: tree {made.tree[:12]} and the configuration are the reference's",
                hint="a kernel is compared with itself by --kernels unpatched,unpatched",
            )


def _key(made: Provenance) -> tuple[str, str]:
    return made.tree, made.config.sha256


def _existing(name: str, spec: ExistingSpec, module: str, cache: Cache) -> Existing:
    unpacked = unpack_existing(spec, cache)
    kernel = make_bootable(unpacked, name, cache)
    kernel.require_module(module)
    say(f"==> {name}: {describe_origin(unpacked.origin)}")
    return Existing(name, kernel, unpacked.origin)


def _expecting(subject: Subject, expect: Sequence[Expectation]) -> Subject:
    """A candidate with what the command line says it is for, which goes before what its file says."""
    named = {one.path for one in expect}
    merged = (*expect, *(one for one in subject.expect if one.path not in named))
    if isinstance(subject, Existing):
        return replace(subject, expect=merged)
    return replace(subject, spec=replace(subject.spec, expect=merged))


def refuse_if_none_is_left(errors: Sequence[GuestloopError | None]) -> None:
    """Raise the errors of all candidates as one, unless some candidate is left or does not compile."""
    refused = [error for error in errors if isinstance(error, ConfigError)]
    if not refused or len(refused) < len(errors):
        return
    if len(refused) == 1:
        raise refused[0]
    said = "\n".join(f"  {error}" for error in refused)
    raise ConfigError(f"none of {len(errors)} candidates can be measured:\n{said}", hint=refused[0].hint)
