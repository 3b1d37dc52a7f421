# SPDX-License-Identifier: GPL-2.0-or-later
"""Sources of kernels: series of patches as people have them, and the trees that git makes of them."""

from guestloop.sources.reading import read_series
from guestloop.sources.series import Patch, Series, patch_id

__all__ = ["Patch", "Series", "patch_id", "read_series"]
