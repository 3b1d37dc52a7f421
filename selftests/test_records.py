"""A result is stored whole or not at all, whatever happens to the process that writes it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from guestloop.results.files import write_json

DIES_WHILE_IT_WRITES = """
import os, signal, sys
from pathlib import Path
from guestloop.results import files
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
files.write_json(Path(sys.argv[1]), {"a": 1})
"""


@pytest.fixture(params=["without a name until it is whole", "beside"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to write: the second is that of file systems without O_TMPFILE."""
    if request.param == "beside":
        real_open = os.open

        def refuse(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            return real_open(path, flags, mode, dir_fd=dir_fd)

        monkeypatch.setattr(os, "open", refuse)
    return str(request.param)


@pytest.mark.usefixtures("way")
def test_a_result_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(FileExistsError):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    write_json(path, {"a": 3}, replace=True)
    assert json.loads(path.read_text()) == {"a": 3}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.usefixtures("way")
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "a.json", {"a": 1})
    assert not list(tmp_path.iterdir())


def test_kill_9_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DIES_WHILE_IT_WRITES, str(tmp_path / "a.json")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not list(tmp_path.iterdir())
