# SPDX-License-Identifier: GPL-2.0-or-later
"""L1's root disk and L2's initramfs, built from guest-images/ and cached."""

from guestloop.images.l1 import L1Image, build_l1
from guestloop.images.l2 import L2Image, build_l2

__all__ = ["L1Image", "L2Image", "build_l1", "build_l2"]
