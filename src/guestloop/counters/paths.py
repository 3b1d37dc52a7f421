# SPDX-License-Identifier: GPL-2.0-or-later
"""What requested a flush: from a call stack to a named path (rules.py)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from guestloop.counters.histogram import Histogram
from guestloop.counters.rules import FLUSH_HELPERS, RULES, TRACERS
from guestloop.ground.errors import LabError

PATHS = tuple(rule.path for rule in RULES)
"""Every call path that has a name."""

OTHER = "other:"
"""How a path that has no name begins; the function that requested the flush follows."""

FUNCTIONS = tuple(sorted({function for rule in RULES for function in rule.functions}))
"""Every function by which a path is known, by name. Of these a kernel has some, see ``absent_paths``."""

RELATIVE_SLACK = 0.01
ABSOLUTE_SLACK = 2
"""The number of requests by which paths and counter may always differ. Counter and histogram cannot be
read at the same instant, so at each end of a round one request may fall between the two reads. In a round
of 200 events or more, two requests are below the smallest effect that the comparison claims (0.01 per
event)."""


def absent_paths(functions: Collection[str]) -> tuple[str, ...]:
    """Return the paths that a kernel does not have, from the functions of its KVM (see FUNCTIONS).

    Nothing was counted on them for want of code, which is not the same as a count of 0.
    """
    return tuple(rule.path for rule in RULES if not rule.is_in(functions))


def path_of(frames: tuple[str, ...]) -> str:
    """Return the path of a call stack (innermost frame first), or ``other:<symbol>`` if no rule matches."""
    bare = tuple(_without_suffix(frame) for frame in frames)
    caller = next((frame for frame in bare if _is_telling(frame)), "")
    for rule in RULES:
        if rule.matches(bare, caller):
            return rule.path
    return f"{OTHER}{caller or 'unknown'}"


def attribute(histogram: Histogram, request: int) -> dict[str, int]:
    """Return flush requests by path, for stacks whose key ``req`` is ``request`` (``KVM_REQ_TLB_FLUSH``).

    The most frequent path comes first. Raises LabError if the histogram has no key ``req``, because
    every request to all vCPUs would then be taken for a flush.
    """
    counts: dict[str, int] = {}
    for entry in histogram.entries:
        if "req" not in entry.keys:
            raise LabError(f"call-path histogram: expected the key 'req', found {sorted(entry.keys)}")
        if entry.keys["req"] == request:
            path = path_of(entry.frames)
            counts[path] = counts.get(path, 0) + entry.hits
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def render_stacks(histogram: Histogram) -> str:
    """Render the stacks with their paths as text, the most frequent first."""
    ranked = sorted(histogram.entries, key=lambda entry: -entry.hits)
    return "\n".join(
        "\n".join([f"{entry.hits} {path_of(entry.frames)}", *(f"    {frame}" for frame in entry.frames), ""])
        for entry in ranked
    )


def inconsistency(paths: Mapping[str, int], requests: int, *, dropped: int = 0) -> str:
    """Return why the paths do not add up to ``remote_tlb_flush_requests``, or nothing if they do.

    They add up if no event was dropped and the sum is within 1 % of the counter, or within
    ABSOLUTE_SLACK requests. If the sum is too large, another VM was counted as well. If it is too
    small, the probe missed calls. In both cases the round is invalid.
    """
    if dropped:
        return f"the call-path histogram was full: {dropped} requests were dropped"
    total = sum(paths.values())
    if abs(total - requests) <= max(RELATIVE_SLACK * requests, ABSOLUTE_SLACK):
        return ""
    return f"paths account for {total} flush requests, KVM counted {requests} (1 % is allowed)"


def _without_suffix(symbol: str) -> str:
    """Remove a compiler suffix: .isra.0 and also .constprop, .part, .cold and .llvm."""
    return symbol.partition(".")[0]


def _is_telling(frame: str) -> bool:
    return frame not in FLUSH_HELPERS and not frame.startswith(TRACERS)
