"""All tests with the axes of their variants: the full product, from which profiles select."""

from __future__ import annotations

from collections.abc import Mapping

from guestloop.workloads import asyncpf

Axes = Mapping[str, tuple[str, ...]]

AXES: Mapping[str, Axes] = {
    "asyncpf": {"load": tuple(asyncpf.Load)},
}
