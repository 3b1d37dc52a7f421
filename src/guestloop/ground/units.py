"""Sizes that the whole project shares, in bytes."""

PAGE = 4096
MIB = 1 << 20
