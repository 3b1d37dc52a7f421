"""What several selftests share and is made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestloop.images import l2
from guestloop.images.compiler import compile_program


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """L2's payload, compiled."""
    output = tmp_path_factory.mktemp("payload") / "init"
    compile_program(l2.RECIPE, output)
    return output
