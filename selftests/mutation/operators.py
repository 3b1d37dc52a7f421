# SPDX-License-Identifier: GPL-2.0-or-later
"""cosmic-ray, and nowhere else: the mutations that it knows, found in a file and applied to its text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from mutation.drawn import Possibility


def find_possibilities(path: str, source: str) -> Iterator[Possibility]:
    """Every mutation of a file that cosmic-ray's operators can make, those that need no arguments."""
    nodes = list(ast_nodes(get_ast(source)))
    for name, operator in _operators().items():
        positions = [(node, start) for node in nodes for start, _ in operator.mutation_positions(node)]
        for occurrence, (node, (line, column)) in enumerate(positions):
            if not _is_marker(node):
                yield Possibility(path, line, column, name, occurrence)


def _is_marker(node: Any) -> bool:
    """Whether a node is the ``*`` or ``/`` among parameters, which cosmic-ray takes for operators."""
    return bool(node.type == "operator" and node.parent.type == "parameters")


def mutate(source: str, possibility: Possibility) -> str:
    """The file's text with this mutation."""
    mutated = mutate_code(source, _operators()[possibility.operator], possibility.occurrence)
    return str(mutated or source)


def _operators() -> Mapping[str, Any]:
    classes = {name: plugins.get_operator(name) for name in plugins.operator_names()}
    return {name: found() for name, found in sorted(classes.items()) if not found.arguments()}
