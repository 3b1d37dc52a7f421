"""Values are frozen: whoever is given one may keep it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import guestloop

PACKAGE = Path(guestloop.__file__).parent
# Work in progress, which is filled in and then becomes a value.
MUTABLE = {"workloads/measuring.py: Measuring", "workloads/asyncpf.py: Tally"}


def dataclasses() -> Iterator[tuple[str, bool]]:
    """Each dataclass of the package, and whether it is frozen."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                for text in map(ast.unparse, node.decorator_list):
                    if text.partition("(")[0].rpartition(".")[2] == "dataclass":
                        yield f"{path.relative_to(PACKAGE)}: {node.name}", "frozen=True" in text


def test_dataclasses_are_frozen() -> None:
    found = dict(dataclasses())
    assert len(found) > 50, "or this test looks in the wrong place"
    assert {name for name, frozen in found.items() if not frozen} == MUTABLE
