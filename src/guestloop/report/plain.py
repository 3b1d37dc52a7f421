# SPDX-License-Identifier: GPL-2.0-or-later
"""Texts that come from elsewhere - consoles, subjects of patches, names - made harmless for any format.

What they say stays. What would act on the reader's terminal or parser, or cannot be in XML or UTF-8, goes.
"""

from __future__ import annotations

import re

# ECMA-48: CSI and OSC sequences, and those of two characters.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")

# Control characters but for tab and newline, surrogates, what no XML may have, and what turns the direction
# of text or begins a line of its own (Unicode, Bidi_Control and line separators).
_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def clean(text: str) -> str:
    """``text`` without escape sequences; each other character that acts is shown as ``\\x07``."""
    return _HARMFUL.sub(_shown, _ESCAPES.sub("", text.replace("\r\n", "\n")))


def one_line(text: str) -> str:
    """``clean`` text with each run of blanks and newlines as one blank."""
    return " ".join(clean(text).split())


def word(text: str) -> str:
    """``text`` as a name of ASCII letters, digits, dashes and underscores; never empty."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-") or "x"


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
