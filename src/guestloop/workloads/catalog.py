"""All tests with the axes of their variants: the full product, from which profiles select."""

from __future__ import annotations

from collections.abc import Mapping

from guestloop.workloads import aging, asyncpf, migration

Axes = Mapping[str, tuple[str, ...]]

AXES: Mapping[str, Axes] = {
    "asyncpf": asyncpf.AXES,
    "aging": aging.AXES,
    "migration": migration.AXES,
}
