"""The architecture, enforced: imports go one way, and some things are done in one place only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "guestloop"

# From the ground up; a module imports only from its own layer's package or from layers below it.
LAYERS = [
    {"errors"},
    {"wait", "log", "guard"},
    {"proc"},
    {"cache", "host", "config", "qmp"},
    {"records"},
    {"plan", "counters"},
    {"agent", "vm", "kernels", "images", "compare"},
    {"lab", "report", "emulator"},
    {"workloads"},
    {"cells"},
    {"testing"},
    {"job"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# module -> the only places that may import it
ONLY = {
    "subprocess": {"proc.py"},
    "paramiko": {"vm/link.py"},
    "yaml": {"config.py"},
    "qemu.qmp": {"qmp.py"},
    "avocado": {"testing.py", "job/measure.py", "job/plugin.py", "job/progress.py"},
    "jsonschema": {"report/verdict_json.py"},
}
# Runs in L1, where only the standard library, qemu.qmp and this ground are there (vm/payload.py).
AGENT_GROUND = {"errors", "wait", "proc", "guard", "qmp", "agent"}

FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "guestloop":
                yield from (f"guestloop.{alias.name}" for alias in node.names)
            else:
                yield node.module


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
    if RANK[own] == RANK["compare"] and wrong:
        wrong -= {"agent"} if own == "vm" else set()
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
    assert not sleeps or part(path) == "wait", f"{path.name} sleeps at lines {sleeps}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "agent").glob("*.py")), ids=lambda path: path.name)
def test_agent_stands_on_its_ground_alone(path: Path) -> None:
    assert inner(path) <= AGENT_GROUND


def test_agent_ground_is_what_the_payload_carries() -> None:
    from guestloop.vm.payload import AGENT_MODULES

    carried = {name.removesuffix(".py") for name in AGENT_MODULES} - {"__init__"}
    assert carried | {"agent"} == AGENT_GROUND
    for name in carried:
        assert inner(PACKAGE / f"{name}.py") <= carried, f"{name} needs what the payload does not carry"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 400
