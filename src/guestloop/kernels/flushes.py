# SPDX-License-Identifier: GPL-2.0-or-later
"""Read from kvm.ko itself what counting needs: the number of KVM_REQ_TLB_FLUSH, and who requests flushes.

``kvm_flush_remote_tlbs`` (``virt/kvm/kvm_main.c``) moves KVM_REQ_TLB_FLUSH to %esi, the second argument of
``kvm_make_all_cpus_request``, or of ``kvm_make_all_cpus_request_except`` where gcc inlined the former (6.1).
The number is the immediate of that instruction. KVM's own counter confirms it in each round: it must agree
with the requests of this number (counters/paths.py: inconsistency).

The call graph is that of the disassembly: calls, jumps (tail calls), and references to the address of a
function, which is then called through a pointer. Names are without the suffixes of the compiler.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from guestloop.counters.paths import path_of
from guestloop.ground import proc
from guestloop.ground.errors import ConfigError
from guestloop.kernels.disassembly import OUTSIDE, Disassembly, Reference

FLUSH = "kvm_flush_remote_tlbs"
REQUEST = "kvm_make_all_cpus_request"
REQUEST_EXCEPT = "kvm_make_all_cpus_request_except"

CallGraph = Mapping[str, tuple[str, ...]]
"""The callers of each function through which a flush is requested. The innermost one is REQUEST; its callers
are only those that request a flush with it. OUTSIDE is a caller of each function that is exported or called
through a pointer in data. A function without callers is dead code."""


@dataclass(frozen=True)
class Flushes:
    """The number of KVM_REQ_TLB_FLUSH, and the call graph above the functions that request it."""

    request: int
    callers: CallGraph


NO_FLUSHES = Flushes(0, {})
"""Those of a kernel without KVM."""


def read_flushes(kvm: Path) -> Flushes:
    """Read the flush requests of a kvm.ko, in about a second.

    Raises ConfigError if the number of KVM_REQ_TLB_FLUSH cannot be found.
    """
    disassembly = Disassembly()
    proc.read(["objdump", "-d", "-r", "--no-show-raw-insn", kvm], on_line=disassembly.line)
    proc.read(["objdump", "-r", kvm], on_line=disassembly.record)
    return find_flushes(disassembly.references(), kvm.name)


def find_flushes(references: Iterable[Reference], where: str) -> Flushes:
    """Find the number and the call graph in the references of a kvm.ko (pure)."""
    references = tuple(references)
    requests = [ref for ref in references if ref.target in {REQUEST, REQUEST_EXCEPT}]
    values = {ref.value for ref in requests if ref.function == FLUSH}
    known = {value for value in values if value is not None}
    if len(values) != 1 or len(known) != 1:
        raise ConfigError(
            f"{where}: the number of KVM_REQ_TLB_FLUSH was not found: {FLUSH} passes"
            f" {', '.join(map(hex, sorted(known))) or 'no constant'} to {REQUEST}, wanted one constant",
            hint="flushes cannot be counted in a kernel that requests them in another way",
        )
    (request,) = known
    callers = _callers(ref for ref in references if ref not in requests)
    callers[REQUEST] = {ref.function for ref in requests if ref.value == request}
    return Flushes(request, _above(REQUEST, callers))


def _callers(references: Iterable[Reference]) -> dict[str, set[str]]:
    callers: dict[str, set[str]] = {}
    for ref in references:
        if ref.function != ref.target:
            callers.setdefault(ref.target, set()).add(ref.function)
    return callers


def _above(name: str, callers: Mapping[str, set[str]]) -> dict[str, tuple[str, ...]]:
    """Keep what is reached by going from a function to its callers, and on to theirs."""
    found: dict[str, tuple[str, ...]] = {}
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found[each] = tuple(sorted(callers.get(each, ())))
            waiting += (name for name in found[each] if name != OUTSIDE)
    return dict(sorted(found.items()))


def unnamed_callers(callers: CallGraph) -> tuple[str, ...]:
    """Return the functions whose flushes may be counted as ``other:<function>``, sorted (pure).

    From each of them there is a way out of kvm.ko on which no function names a path. Whether that way is ever
    taken cannot be told from the code.
    """
    return tuple(sorted(name for name in _requesters(callers) if _has_unnamed_way(name, callers)))


def _requesters(callers: CallGraph) -> set[str]:
    """Return the functions that a stack is named by if no rule matches: the innermost that are no helpers."""
    found: set[str] = set()
    visited: set[str] = set()
    waiting = [REQUEST]
    while waiting:
        name = waiting.pop()
        if name in visited:
            continue
        visited.add(name)
        # A stack of nothing but helpers has no name, as an empty one.
        if name == REQUEST or path_of((name,)) == path_of(()):
            waiting += callers.get(name, ())
        else:
            found.add(name)
    return found


def _has_unnamed_way(requester: str, callers: CallGraph) -> bool:
    unnamed = f"other:{requester}"
    visited: set[str] = set()
    waiting = [requester]
    while waiting:
        name = waiting.pop()
        if name == OUTSIDE:
            return True
        if name not in visited and path_of((requester, name)) == unnamed:
            visited.add(name)
            waiting += callers.get(name, ())
    return False
