# SPDX-License-Identifier: GPL-2.0-or-later
"""What the history keeps of a result: a run, its kernels, and of each round what can be compared.

Dropped are phases, call stacks and texts. What is kept is what a verdict is made from, and what calibration
learns from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from guestloop.compare import KernelState
from guestloop.report.results import KernelResult, Result
from guestloop.results.changes import Probed
from guestloop.results.findings import Finding
from guestloop.results.good_rounds import RunClass
from guestloop.results.origin import Origin, OriginKind
from guestloop.results.plan import L2Kernel, MadeBy, PlannedKernel, Reach
from guestloop.results.provenance import Provenance
from guestloop.results.records import DIGEST, Round
from guestloop.results.sizes import USUAL, Sizes

HOST_FACTS = ("cpu", "cpus", "qemu")
"""Facts of a host by which two are told apart; others are explanations, or differ from boot to boot."""

L2_PAYLOAD = f"{DIGEST}l2_initramfs"

LONGEST_TEXT = 200
"""Characters of the first line of a finding or a complaint, of which no more is kept."""

LATE_LINES = 3


@dataclass(frozen=True)
class KernelRecord:
    """A kernel of a run; the fields are those of ``KernelResult``."""

    name: str
    release: str
    base: str
    series: tuple[str, ...]
    sha256: str
    identity: str
    origin: Origin
    provenance: Provenance | None = None
    absent_paths: tuple[str, ...] = ()
    late: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """That of its package, where it is one; else its release. Kernels are ordered by it."""
        packaged = self.origin.kind in (OriginKind.PACKAGE, OriginKind.FILES)
        return self.origin.version if packaged and self.origin.version else self.release

    def planned(self, name: str) -> PlannedKernel:
        """As a verdict wants it."""
        return PlannedKernel(
            name,
            self.release,
            self.base,
            self.series,
            self.sha256,
            Reach(),
            self.origin,
            provenance=self.provenance,
        )


@dataclass(frozen=True)
class Setting:
    """What runs must have in common for the rounds of a kernel to be joined, and kernels to be compared.

    ``l2_build`` is the build id of the kernel of every L2, ``l2_payload`` the SHA-256 of what runs in it;
    empty where that was not recorded. ``host`` has the facts that tell hosts apart, in order, and the sizes
    of a run that had other ones than usual.
    """

    accelerator: str
    l2_release: str
    l2_build: str
    l2_payload: str
    host: tuple[tuple[str, str], ...]

    @property
    def id(self) -> str:
        """A short name that stays as long as the setting does."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:8]

    def __str__(self) -> str:
        """For people: ``tcg; L2 6.12.117 (build id 0595a78e11ac); cpu AMD EPYC, cpus 2, qemu 1:7.2``."""
        l2 = f"L2 {self.l2_release} (build id {self.l2_build[:12]})" if self.l2_build else "L2 not recorded"
        payload = f", payload {self.l2_payload[:12]}" if self.l2_payload else ""
        host = (f"{name} {value.removeprefix(f'{name} ')}" for name, value in self.host)
        return f"{self.accelerator}; {l2}{payload}; {', '.join(host)}"


@dataclass(frozen=True)
class Run:
    """A result, reduced. The fields are those of ``Course`` and ``Result``.

    ``rounds`` have neither phases nor facts nor evidence; ``Round.kernel`` is the name of one of ``kernels``.
    A kernel that could not be built has no rounds, and is left out.
    """

    id: str
    started: str
    ended: str
    made_by: MadeBy
    profile: str
    accelerator: str
    host: Mapping[str, str]
    l2_kernel: L2Kernel | None
    l2_payload: str
    looks: tuple[int, ...]
    kernels: tuple[KernelRecord, ...]
    rounds: tuple[Round, ...] = field(repr=False)
    sizes: Sizes = USUAL

    @property
    def setting(self) -> Setting:
        l2 = self.l2_kernel
        sizes = () if self.sizes == USUAL else (("sizes", str(self.sizes)),)
        return Setting(
            self.accelerator,
            l2.release if l2 else "",
            l2.build_id if l2 else "",
            self.l2_payload,
            (*((name, self.host.get(name, "")) for name in HOST_FACTS), *sizes),
        )

    @property
    def run_class(self) -> RunClass:
        """By which rounds of good kernels are found."""
        l2 = self.l2_kernel
        known = (l2.base, l2.config_sha256) if l2 else ("", "")
        return RunClass(self.accelerator, *known, self.sizes)

    @property
    def date(self) -> str:
        """The day when it began, ``2026-04-08``; empty if that was not recorded."""
        return self.started[:10]


def reduce_result(result: Result) -> Run:
    """Keep of a result what the history needs; the rounds in the order of cells, numbers and kernels."""
    course = result.course
    everything = [item for cell in result.cells for item in cell.rounds]
    rounds = tuple(map(_reduced, everything))
    return Run(
        id=course.id or _digest(rounds),
        started=course.started,
        ended=course.ended,
        made_by=course.made_by,
        profile=result.profile,
        accelerator=result.accelerator,
        host={name: value for name, value in result.host.items() if name in HOST_FACTS},
        l2_kernel=result.l2_kernel,
        l2_payload=next((item.facts[L2_PAYLOAD] for item in everything if L2_PAYLOAD in item.facts), ""),
        looks=course.looks,
        kernels=tuple(_kernel(one) for one in result.kernels.values() if _can_be_booted(one)),
        rounds=rounds,
        sizes=course.sizes,
    )


def _can_be_booted(kernel: KernelResult) -> bool:
    return kernel.state in (KernelState.MEASURED, KernelState.NOT_BOOTED)


def _kernel(one: KernelResult) -> KernelRecord:
    return KernelRecord(
        name=one.name,
        release=one.release,
        base=one.base,
        series=one.series,
        sha256=one.sha256,
        identity=one.identity,
        origin=replace(one.origin, sha256={}),
        provenance=one.provenance,
        absent_paths=one.absent_paths,
        late=tuple(map(_shorten, one.late[:LATE_LINES])),
    )


def _reduced(item: Round) -> Round:
    return replace(
        item,
        reason="",
        phases={},
        facts={},
        evidence=(),
        absent_paths=(),
        findings=tuple(Finding(one.kind, _shorten(one.text)) for one in item.findings),
        probed=Probed(disturbing=item.probed.disturbing) if item.probed else None,
        seconds=round(item.seconds, 1),
    )


def _shorten(text: str) -> str:
    """Of its first line."""
    return text.partition("\n")[0][:LONGEST_TEXT]


def _digest(rounds: tuple[Round, ...]) -> str:
    """In place of an id, for results of a guestloop that gave none: the same rounds have the same."""
    text = json.dumps([asdict(item) for item in rounds], sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
