# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs joined to series: the kernels that can be compared, each with all its rounds, the oldest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from guestloop.compare.proof import wrong_ones
from guestloop.debian.index import version_key
from guestloop.history.rates import gives_rate
from guestloop.history.runs import KernelRecord, Run, Setting
from guestloop.report.plain import one_line
from guestloop.results.cells import Cell
from guestloop.results.good_rounds import RunClass
from guestloop.results.records import Round

SHORT = 8
"""Digits of a build's SHA-256 that tell two of one version apart."""

Part = tuple[Run, KernelRecord, int]
"""A kernel in a run, and what is added to the numbers of its rounds."""


@dataclass(frozen=True)
class SeriesKernel:
    """One build with all rounds on it. ``label`` is its version, unlike that of every other kernel.

    ``record`` is the one of its last run. In ``rounds`` the kernel is called by its label, and rounds of two
    kernels have one number if they are of one run and had one number there, that is, ran next to each other.
    """

    label: str
    record: KernelRecord
    runs: tuple[Run, ...] = field(repr=False)
    rounds: tuple[Round, ...] = field(repr=False)

    @property
    def dates(self) -> tuple[str, ...]:
        """The days when it was measured."""
        return tuple(dict.fromkeys(run.date for run in self.runs if run.date))

    @property
    def late(self) -> tuple[str, ...]:
        """What its L1s complained of after their last rounds."""
        records = (one for run in self.runs for one in run.kernels if one.sha256 == self.record.sha256)
        return tuple(line for one in records for line in one.late)

    @property
    def is_wrong(self) -> bool:
        """Something went wrong on it in a cell."""
        return any(map(wrong_ones, self._by_cell.values()))

    @cached_property
    def _by_cell(self) -> Mapping[str, tuple[Round, ...]]:
        cells: dict[str, list[Round]] = {}
        for item in self.rounds:
            cells.setdefault(item.cell.id, []).append(item)
        return {cell: tuple(rounds) for cell, rounds in cells.items()}

    @cached_property
    def _rated(self) -> Mapping[str, tuple[Round, ...]]:
        return {cell: tuple(filter(gives_rate, rounds)) for cell, rounds in self._by_cell.items()}

    def on(self, cell: Cell) -> tuple[Round, ...]:
        """All its rounds of a cell."""
        return self._by_cell.get(cell.id, ())

    def rated(self, cell: Cell) -> tuple[Round, ...]:
        """Those that give a rate."""
        return self._rated.get(cell.id, ())


@dataclass(frozen=True)
class Series:
    """The kernels of one setting that are as somebody released them, the oldest first.

    Those with a series of patches on top are not among them: their own results compare them with their base.
    ``patched`` has their names. ``cells`` are in the order of the runs.
    """

    setting: Setting
    run_class: RunClass
    runs: tuple[Run, ...] = field(repr=False)
    kernels: tuple[SeriesKernel, ...]
    patched: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def looks(self) -> tuple[int, ...]:
        """After how many rounds of a kernel somebody looked, in any run."""
        return tuple(sorted({look for run in self.runs for look in run.looks}))


def series_of(runs: Iterable[Run]) -> tuple[Series, ...]:
    """A series for each setting, in the order in which they came up."""
    settings: dict[Setting, list[Run]] = {}
    for run in runs:
        settings.setdefault(run.setting, []).append(run)
    return tuple(_series(setting, own) for setting, own in settings.items())


def _series(setting: Setting, runs: Sequence[Run]) -> Series:
    parts: dict[str, list[Part]] = {}
    for part in _parts(runs):
        parts.setdefault(part[1].sha256, []).append(part)
    plain = {sha: own for sha, own in parts.items() if not own[-1][1].series}
    labels = _labels([own[-1][1] for own in plain.values()])
    return Series(
        setting,
        runs[-1].run_class,
        tuple(runs),
        tuple(sorted((_join(labels[sha], own) for sha, own in plain.items()), key=_age)),
        tuple(dict.fromkeys(one.name for run in runs for one in run.kernels if one.series)),
        tuple({item.cell.id: item.cell for run in runs for item in run.rounds}.values()),
    )


def _parts(runs: Sequence[Run]) -> Iterator[Part]:
    """Each kernel of each run. What is added to the numbers of its rounds is the same for all kernels of a
    run, so that partners stay partners, but for a build that is there under a second name.
    """
    offset = 0
    for run in runs:
        most = max((item.round for item in run.rounds), default=0)
        seen: Counter[str] = Counter()
        for record in run.kernels:
            yield run, record, offset + most * seen[record.sha256]
            seen[record.sha256] += 1
        offset += most * max(seen.values(), default=0)


def _join(label: str, parts: Sequence[Part]) -> SeriesKernel:
    rounds = tuple(
        replace(
            item,
            kernel=label,
            round=item.round + offset,
            repeats=item.repeats and item.repeats + offset,
            absent_paths=record.absent_paths,
        )
        for run, record, offset in parts
        for item in run.rounds
        if item.kernel == record.name
    )
    runs = {run.id: run for run, _, _ in parts}
    return SeriesKernel(label, parts[-1][1], tuple(runs.values()), rounds)


def _labels(records: Sequence[KernelRecord]) -> Mapping[str, str]:
    """A label for each build, by its SHA-256: as much as tells it from all others."""
    labels: dict[str, str] = {}
    for one in records:
        version = one_line(one.version or one.name)
        labels[one.sha256] = f"{version}#{one.sha256}"
        for label in (f"{version}#{one.sha256[:SHORT]}", version):
            if sum(_may_be(label, other) for other in records) == 1:
                labels[one.sha256] = label
    return labels


def _may_be(label: str, record: KernelRecord) -> bool:
    version = one_line(record.version or record.name)
    return label in (version, f"{version}#{record.sha256[:SHORT]}")


def _age(kernel: SeriesKernel) -> tuple[object, ...]:
    """By version; builds of one version by when they were measured first."""
    # A colon would be an epoch, and dpkg knows candidates of a release by a tilde.
    version = kernel.record.version.replace(":", ".").replace("-rc", "~rc")
    return version_key(version), min(kernel.dates, default=""), kernel.label
