"""The job: in what order rounds run, which tests there are, and where results go."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from guestloop.config import REPOSITORY, load_kernel
from guestloop.ground.errors import ConfigError, LabError
from guestloop.job.measure import Slot, _with_parameters, find_tests, order
from guestloop.job.plugin import parameters
from guestloop.job.prepare import labels, load_pair
from guestloop.job.run import new_directory
from guestloop.results.cells import Cell, Mmu
from guestloop.results.plan import PLAN_FILE, Plan, PlannedKernel, Reach, read_plan, write_plan

CELLS = tuple(Cell("asyncpf", mmu, {"load": "read-shared"}) for mmu in Mmu)
TEST_FILE = """\
from guestloop.testing import GuestTest


class Found(GuestTest):
    \"\"\":avocado: tags=asyncpf,load:read-shared\"\"\"

    def test(self) -> None: ...
"""


def make_plan(rounds: int = 2) -> Plan:
    first = PlannedKernel("unpatched", "6.12.117", "linux-source-6.12", (), "a" * 64, Reach())
    second = replace(first, name="patched", sha256="b" * 64, reach=Reach((Mmu.SHADOW,), "because"))
    return Plan("default", "tcg", {"cpus": "2"}, (first, second), CELLS, rounds, ("one", "two"))


# --- order -----------------------------------------------------------------------------------------


def test_every_round_of_every_cell_runs_once_on_each_kernel() -> None:
    slots = list(order(make_plan(rounds=3)))
    wanted = {
        (cell.id, kernel, number)
        for cell in CELLS
        for kernel in ("unpatched", "patched")
        for number in (1, 2, 3)
    }
    assert {(slot.cell.id, slot.kernel, slot.round) for slot in slots} == wanted
    assert len(slots) == len(wanted)


def test_kernels_alternate_a_b_b_a() -> None:
    slots = list(order(make_plan(rounds=2)))
    assert "".join(slot.kernel[0] for slot in slots) == "uppuup" + "puuppu"
    for first, second in zip(slots[::2], slots[1::2], strict=True):
        assert (first.cell, first.round) == (second.cell, second.round), "a pair stays together"
        assert first.kernel != second.kernel
    for cell in CELLS:
        firsts = [slot.kernel for slot in slots[::2] if slot.cell == cell]
        assert set(firsts) == {"unpatched", "patched"}, "each kernel is first in half of the rounds"


# --- discovery -------------------------------------------------------------------------------------


def classes_in_tests() -> set[str]:
    """What a reader takes for tests: classes in tests/ that derive from GuestTest, also through another.

    A name that begins with an underscore is a base for others and has no test of its own.
    """
    bases = {
        (path, node.name): {base.id for base in node.bases if isinstance(base, ast.Name)}
        for path in (REPOSITORY / "tests").rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    known = {"GuestTest"}
    while more := {name for (_, name), of in bases.items() if of & known} - known:
        known |= more
    return {f"{path}:{name}" for path, name in bases if name in known and not name.startswith("_")}


def test_avocado_discovers_every_test_class() -> None:
    found = {runnable.uri.rpartition(".")[0] for runnable in find_tests().values()}
    assert found == classes_in_tests() and found


def test_every_cell_has_a_test() -> None:
    from guestloop.workloads.selection import all_cells

    wanted = {(cell.test, next(iter(cell.variant.values()))) for cell in all_cells()}
    assert wanted == set(find_tests())


def test_a_class_whose_base_cannot_be_resolved_is_dropped_without_a_word(tmp_path: Path) -> None:
    """Why the two tests above are there: Avocado reads a file and does not import it."""
    (tmp_path / "good.py").write_text(TEST_FILE)
    assert len(find_tests(tmp_path)) == 1
    (tmp_path / "good.py").write_text(TEST_FILE.replace("guestloop.testing", "guestloop.testings"))
    with pytest.raises(LabError, match=f"Avocado discovers no test in {tmp_path}") as raised:
        find_tests(tmp_path)
    assert "avocado list" in raised.value.hint


def test_a_test_with_wrong_tags_is_refused(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(TEST_FILE.replace("read-shared", "read-sharde"))
    with pytest.raises(ConfigError, match="unknown load 'read-sharde'"):
        find_tests(tmp_path)


def test_what_a_slot_says_is_what_its_test_is_given() -> None:
    found = find_tests()
    runnable = _with_parameters(found, Slot(CELLS[2], "patched", 2), fresh_boots=True)
    seen = parameters(runnable.variant)
    assert seen == {
        "load": "read-shared",
        "mmu": "shadow",
        "kernel": "patched",
        "round": "2",
        "fresh_boot": "yes",
    }
    assert runnable.uri.endswith("storm.py:SharedReadOnlyPages.test")
    assert runnable is not found["asyncpf", "read-shared"]
    unknown = Slot(Cell("asyncpf", Mmu.TDP, {"load": "dance"}), "patched", 1)
    with pytest.raises(LabError, match="no Avocado test is tagged for cell asyncpf/tdp/dance"):
        _with_parameters(found, unknown, fresh_boots=False)


def test_parameters_of_no_variant() -> None:
    assert parameters(None) == {}
    dumped = {"variant": [["/run/kernels/a", [["/run/kernels/a", "kernel", "a"], ["/run", "mmu", "tdp"]]]]}
    assert parameters(dumped) == {"kernel": "a", "mmu": "tdp"}


# --- kernels and directories -----------------------------------------------------------------------


def test_labels() -> None:
    a, b = load_kernel("unpatched"), load_kernel("patched")
    assert labels((a, b)) == ("unpatched", "patched")
    assert labels((a, a)) == ("unpatched", "unpatched.2"), "an A/A run has two results all the same"


@pytest.mark.parametrize("names", [(), ("patched",), ("unpatched", "patched", "patched")])
def test_it_takes_two_kernels(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="--kernels: two kernels were wanted"):
        load_pair(names)


def test_plan_survives_being_stored_and_is_not_replaced(tmp_path: Path) -> None:
    write_plan(tmp_path, make_plan())
    assert read_plan(tmp_path) == make_plan()
    with pytest.raises(FileExistsError):
        write_plan(tmp_path, make_plan(rounds=9))
    assert read_plan(tmp_path).rounds == 2


def test_results_are_never_mixed(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    assert new_directory(out) == out and out.is_dir()
    assert new_directory(out) == out, "there is nothing in it yet"
    (out / "rounds").mkdir()
    with pytest.raises(ConfigError, match="there are results in it already"):
        new_directory(out)
    (out / "rounds").rmdir()
    (out / PLAN_FILE).write_text("{}")
    with pytest.raises(ConfigError, match="there are results in it already"):
        new_directory(out)


def test_runs_in_the_same_second_get_directories_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda _format: "20260101-000000")
    made = [new_directory(None) for _ in range(3)]
    assert [path.name for path in made] == ["20260101-000000", "20260101-000000.2", "20260101-000000.3"]
    assert all(path.parent == tmp_path / "results" and path.is_dir() for path in made)


@pytest.mark.parametrize("named", [True, False])
def test_a_directory_that_cannot_be_made_is_named(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results").write_text("a file is in the way")
    with pytest.raises(ConfigError, match=r"results/.*: Not a directory"):
        new_directory(Path("results/mine") if named else None)
