# SPDX-License-Identifier: GPL-2.0-or-later
"""Result directories whose pages are looked at: each kind of run that there is, with evidence beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from samples import compare, failed
from test_report import CELLS, A, B, make_plan, make_result, make_result_of_three, make_round

from guestloop.compare import CellVerdict, Status, Verdict
from guestloop.report import Result, read_result, write_verdict
from guestloop.report.page import render_page
from guestloop.report.results import CellResult, Figure
from guestloop.results.changes import ChangedFunction, Changes, Probed
from guestloop.results.findings import Finding, FindingKind
from guestloop.results.plan import Kernels, Plan
from guestloop.results.provenance import ConfigRecord, PatchRecord, Provenance
from guestloop.results.records import Outcome, Phase, Round
from guestloop.results.sittings import Ending, Sitting

PAGE = "report.html"
"""As formats.py names it."""
LOST = "34 pages were lost: 0x2aa000: source page 2123 of the load, destination page 2123: generation 4"
SPTE = ChangedFunction("kvm", "mmu_spte_update", ("mmu_spte_update",), ("mmu_spte_update",))

STACKS = """1041 async_page_ready
    opt_pre_handler
    kvm_make_all_cpus_request
    mmu_set_spte
    kvm_arch_async_page_ready
    do_syscall_64

640 mmu_notifier_unmap
    opt_pre_handler
    kvm_make_all_cpus_request
    kvm_mmu_notifier_invalidate_range_start
    try_to_unmap_one

9 scan_ioapic/other:kvm_make_scan_ioapic_request
    kvm_make_all_cpus_request
