# SPDX-License-Identifier: GPL-2.0-or-later
"""The cache of everything that is built, keyed by a hash of the inputs."""

from guestloop.cache.store import (
    DISK_FULL,
    MANIFEST,
    NO_SPACE,
    Cache,
    content_key,
    default_root,
    file_digest,
    says_no_space,
)

__all__ = [
    "DISK_FULL",
    "MANIFEST",
    "NO_SPACE",
    "Cache",
    "content_key",
    "default_root",
    "file_digest",
    "says_no_space",
]
