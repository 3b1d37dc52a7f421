# SPDX-License-Identifier: GPL-2.0-or-later
"""results.ktap, read by the kernel's own parser: that of the source which the project builds from."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from formats import NO_ROUND, judged, material
from test_formats import EVIL, with_text

from guestloop.cache import Cache
from guestloop.compare import Status
from guestloop.config import load_kernel
from guestloop.report import FORMATS
from guestloop.report.checks import checks_of
from guestloop.report.ktap import LINES
from guestloop.report.material import Material
from guestloop.sources import find_source
from guestloop.sources.trees import read_file

MODULES = ("kunit_printer", "kunit_parser")
WORDS = {
    ("ok", ""): "SUCCESS",
    ("ok", "SKIP"): "SKIPPED",
    ("not ok", ""): "FAILURE",
    ("not ok", "ERROR"): "FAILURE",
}
"""What the parser makes of a result and a directive."""


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """tools/testing/kunit/kunit_parser.py of the reference kernel."""
    directory, cache = tmp_path_factory.mktemp("kunit"), Cache()
    spec = load_kernel("unpatched")
    tree = find_source(spec.base, spec.name, cache).tree
    for name in MODULES:
        content = read_file(tree, f"tools/testing/kunit/{name}.py", cache)
        assert content, name
        (directory / f"{name}.py").write_bytes(content)
    sys.path.insert(0, str(directory))
    yield importlib.import_module("kunit_parser")
    sys.path.remove(str(directory))
    for name in MODULES:
        sys.modules.pop(name)


def parsed(parser: ModuleType, made: Material, path: Path) -> Any:
    """As ``kunit.py parse FILE`` reads it."""
    path.write_text(FORMATS["results.ktap"](made))
    with path.open(errors="backslashreplace") as file:
        return parser.parse_run_tests(file.read().splitlines())


@pytest.mark.guest
@pytest.mark.parametrize(
    "made", [material(*judged(*Status, NO_ROUND)), material(*judged("same")), with_text(EVIL)]
)
def test_kunit_reads_every_check(parser: ModuleType, made: Material, tmp_path: Path) -> None:
    root = parsed(parser, made, tmp_path / "results.ktap")
    wanted = [WORDS[LINES[check.mark]] for check in checks_of(made.result)]
    tests = [test for group in root.subtests for test in group.subtests]
    assert [test.status.name for test in tests] == wanted
    assert root.counts.errors == 0 and root.counts.total() == len(wanted)
