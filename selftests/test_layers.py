# SPDX-License-Identifier: GPL-2.0-or-later
"""The architecture, enforced: imports go one way, and some things are done in one place only."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from guestloop.ground.isolated import FLAGS
from guestloop.vm.payload import CARRIED

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "guestloop"

# From the ground up: a package imports only from layers below its own.
LAYERS = [
    {"ground"},
    {"results", "counters", "cache", "stats"},
    {"config", "compare", "agent", "debian"},
    {"images", "report", "sources"},
    {"kernels"},
    {"machines"},
    {"vm"},
    {"lab"},
    {"workloads"},
    {"testing"},
    {"job"},
    {"doctor", "history", "remote"},
    {"options"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# module -> the only places that may import it
ONLY = {
    "subprocess": {"ground/proc.py"},
    # The link to an L1, whose keys are ours, and the login to a host, as its user's own ssh does it.
    "paramiko": {"vm/link.py", *(f"remote/ssh/{name}.py" for name in ("config", "connection", "known"))},
    "guestloop.remote.ssh.connection": {"remote/ssh/__init__.py"},
    "guestloop.vm.link": {"vm/l1.py"},
    "guestloop.vm.l1": {"lab/slot.py"},
    "yaml": {"config/reading.py"},
    "qemu.qmp": {"ground/qmp_session.py"},
    "avocado": {
        "testing.py",
        *(f"job/{name}.py" for name in ("lanes", "measure", "plugin", "progress", "runner", "spawner")),
    },
    "jsonschema_rs": {"report/verdict_json.py"},
    "rich": {"job/live.py"},
    "jinja2": {"report/page/filling.py"},
    "markupsafe": {"report/page/filling.py"},
}

FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file; parsing it takes longer than any test here."""
    return ast.parse(path.read_text())


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all statements in it, without looking for any in expressions."""
    yield node
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inside in getattr(node, field, None) or ():
            yield from statements(inside)


def attributes(path: Path, name: str) -> list[int]:
    """The lines in which an attribute of this name is used."""
    if name not in path.read_text():
        return []
    found = (node for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute) and node.attr == name)
    return [node.lineno for node in found]


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that a file imports, and every name that it imports from one: that may be a module too."""
    found: set[str] = set()
    for node in statements(tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
    return frozenset(found)


def part(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def inner(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("guestloop.")}


def wrong_in(check: Callable[[Path], object]) -> dict[str, object]:
    """What a check finds wrong, by file."""
    found = {str(path.relative_to(PACKAGE)): check(path) for path in FILES}
    assert len(found) > 100, "or this looks in the wrong place"
    return {name: wrong for name, wrong in found.items() if wrong}


def test_every_part_has_a_layer() -> None:
    parts = {part(path) for path in FILES} - {"__init__"}
    assert parts == RANK.keys(), "add it to LAYERS where it belongs"


def test_no_part_has_the_name_of_a_module_of_python() -> None:
    """Avocado's plugins are imported with the directory of the package on the path."""
    assert not RANK.keys() & sys.stdlib_module_names


def test_imports_go_one_way() -> None:
    def upwards(path: Path) -> list[str]:
        own = part(path)
        return sorted(
            name for name in inner(path) if name != own and RANK[name] >= RANK.get(own, len(LAYERS))
        )

    assert wrong_in(upwards) == {}


def test_done_in_one_place_only() -> None:
    def elsewhere(path: Path) -> list[str]:
        here = str(path.relative_to(PACKAGE))
        return [
            module
            for module, allowed in ONLY.items()
            if here not in allowed
            and any(name == module or name.startswith(f"{module}.") for name in imports(path))
        ]

    assert wrong_in(elsewhere) == {}


def test_only_wait_sleeps() -> None:
    def sleeps(path: Path) -> list[int]:
        return [] if path.name == "wait.py" else attributes(path, "sleep")

    assert wrong_in(sleeps) == {}


def test_python_is_started_isolated_and_for_utf8() -> None:
    """By ground/isolated.py, so that no text needs to name its encoding; the guard reads numbers only."""

    def starts(path: Path) -> list[int]:
        return [] if path.name in ("isolated.py", "proc.py") else attributes(path, "executable")

    assert wrong_in(starts) == {}
    assert "utf8" in FLAGS


def test_files_stay_readable() -> None:
    assert wrong_in(lambda path: len(path.read_text().splitlines()) >= 400) == {}


@pytest.mark.parametrize("package", CARRIED)
def test_what_runs_in_l1_stands_on_what_the_payload_carries(package: str) -> None:
    """In L1 there are the standard library, qemu.qmp and the packages that vm/payload.py carries."""
    there = {*sys.stdlib_module_names, "guestloop", "qemu"}
    for path in (PACKAGE / package).rglob("*.py"):
        assert inner(path) <= set(CARRIED), path
        assert {name.split(".")[0] for name in imports(path)} <= there, path


# --- values ----------------------------------------------------------------------------------------

# Work in progress, which is filled in and then becomes a value.
MUTABLE = {"workloads/measuring.py: Measuring", "workloads/asyncpf.py: Tally"}


def dataclasses() -> Iterator[tuple[str, bool]]:
    """Each dataclass of the package, and whether it is frozen."""
    for path in FILES:
        for node in statements(tree(path)):
            if isinstance(node, ast.ClassDef):
                for text in map(ast.unparse, node.decorator_list):
                    if text.partition("(")[0].rpartition(".")[2] == "dataclass":
                        yield f"{path.relative_to(PACKAGE)}: {node.name}", "frozen=True" in text


def test_values_are_frozen() -> None:
    """Whoever is given one may keep it."""
    found = dict(dataclasses())
    assert len(found) > 50, "or this test looks in the wrong place"
    assert {name for name, frozen in found.items() if not frozen} == MUTABLE
