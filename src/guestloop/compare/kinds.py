# SPDX-License-Identifier: GPL-2.0-or-later
"""What is compared: a series with what it is made to, two configurations, or two releases.

Of a series every path is judged, since nothing else differs. Between configurations and releases many
things differ at once, so that the cost as a whole decides and the paths explain it.
"""

from __future__ import annotations

import re
from enum import StrEnum

from guestloop.results.plan import PlannedKernel

_VERSION = re.compile(r"\d+(?:\.\d+)*(?:-rc\d+)?")


class Kind(StrEnum):
    """How the candidate differs from the reference."""

    IDENTICAL = "identical"
    SERIES = "series"
    CONFIGURATION = "configuration"
    RELEASES = "releases"

    @property
    def judges_paths(self) -> bool:
        """A path that changed is a change that the candidate made."""
        return self in (Kind.IDENTICAL, Kind.SERIES)

    @property
    def words(self) -> str:
        """For a report."""
        return {
            Kind.IDENTICAL: "the same build",
            Kind.SERIES: "the same source and configuration, but for the series",
            Kind.CONFIGURATION: "two configurations of one source",
            Kind.RELEASES: "two releases",
        }[self]


def kind_of(reference: PlannedKernel, candidate: PlannedKernel) -> Kind:
    """What the comparison of these two is.

    Kernels of one version number whose configurations are not known to differ are taken for a series: then
    each path is judged, which is the stricter way. Of one that could not be had only the base is known.
    """
    if candidate.failure:
        return Kind.SERIES if candidate.base == reference.base else Kind.RELEASES
    if candidate.is_same_build(reference):
        return Kind.IDENTICAL
    if _version(reference) != _version(candidate):
        return Kind.RELEASES
    return Kind.CONFIGURATION if _configurations_differ(reference, candidate) else Kind.SERIES


def _version(kernel: PlannedKernel) -> str:
    """``6.12.117`` of ``6.12.117+deb13-cloud-amd64``."""
    found = _VERSION.match(kernel.release)
    return found[0] if found else kernel.release


def _configurations_differ(one: PlannedKernel, other: PlannedKernel) -> bool:
    if one.provenance and other.provenance:
        return one.provenance.config.sha256 != other.provenance.config.sha256
    return bool(one.options and other.options and one.options != other.options)
