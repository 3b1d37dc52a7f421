# SPDX-License-Identifier: GPL-2.0-or-later
"""A mutant: one file of the tree with one small change in it (pure)."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Mutant:
    """``path`` is relative to the top of the tree. ``before`` and ``after`` are the whole file.

    A seeded mutant was written down by hand because such a fault once passed all tests; mypy may reject
    it in place of a test.
    """

    path: str
    before: str
    after: str
    what: str
    seeded: bool = False

    @cached_property
    def lines(self) -> range:
        """The lines of ``before`` (from 1) that the mutation changes; at least one."""
        before, after = self.before.splitlines(), self.after.splitlines()
        head = _common(before, after)
        tail = _common(before[head:][::-1], after[head:][::-1])
        return range(head + 1, max(head + 2, len(before) - tail + 1))

    @property
    def where(self) -> str:
        return f"{self.path}:{self.lines.start}"

    @property
    def change(self) -> tuple[str, str]:
        """What is changed and what it becomes: the lines, without indentation."""
        before, after = self.before.splitlines(), self.after.splitlines()
        grown = len(after) - len(before)
        old = before[self.lines.start - 1 : self.lines.stop - 1]
        new = after[self.lines.start - 1 : self.lines.stop - 1 + grown]
        return _stripped(old), _stripped(new)

    @property
    def diff(self) -> str:
        """As a unified diff."""
        lines = difflib.unified_diff(
            self.before.splitlines(), self.after.splitlines(), self.path, self.path, n=2, lineterm=""
        )
        return "\n".join(lines)

    @cached_property
    def statements(self) -> frozenset[int]:
        """The lines that are executed when what is changed is: those of the statements around it."""
        found = [lines for lines in _statements(self.before) if set(lines) & set(self.lines)]
        return frozenset(line for lines in found for line in lines) | frozenset(self.lines)


def _common(one: list[str], other: list[str]) -> int:
    """How many lines both have in common at their beginnings."""
    return next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _stripped(lines: list[str]) -> str:
    return "\n".join(line.strip() for line in lines)


def _statements(source: str) -> Iterator[range]:
    """The lines of each statement; of one with a body, as ``if`` and ``def`` are, those of its head."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt):
            continue
        body = getattr(node, "body", [])
        end = body[0].lineno - 1 if body else (node.end_lineno or node.lineno)
        decorators: list[ast.expr] = getattr(node, "decorator_list", [])
        start = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        yield range(start, max(end, start) + 1)


def behaves_otherwise(before: str, after: str) -> bool:
    """Whether a mutation can be noticed at all: it compiles, and more than annotations differ.

    All of the package has ``from __future__ import annotations``, so that annotations are never run.
    """
    try:
        return _executed(after) != _executed(before)
    except SyntaxError:
        return False


def _executed(source: str) -> str:
    return ast.dump(_WithoutAnnotations().visit(ast.parse(source)))


class _WithoutAnnotations(ast.NodeTransformer):
    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)