"""

MEAN = "<script>alert(1)</script>"
QUOTED = "[PATCH] KVM: \"x86\"' onmouseover='alert(2)'><img src=x onerror=alert(3)>"
WILD = "L1 \x1b[31mred\x00 \u202eright to left <!-- --> ]]> {{ 7 * 7 }}"


def write_page(out: Path, plan: Plan, verdict: Verdict, sittings: Iterable[Sitting] = ()) -> Path:
    """A result directory with its page, and every file that a round names."""
    out.mkdir(parents=True, exist_ok=True)
    write_verdict(out, plan, verdict, tuple(sittings), replace=True)
    result = read_result(out)
    for cell in result.cells:
        records = [f"rounds/{cell.id}/{item.kernel}.{item.round}.json" for item in cell.rounds]
        for name in (*records, *cell.evidence):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(STACKS)
    page = out / PAGE
    page.write_text(render_page(result, out))
    return page


def _with_evidence(item: Round) -> Round:
    name = item.kernel.replace("/", "-")
    return replace(item, evidence=(f"evidence/{item.cell.id}/{name}.{item.round}.storm.stacks.txt",))


def rounds_of(verdict: Verdict) -> list[Round]:
    """All rounds of a verdict, with call stacks as evidence."""
    return [_with_evidence(item) for cell in verdict.cells for item in cell.rounds]


def statuses(out: Path) -> Path:
    """A cell with each status; those that take long to come by are set."""
    plan, verdict = make_result()
    verdict = compare(plan, rounds_of(verdict))
    like = next(cell for cell in verdict.cells if cell.status is Status.SAME)
    there = {cell.status for cell in verdict.cells}
    further = tuple(_cell_with(status, like) for status in Status if status not in there)
    return write_page(out, plan, replace(verdict, cells=(*verdict.cells, *further)))


def _cell_with(status: Status, like: CellVerdict) -> CellVerdict:
    cell = replace(like.cell, variant={"load": status.value})
    candidates = {
        name: replace(one, status=status, reason="a reason") for name, one in like.candidates.items()
    }
    rounds = tuple(replace(item, cell=cell) for item in like.rounds)
    return replace(like, cell=cell, candidates=candidates, rounds=rounds)


def three(out: Path) -> Path:
    """Two candidates."""
    plan, verdict = make_result_of_three()
    return write_page(out, plan, compare(plan, rounds_of(verdict)))


def broken(out: Path) -> Path:
    """One broken cell among others, with a phase for each dirty round, and functions that were probed."""
    plan, verdict = make_result("same", "cannot-differ", "fewer", "broken")
    finding = Finding(FindingKind.CONTENTS, f"{LOST}\nand more\nof it")
    seen = Probed({SPTE.id: 12669})
    phases = {
        name: Phase(1.0, {"remote_tlb_flush_requests": 7}, {}) for name in ("before", "round-1", "stop")
    }

    def told(item: Round) -> Round:
        findings = (finding,) if item.cell == CELLS["broken"][0] and item.kernel == B else ()
        return replace(item, findings=findings, phases=phases, probed=seen if item.round == 1 else None)

    (candidate,) = plan.kernels.candidates
    patch = PatchRecord(
        "0001.patch", "[PATCH] KVM: x86/mmu: Don't flush", "f0" * 32, "20260408.1-jane@example.org"
    )
    made = Provenance("linux-source-6.12", "23" * 20, "", (patch,), ConfigRecord(("base.config",), "e9" * 32))
    candidate = replace(candidate, changes=Changes((SPTE,)), provenance=made)
    plan = replace(
        plan,
        kernels=Kernels(plan.kernels.reference, (candidate,)),
        arguments=("run", "my fix.patch"),
        directory="/src/guestloop",
        looks=(1, 2),
    )
    return write_page(out, plan, compare(plan, [told(item) for item in rounds_of(verdict)]))


def interrupted(out: Path) -> Path:
    """The second of two cells was not begun."""
    plan = make_plan("fewer", "same")
    rounds = [make_round("fewer", kernel, number) for number in (1, 2) for kernel in (A, B)]
    sitting = Sitting(1, 0, (2,), None, ending=Ending.INTERRUPTED)
    return write_page(out, plan, compare(plan, rounds), [sitting])


def not_built(out: Path) -> Path:
    """The only candidate does not compile: there are no cells."""
    plan = make_plan("fewer", "same")
    plan = replace(plan, kernels=Kernels(plan.kernels.reference, (failed(name="typo"),)))
    return write_page(out, plan, compare(plan, []))


def not_booted(out: Path) -> Path:
    """The candidate panics when it boots."""
    plan, verdict = make_result("same")
    gone = Finding(FindingKind.NOT_BOOTED, "L1 patched did not boot: it panicked\n  console | [ 0.1] Oops")

    def ended(item: Round) -> Round:
        if item.kernel == A:
            return item
        return replace(item, outcome=Outcome.INVALID, boot=0, findings=(gone,), reason=gone.text)

    return write_page(out, plan, compare(plan, [ended(item) for item in rounds_of(verdict)]))


def hostile(out: Path) -> Path:
    """Names, subjects and consoles that want to be more than text."""
    plan, verdict = make_result("broken", "same")
    (candidate,) = plan.kernels.candidates
    patch = PatchRecord(WILD, QUOTED, "f0" * 32, '"><b>')
    candidate = replace(
        candidate, name=MEAN, series=(QUOTED,), provenance=Provenance(QUOTED, patches=(patch,))
    )
    plan = replace(
        plan,
        kernels=Kernels(plan.kernels.reference, (candidate,)),
        host={"cpu": WILD, MEAN: "</style>"},
        left_out=(MEAN, QUOTED),
        arguments=("run", MEAN),
        directory="/x</pre>",
    )
    finding = Finding(FindingKind.L1_PANICKED, f"{WILD}\n{MEAN}\n</pre>{QUOTED}")
    strange = ("../../etc/passwd", "javascript:alert(4)", "/etc/hostname", f"evidence/{MEAN}.txt")

    def renamed(item: Round) -> Round:
        if item.kernel == A:
            return item
        return replace(item, kernel=MEAN, findings=(finding,), evidence=(*strange, *item.evidence))

    rounds = [renamed(item) for item in rounds_of(verdict)]
    late = {MEAN: (WILD, MEAN)}
    verdict = compare(plan, rounds, late)
    out.mkdir(parents=True)
    write_verdict(out, plan, verdict)
    page = out / PAGE
    page.write_text(render_page(read_result(out), out))
    return page


SAMPLES: Mapping[str, Callable[[Path], Path]] = {
    "statuses": statuses,
    "three": three,
    "broken": broken,
    "interrupted": interrupted,
    "not-built": not_built,
    "not-booted": not_booted,
    "hostile": hostile,
}


def many_rounds(result: Result, cells: int, rounds: int) -> Result:
    """As many cells, each with as many rounds per kernel."""
    return replace(result, cells=tuple(_copied(result, index, rounds) for index in range(cells)))


def _copied(result: Result, index: int, rounds: int) -> CellResult:
    cell = result.cells[index % len(result.cells)]
    times = rounds * len(cell.correctness) // len(cell.rounds)
    copies = (replace(item, round=item.round + 100 * copy) for copy in range(times) for item in cell.rounds)
    candidates = {
        name: replace(one, figures=tuple(_repeated(figure, times) for figure in one.figures))
        for name, one in cell.candidates.items()
    }
    return replace(cell, id=f"{cell.id},copy={index}", rounds=tuple(copies), candidates=candidates)


def _repeated(figure: Figure, times: int) -> Figure:
    (before, after), (work, work_after) = figure.counts, figure.exposures
    return replace(
        figure,
        counts=(before * times, after * times),
        exposures=(work * times, work_after * times),
    )
