"""Everything that is built is kept here by the hash of what it was made from."""

from guestloop.cache.store import DISK_FULL, NO_SPACE, Cache, content_key, default_root, file_digest

__all__ = ["DISK_FULL", "NO_SPACE", "Cache", "content_key", "default_root", "file_digest"]
