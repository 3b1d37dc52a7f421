# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether rounds and a plan belong together (pure). Rounds that do not are compared with nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from guestloop.ground.errors import LabError
from guestloop.results.plan import Plan, PlannedKernel
from guestloop.results.records import BUILD_ID, DIGEST, L2_BUILD_ID, Outcome, Round, build_id_fact
from guestloop.results.sizes import FACTS

MIXED = "were the results of two runs written to one directory?"
COPIED = "was a file in rounds/ copied or renamed by hand?"


def check(plan: Plan, rounds: Sequence[Round], late: Iterable[str] = ()) -> None:
    """Raise LabError for the first round that is not of this plan.

    That is one of a cell or a kernel that is not planned, one that is there twice, one whose number is beyond
    the last look with each of its rounds repeated once, one that was measured with other sizes, one that ran
    another build than the plan has or than other rounds of the same kernel, and rounds whose L2s ran
    different kernels. ``late`` names the kernels whose L1 complained after its last round. What an older
    guestloop did not record cannot disagree.
    """
    _refuse_strangers(plan, rounds, late)
    _refuse_duplicates(rounds)
    _refuse_surplus(rounds, 2 * plan.looks[-1])
    _refuse_other_sizes(plan, rounds)
    _refuse_other_builds(plan, rounds)
    _refuse_two_l2_kernels(plan, rounds)


def _name(item: Round) -> str:
    return f"round {item.round} of {item.cell.id} on {item.kernel}"


def _refuse_strangers(plan: Plan, rounds: Sequence[Round], late: Iterable[str]) -> None:
    cells, kernels = {cell.id for cell in plan.cells}, plan.kernels.names
    strangers = [_name(item) for item in rounds if item.cell.id not in cells or item.kernel not in kernels]
    strangers += [f"the L1 of {name}, which complained late," for name in late if name not in kernels]
    if strangers:
        raise LabError(f"{strangers[0]} is not in the plan", hint=MIXED)


def _refuse_duplicates(rounds: Iterable[Round]) -> None:
    """The name of a file says which round it holds, but what counts is the content."""
    seen: set[tuple[str, str, int]] = set()
    for item in rounds:
        key = item.cell.id, item.kernel, item.round
        if key in seen:
            raise LabError(f"{_name(item)} is there twice", hint=COPIED)
        seen.add(key)


def _refuse_surplus(rounds: Iterable[Round], most: int) -> None:
    for item in rounds:
        if not 1 <= item.round <= most:
            raise LabError(f"{_name(item)} is not in the plan, which has rounds 1 to {most}", hint=MIXED)


def _refuse_other_sizes(plan: Plan, rounds: Iterable[Round]) -> None:
    for item in rounds:
        for fact, wanted in plan.sizes.facts.items():
            if (seen := item.facts.get(fact, wanted)) != wanted:
                what = f"{_name(item)} was measured with another {fact.removeprefix(FACTS)} than is planned"
                raise LabError(f"{what}: {seen}, wanted {wanted}", hint=MIXED)


def _refuse_other_builds(plan: Plan, rounds: Iterable[Round]) -> None:
    """Each kernel has builds of its own; what runs beside the kernels is the same for all of them."""
    shared = {f"{DIGEST}{name}": (digest, "the plan") for name, digest in plan.digests.items()}
    builds = {kernel.name: _planned_builds(kernel) for kernel in plan.kernels}
    for item in rounds:
        for fact, seen in _recorded_builds(item.facts):
            known = shared if fact.startswith(DIGEST) else builds[item.kernel]
            wanted, who = known.setdefault(fact, (seen, _name(item)))
            if seen != wanted:
                raise LabError(
                    f"{_name(item)} ran another build than {who}: {fact} {seen}, wanted {wanted}", hint=MIXED
                )


def _planned_builds(kernel: PlannedKernel) -> dict[str, tuple[str, str]]:
    return {build_id_fact(name): (build_id, "the plan") for name, build_id in kernel.build_ids.items()}


def _recorded_builds(facts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What a round read back or ran with. A kernel that shows no build id of a module says nothing of it."""
    for fact, value in facts.items():
        if value and (fact.startswith(DIGEST) or (fact.endswith(BUILD_ID) and fact != L2_BUILD_ID)):
            yield fact, value


def _refuse_two_l2_kernels(plan: Plan, rounds: Sequence[Round]) -> None:
    """A plan and rounds that are all of a guestloop that did not record L2's kernel agree with each other."""
    found = {plan.l2_kernel.build_id: "the plan"} if plan.l2_kernel else {}
    for item in rounds:
        seen = item.facts.get(L2_BUILD_ID, "")
        if seen or item.outcome is Outcome.MEASURED:
            found.setdefault(seen, _name(item))
    if len(found) > 1:
        seen_in = [f"build id {build_id or 'not recorded'} in {who}" for build_id, who in found.items()]
        raise LabError(
            f"L2 ran more than one kernel: {'; '.join(seen_in)}",
            hint="only rounds with one L2 kernel can be compared; were two runs written to one directory?",
        )
