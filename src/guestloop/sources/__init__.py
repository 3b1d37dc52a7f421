# SPDX-License-Identifier: GPL-2.0-or-later
"""Sources of kernels: series of patches as people have them, and the trees that git makes of them."""

from guestloop.sources.applying import Applied, apply, apply_to_tree
from guestloop.sources.bases import Source, find_source
from guestloop.sources.reading import read_series
from guestloop.sources.repositories import has_commit
from guestloop.sources.series import Patch, Series, patch_id
from guestloop.sources.stages import DirectoryStage
from guestloop.sources.trees import Tree

__all__ = [
    "Applied",
    "DirectoryStage",
    "Patch",
    "Series",
    "Source",
    "Tree",
    "apply",
    "apply_to_tree",
    "find_source",
    "has_commit",
    "patch_id",
    "read_series",
]
