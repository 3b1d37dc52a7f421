"""The architecture, enforced: imports go one way, and some things are done in one place only."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guestloop.vm.payload import CARRIED

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "guestloop"

# From the ground up: a package imports only from layers below its own.
LAYERS = [
    {"ground"},
    {"results", "counters", "cache"},
    {"config", "compare", "agent"},
    {"kernels", "images", "report"},
    {"machines"},
    {"vm"},
    {"lab"},
    {"workloads"},
    {"testing"},
    {"job"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# module -> the only places that may import it
ONLY = {
    "subprocess": {"ground/proc.py"},
    "paramiko": {"vm/link.py"},
    "guestloop.vm.link": {"vm/l1.py"},
    "guestloop.vm.l1": {"lab/slot.py"},
    "yaml": {"config/reading.py"},
    "qemu.qmp": {"ground/qmp_session.py"},
    "avocado": {
        "testing.py",
        *(f"job/{name}.py" for name in ("measure", "plugin", "progress", "runner", "spawner")),
    },
    "jsonschema": {"report/verdict_json.py"},
}

FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # what is imported from a module may be a module itself
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def part(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def inner(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("guestloop.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    own = part(path)
    if own == "__init__":
        return
    assert own in RANK, f"{own} has no layer: add it to LAYERS where it belongs"
    wrong = {name for name in inner(path) if name != own and RANK[name] >= RANK[own]}
    assert not wrong, f"{own} must not import {sorted(wrong)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_done_in_one_place_only(path: Path) -> None:
    here = str(path.relative_to(PACKAGE))
    for module, allowed in ONLY.items():
        used = any(name == module or name.startswith(f"{module}.") for name in imports(path))
        assert not used or here in allowed, f"{here} imports {module}; only {sorted(allowed)} may"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_wait_sleeps(path: Path) -> None:
    sleeps = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "sleep"
    ]
    assert not sleeps or path.name == "wait.py", f"{path.name} sleeps at lines {sleeps}"


@pytest.mark.parametrize("package", CARRIED)
def test_what_runs_in_l1_stands_on_what_the_payload_carries(package: str) -> None:
    """In L1 there are the standard library, qemu.qmp and the packages that vm/payload.py carries."""
    there = {*sys.stdlib_module_names, "guestloop", "qemu"}
    for path in (PACKAGE / package).rglob("*.py"):
        assert inner(path) <= set(CARRIED), path
        assert {name.split(".")[0] for name in imports(path)} <= there, path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 400
