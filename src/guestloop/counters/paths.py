# SPDX-License-Identifier: GPL-2.0-or-later
"""What made a request to all vCPUs: from a call stack to a named path (rules.py)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from guestloop.counters.histogram import Histogram, StackCount
from guestloop.counters.requests import request_name
from guestloop.counters.rules import FLUSH_HELPERS, RULES, TRACERS
from guestloop.ground.errors import LabError

PATHS = tuple(rule.path for rule in RULES)
"""Every call path that has a name."""

PROTECTING = frozenset(
    {
        "mmu_notifier_unmap",
        "change_pte",
        "guest_memfd",
        "dirty_log",
        "zap",
        "memslot",
        "nested",
        "sync",
        "guest_pt_write",
        "shadow_page",
    }
)
"""Paths on which a flush keeps a vCPU from a translation that must not be used any more: of memory that was
taken away, of a page that became read-only, of a page table that changed. Fewer flushes there lose data
unless they were not needed."""

OTHER = "other:"
"""How a path that has no name begins; the function that requested the flush follows."""

FUNCTIONS = tuple(sorted({function for rule in RULES for function in rule.functions}))
"""Every function by which a path is known, by name. Of these a kernel has some, see ``absent_paths``."""

MISSING_SLACK = 0.01
"""The share of the requests that KVM counted which the paths may lack: the probe misses none."""

LOST_SLACK = 0.05
"""The share by which the paths may exceed KVM's count. ``++kvm->stat.generic.remote_tlb_flush_requests``
(virt/kvm/kvm_main.c: kvm_flush_remote_tlbs) is not atomic: of two CPUs that count at the same time, one may
overwrite the other. The histogram counts atomically (kernel/trace/tracing_map.c). Seen: no difference at all
in 287 rounds of good kernels, and 25118 by path against 24803 of KVM (1.3 %) with a seeded fault."""

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
    return _ranked(
        (path_of(entry.frames), entry.hits) for entry in histogram.entries if _request(entry) == request
    )


def attribute_others(histogram: Histogram, flush: int) -> dict[str, int]:
    """Return the requests to all vCPUs that are not ``flush`` (``KVM_REQ_TLB_FLUSH``), by request and path.

    A key is the name of the request, ``/`` and the path that made it: ``mmu_free_obsolete_roots/memslot``.
    Order and errors are those of ``attribute``.
    """
    return _ranked((_label(entry), entry.hits) for entry in histogram.entries if _request(entry) != flush)


def render_stacks(histogram: Histogram, flush: int) -> str:
    """Render the stacks as text, with path and request (none for ``flush``), the most frequent first."""
    ranked = sorted(histogram.entries, key=lambda entry: -entry.hits)
    return "\n".join(_render_stack(entry, flush) for entry in ranked)


def inconsistency(paths: Mapping[str, int], requests: int, *, dropped: int = 0) -> str:
    """Return why the paths do not add up to ``remote_tlb_flush_requests``, or nothing if they do.

    They add up if no event was dropped and the sum is at most MISSING_SLACK below or LOST_SLACK above the
    counter, or within ABSOLUTE_SLACK requests. If the sum is too large, another VM was counted as well. If
    it is too small, the probe missed calls. In both cases the round is invalid.
    """
    if dropped:
        return f"the call-path histogram was full: {dropped} requests were dropped"
    total = sum(paths.values())
    allowed, word = (MISSING_SLACK, "fewer") if total < requests else (LOST_SLACK, "more")
    if abs(total - requests) <= max(allowed * requests, ABSOLUTE_SLACK):
        return ""
    slack = f"{allowed * 100:.0f} % {word} allowed"
    return f"paths account for {total} flush requests, KVM counted {requests} ({slack})"


def _request(entry: StackCount) -> int:
    if "req" not in entry.keys:
        raise LabError(f"call-path histogram: expected the key 'req', found {sorted(entry.keys)}")
    return entry.keys["req"]


def _label(entry: StackCount) -> str:
    return f"{request_name(_request(entry))}/{path_of(entry.frames)}"


def _ranked(hits: Iterable[tuple[str, int]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, count in hits:
        counts[name] = counts.get(name, 0) + count
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _render_stack(entry: StackCount, flush: int) -> str:
    name = path_of(entry.frames) if _request(entry) == flush else _label(entry)
    return "\n".join([f"{entry.hits} {name}", *(f"    {frame}" for frame in entry.frames), ""])


def _without_suffix(symbol: str) -> str:
    """Remove a compiler suffix: .isra.0 and also .constprop, .part, .cold and .llvm."""
    return symbol.partition(".")[0]


def _is_telling(frame: str) -> bool:
    return frame not in FLUSH_HELPERS and not frame.startswith(TRACERS)
