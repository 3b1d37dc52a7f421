# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line as its users meet it: exit status, one clear message, and nothing touched or lost."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from recorded import RECORDED

from guestloop import cli
from guestloop.config import find_kernel_files
from guestloop.ground.errors import Exit
from guestloop.machines.host import read_host
from guestloop.machines.nested_kvm import NestedKvm
from guestloop.report import FORMATS
from guestloop.results.cells import Mmu
from guestloop.workloads.catalog import all_cells

SHADOW = "rounds/asyncpf/shadow/read-shared"
TDP = "rounds/asyncpf/tdp/read-shared"
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminal:
    """Runs guestloop in an empty directory, with a home and a cache of its own."""

    def __init__(self, directory: Path) -> None:
        self.cwd, self.home, self.cache = directory / "cwd", directory / "home", directory / "cache"
        self.cwd.mkdir()
        self.kernels = self.home / ".config/guestloop/kernels"

    def environment(self, variables: dict[str, str]) -> dict[str, str]:
        own = {"HOME": str(self.home), "GUESTLOOP_CACHE": str(self.cache), **variables}
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "GUESTLOOP_"))}
        return kept | own

    def run(self, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command in this process: starting Python and its imports takes longer than most commands."""
        args = [str(argument) for argument in arguments]
        stdout, stderr = io.StringIO(), io.StringIO()
        handlers = {number: signal.getsignal(number) for number in HANDLED}
        own = mock.patch.dict(os.environ, self.environment(variables), clear=True)
        with own, chdir(self.cwd), redirect_stdout(stdout), redirect_stderr(stderr):
            try:
                status = cli.main(args)
            except SystemExit as exit_:  # argparse's
                status = int(exit_.code or 0)
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        return subprocess.CompletedProcess(args, status, stdout.getvalue(), stderr.getvalue())

    def start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command in a process of its own, as scripts/run starts it."""
        return subprocess.run(
            [sys.executable, "-m", "guestloop.cli", *arguments],
            cwd=self.cwd,
            env=self.environment({}),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def refused(self, *arguments: str | Path, status: int = 2) -> tuple[str, str]:
        """Message and hint of a run that must fail before it touches anything."""
        done = self.run(*arguments)
        assert (done.returncode, done.stdout) == (status, ""), done.stderr
        assert "Traceback" not in done.stderr
        message, *hint = [line for line in done.stderr.splitlines() if not line.startswith("==>")]
        self.untouched()
        return message, "\n".join(hint)

    def untouched(self) -> None:
        assert not self.cache.exists()
        assert list(self.cwd.iterdir()) == []


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


# --- run -------------------------------------------------------------------------------------------


def test_list_prints_every_cell_and_touches_nothing(terminal: Terminal) -> None:
    words = ("--profile", "lab", "--accel", "tcg", "--list", "--rounds", "7")  # on hardware sizes differ
    done = terminal.start("run", *words)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert {f"{cell.id}  x 7 rounds x 2 kernels" for cell in all_cells()} < set(lines)
    assert len(lines) == len(set(lines)) and "migration/tdp-pml/sweep  x 7 rounds x 2 kernels" in lines
    terminal.untouched()


def test_list_counts_the_kernels(terminal: Terminal) -> None:
    lines = terminal.run(
        "run", "--profile", "smoke", "--list", "--kernels", "unpatched,patched,patched"
    ).stdout
    assert lines.splitlines()[0].endswith(" rounds x 3 kernels")


def test_list_does_not_look_for_kernels_that_exist(terminal: Terminal) -> None:
    kernels = "deb:newest@sid,deb:6.12@nosuch,/nowhere/linux,nowhere.deb,running"
    done = terminal.run("run", "--profile", "smoke", "--list", "--kernels", kernels)
    assert done.returncode == 0 and done.stdout.splitlines()[0].endswith(" rounds x 5 kernels")
    terminal.untouched()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("nowhere.deb", "no such file: "),
        ("/nowhere/linux", "no such directory: /nowhere/linux"),
        ("/nowhere/boot/vmlinuz-6.12.1", "kernel 6.12.1 has no modules: "),
        ("deb:bash", "neither a version nor a package of a kernel (linux-...): 'bash'"),
    ],
)
def test_kernels_that_are_not_there(terminal: Terminal, argument: str, message: str) -> None:
    """And nothing is left, not even an empty directory for results."""
    told, _ = terminal.refused("run", "--kernels", f"{argument},unpatched", "--out", "out")
    assert told.startswith(f"guestloop: --kernels {argument}: {message}")


def test_list_says_what_is_left_out(terminal: Terminal) -> None:
    lines = terminal.run("run", "--profile", "smoke", "--list").stdout.splitlines()
    left = [line.removeprefix("left out: ") for line in lines if line.startswith("left out: ")]
    listed = [line for line in lines if not line.startswith("left out: ")]
    assert "hardware" in left.pop()
    counts = [int(line.split()[0]) if " cells of " in line else 1 for line in left]
    assert listed and left and len(listed) + sum(counts) == len(all_cells())


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("--profile", "smoek"), "unknown profile 'smoek'", "did you mean 'smoke'?"),
        (("--kernels", "unpatched,patched,pached"), "unknown kernel 'pached'", "did you mean 'patched'?"),
        (
            ("--kernels", "patched"),
            "--kernels: two or more kernels were wanted, seen: patched",
            "the first is the ref",
        ),
        (("--tests", "asyncfp"), "unknown test 'asyncfp'", "did you mean 'asyncpf'?"),
        (("--mmu", "shadwo"), "unknown MMU mode 'shadwo'", "did you mean 'shadow'?"),
    ],
)
def test_wrong_names(terminal: Terminal, arguments: tuple[str, str], message: str, hint: str) -> None:
    seen, help_ = terminal.refused("run", *arguments)
    assert seen == f"guestloop: {message}"
    assert hint in help_


def test_help_says_what_each_mode_is(terminal: Terminal) -> None:
    text = " ".join(terminal.run("run", "--help").stdout.split())
    assert f"--mmu {','.join(Mmu)}" in text
    for mode in Mmu:
        assert mode.meaning in text
    assert "direct or legacy-tdp: the legacy (shadow) MMU code running with TDP" in text


@pytest.mark.parametrize("rounds", ["0", "-1", "two", "1.5"])
def test_rounds_are_counted_from_one(terminal: Terminal, rounds: str) -> None:
    done = terminal.run("run", f"--rounds={rounds}")
    assert done.returncode == 2
    assert f"argument --rounds: a number of 1 or more was wanted, seen: '{rounds}'" in done.stderr


@pytest.mark.parametrize("option", ["--out", "--git", "--config-a", "--base"])
def test_an_empty_value_is_none(terminal: Terminal, option: str) -> None:
    """As a script has it whose variable is not set; no directory, and no default, is meant."""
    done = terminal.run("run", option, "")
    assert done.returncode == 2 and f"argument {option}: a value was wanted, seen: ''" in done.stderr
    terminal.untouched()


def test_kvm_where_it_cannot_be_had(terminal: Terminal) -> None:
    seen = NestedKvm().availability(read_host())
    if seen.usable:
        pytest.skip(f"this machine has it: {seen.reason}")
    message, hint = terminal.refused("run", "--accel", "kvm", status=3)
    assert message == f"guestloop: --accel kvm: {seen.reason}"
    assert "--accel tcg" in hint


def test_unknown_key_in_an_own_kernel(terminal: Terminal) -> None:
    terminal.kernels.mkdir(parents=True)
    mine = terminal.kernels / "mine.yaml"
    shipped = find_kernel_files()["unpatched"].read_text()
    mine.write_text(shipped + "serries: [x.patch]\n")
    message, hint = terminal.refused("run", "--kernels", "unpatched,mine", "--list")
    assert message == f"guestloop: {mine}: unknown key 'serries'"
    assert "did you mean 'series'?" in hint


def test_results_are_not_overwritten(terminal: Terminal, tmp_path: Path) -> None:
    out = shutil.copytree(RECORDED, tmp_path / "out")
    message, hint = terminal.refused("run", "--out", out)
    assert message == f"guestloop: --out {out}: there are results in it already"
    assert "another directory" in hint
    assert not (out / "verdict.json").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "file is not a directory"),
        ("file/out", "file is not a directory"),
        ("x" * 300, "name too long"),
    ],
)
def test_results_that_cannot_be_written(terminal: Terminal, tmp_path: Path, name: str, message: str) -> None:
    """Said before anything is fetched or built."""
    (tmp_path / "file").write_text("")
    told, _ = terminal.refused("run", "--accel", "tcg", "--out", tmp_path / name)
    assert told.startswith(f"guestloop: --out {tmp_path}") and told.endswith(message)


def test_a_cache_that_cannot_be_written(terminal: Terminal, tmp_path: Path) -> None:
    """Said before anything is downloaded or built."""
    (tmp_path / "file").write_text("")
    done = terminal.run("run", "--accel", "tcg", GUESTLOOP_CACHE=str(tmp_path / "file/cache"))
    assert done.returncode == 3 and "Traceback" not in done.stderr
    assert f"guestloop: the cache {tmp_path}/file/cache cannot be written: Not a directory" in done.stderr
    assert "GUESTLOOP_CACHE" in done.stderr


# --- compare ---------------------------------------------------------------------------------------

Change = Callable[[dict[str, Any]], object]


def change(out: Path, kernel: str, by: Change, cell: str = SHADOW) -> None:
    """Alter every recorded round of a cell on one kernel."""
    for path in (out / cell).glob(f"{kernel}.*.json"):
        data = json.loads(path.read_text())
        by(data)
        path.write_text(json.dumps(data))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECORDED, tmp_path / "out"))


def verdict(out: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((out / "verdict.json").read_text())
    return data


def statuses(out: Path) -> list[str]:
    return [cell["status"] for cell in verdict(out)["cells"]]


def test_compare_recomputes_a_recorded_run(terminal: Terminal, out: Path) -> None:
    done = terminal.run("compare", out)
    assert (done.returncode, done.stderr) == (Exit.OK, "")
    assert statuses(out) == ["cannot-differ", "fewer"]
    assert verdict(out)["verdict"] == "no-regression"
    assert "asyncpf/shadow/read-shared" in done.stdout and "\033" not in done.stdout
    first = (out / "verdict.json").read_bytes()
    assert terminal.run("compare", out).returncode == Exit.OK
    assert (out / "verdict.json").read_bytes() == first
    terminal.untouched()


def test_results_that_are_read_only_are_compared(
    terminal: Terminal, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("guestloop.report.verdict_json.write_bytes", refuse)  # root may write anywhere
    done = terminal.run("compare", out)
    assert done.returncode == Exit.OK and "1 cell with fewer flushes" in done.stdout
    assert done.stderr == f"==> {out}/verdict.json is left as it is: Permission denied\n"


def test_wrong_contents_are_a_regression(terminal: Terminal, out: Path) -> None:
    change(out, "patched", lambda data: data.update(correctness="fail", reason="2 of 9 pages are wrong"))
    assert terminal.run("compare", out).returncode == Exit.REGRESSION
    assert statuses(out) == ["cannot-differ", "broken"]


def make_identical(out: Path) -> None:
    plan = json.loads((out / "plan.json").read_text())
    (candidate,) = plan["kernels"]["candidates"]
    candidate["sha256"] = plan["kernels"]["reference"]["sha256"]
    (out / "plan.json").write_text(json.dumps(plan))


def test_wrong_contents_of_identical_kernels_are_no_regression(terminal: Terminal, out: Path) -> None:
    make_identical(out)
    change(out, "patched", lambda data: data.update(correctness="fail", reason="2 of 9 pages are wrong"))
    assert terminal.run("compare", out).returncode == Exit.LAB
    assert statuses(out) == ["same", "inconclusive"]
    assert verdict(out)["verdict"] == "unstable"


def test_rates_of_identical_kernels_that_differ_are_inconclusive(terminal: Terminal, out: Path) -> None:
    make_identical(out)
    assert terminal.run("compare", out).returncode == Exit.INCONCLUSIVE
    assert statuses(out) == ["same", "inconclusive"]


def test_a_third_kernel(terminal: Terminal, out: Path) -> None:
    """As patched in all it did; its rounds are in, and those of one that is not planned are refused."""
    plan = json.loads((out / "plan.json").read_text())
    plan["kernels"]["candidates"].append(plan["kernels"]["candidates"][0] | {"name": "third"})
    for path in out.rglob("patched.*.json"):
        data = json.loads(path.read_text()) | {"kernel": "third"}
        path.with_name(path.name.replace("patched", "third")).write_text(json.dumps(data))
    assert terminal.run("compare", out).returncode == Exit.LAB
    (out / "plan.json").write_text(json.dumps(plan))
    assert terminal.run("compare", out).returncode == Exit.OK
    assert [one["status"] for one in verdict(out)["cells"][1]["candidates"].values()] == ["fewer", "fewer"]


def test_more_flushes_are_a_regression(terminal: Terminal, out: Path) -> None:
    def swap(data: dict[str, Any]) -> None:
        """What was counted on one kernel is taken for what was counted on the other."""
        other = {"patched": "unpatched", "unpatched": "patched"}
        data["kernel"] = other[data["kernel"]]
        data["facts"] = {}  # its build ids

    for kernel, cell in itertools.product(("patched", "unpatched"), (SHADOW, TDP)):
        change(out, kernel, swap, cell)
    assert terminal.run("compare", out).returncode == Exit.REGRESSION
    assert statuses(out)[1] == "more"


def test_a_round_that_was_copied_by_hand_is_refused(terminal: Terminal, out: Path) -> None:
    shutil.copy(out / SHADOW / "patched.1.json", out / SHADOW / "patched.3.json")
    message, hint = terminal.refused("compare", out, status=Exit.LAB)
    assert message == "guestloop: round 1 of asyncpf/shadow/read-shared on patched is there twice"
    assert hint.strip() == "hint: was a file in rounds/ copied or renamed by hand?"


def test_a_round_of_another_build_is_refused(terminal: Terminal, out: Path) -> None:
    change(out, "patched", lambda data: data["facts"].update({"kvm.build_id": "0bad"}))
    message, _ = terminal.refused("compare", out, status=Exit.LAB)
    assert "on patched ran another build than round 1 of" in message
    assert re.search(r": kvm\.build_id \w+, wanted \w+$", message)


def test_nothing_measured_is_not_a_pass(terminal: Terminal, out: Path) -> None:
    shutil.rmtree(out / "rounds")
    assert terminal.run("compare", out).returncode == Exit.LAB
    assert verdict(out)["verdict"] == "nothing-measured"


def test_a_cell_that_proved_nothing_leaves_the_run_open(terminal: Terminal, out: Path) -> None:
    change(out, "patched", lambda data: data.update(outcome="invalid", reason="page_ready: 0 seen"))
    assert terminal.run("compare", out).returncode == Exit.INCONCLUSIVE
    assert statuses(out) == ["cannot-differ", "invalid"]


def test_compare_of_something_else(terminal: Terminal, tmp_path: Path) -> None:
    message, _ = terminal.refused("compare", tmp_path)
    assert message == f"guestloop: {tmp_path} is not a result directory (no plan.json)"
    terminal.refused("compare", tmp_path / "nowhere")


@pytest.mark.parametrize("file", ["plan.json", f"{SHADOW}/patched.1.json"])
@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_damaged_results_are_named(terminal: Terminal, out: Path, file: str, text: str) -> None:
    (out / file).write_text(text)
    message, _ = terminal.refused("compare", out, status=3)
    assert message.startswith(f"guestloop: {out / file}: cannot be read as a result: ")
    assert not (out / "verdict.json").exists()


# --- report ----------------------------------------------------------------------------------------


def test_report_makes_every_file_again(terminal: Terminal, out: Path) -> None:
    terminal.run("compare", out)
    first = {name: (out / name).read_bytes() for name in FORMATS}
    for name in FORMATS:
        (out / name).unlink()
    for path in (out / "plan.json", out / "rounds"):  # nothing but verdict.json is needed
        path.rename(out.parent / path.name)
    done = terminal.run("report", out)
    assert (done.returncode, done.stderr) == (Exit.OK, "")
    assert done.stdout.splitlines() == [str(out / name) for name in FORMATS]
    again = {name: (out / name).read_bytes() for name in FORMATS}
    # The page has links to rounds as long as they are there.
    assert b'href="rounds/' in first.pop("report.html") and b'href="rounds/' not in again.pop("report.html")
    assert again == first
    terminal.untouched()


def test_the_mail_is_signed_by_who_sends_it(terminal: Terminal, out: Path) -> None:
    terminal.home.mkdir(exist_ok=True)
    (terminal.home / ".gitconfig").write_text('[user]\nname = "Jane Doe"\nemail = jane@example.org\n')
    terminal.run("compare", out)
    assert (out / "mail.txt").read_text().endswith("\nTested-by: Jane Doe <jane@example.org>\n")
    (terminal.home / ".gitconfig").unlink()
    terminal.run("report", out)
    assert (out / "mail.txt").read_text().endswith("\nTested-by: Your Name <you@example.org>\n")


def test_report_of_something_else(terminal: Terminal, out: Path, tmp_path: Path) -> None:
    message, _ = terminal.refused("report", tmp_path)
    assert message == f"guestloop: {tmp_path} is not a result directory (no plan.json, no verdict.json)"
    message, hint = terminal.refused("report", out)
    assert message == f"guestloop: {out}: no verdict.json in it" and f"scripts/compare {out} makes it" in hint
    terminal.run("compare", out)
    data = verdict(out)
    (out / "verdict.json").write_text(json.dumps({**data, "schema_version": 5}))
    message, hint = terminal.refused("report", out)
    assert message.endswith("it has schema 5, and reports are made from schema 6")
    assert f"scripts/compare {out} makes it anew from the rounds" in hint


def test_a_fault_in_a_format_changes_no_exit_status(
    terminal: Terminal, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> str:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("guestloop.report.formats.FORMATS", {**FORMATS, "junit.xml": fail})
    change(out, "patched", lambda data: data.update(correctness="fail", reason="2 of 9 pages are wrong"))
    done = terminal.run("compare", out)
    assert done.returncode == Exit.REGRESSION and (out / "mail.txt").exists()
    assert f"==> the report in {out} is not whole: ZeroDivisionError: a fault\n" in done.stderr
    assert f"scripts/report {out} makes it again" in done.stderr


# --- what nobody foresaw ---------------------------------------------------------------------------


def fault(terminal: Terminal, error: BaseException) -> subprocess.CompletedProcess[str]:
    """A run in which this happens."""
    with mock.patch("guestloop.job.run.run", side_effect=error):
        return terminal.run("run")


def test_a_bug_is_not_a_regression(terminal: Terminal) -> None:
    """Python's own status for an uncaught exception is 1, which would tell CI that the patch is bad."""
    done = fault(terminal, KeyError("oops"))
    assert done.returncode == Exit.LAB
    assert "KeyError: 'oops'" in done.stderr and "Traceback" in done.stderr


def test_a_full_disk_is_one_message(terminal: Terminal) -> None:
    done = fault(terminal, OSError(errno.ENOSPC, "No space left", "plan.json"))
    assert done.returncode == Exit.LAB
    assert "no space left" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EAGAIN, errno.EFBIG])
def test_a_limit_is_one_message(terminal: Terminal, number: int) -> None:
    done = fault(terminal, OSError(number, os.strerror(number)))
    assert done.returncode == Exit.LAB
    message, hint = done.stderr.splitlines()
    assert os.strerror(number) in message and "ulimit" in hint


def test_a_file_of_another_user_is_one_message(terminal: Terminal) -> None:
    done = fault(terminal, PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/theirs"))
    assert done.returncode == Exit.LAB
    message, hint = done.stderr.splitlines()
    assert message == "guestloop: /theirs: Permission denied" and "user" in hint


def test_nohup_is_respected(terminal: Terminal) -> None:
    """It has SIGHUP ignored; shells do so to SIGINT for what runs in the background, and CI sends it."""
    seen: list[object] = []

    def look(_options: object) -> Exit:
        seen.extend(map(signal.getsignal, HANDLED))
        return Exit.OK

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with mock.patch("guestloop.job.run.run", side_effect=look):
            assert terminal.run("run").returncode == Exit.OK
    finally:
        signal.signal(signal.SIGHUP, before)
    assert seen == [cli._interrupt, cli._interrupt, signal.SIG_IGN]


def test_interrupted(terminal: Terminal) -> None:
    done = fault(terminal, KeyboardInterrupt())
    assert done.returncode == Exit.INTERRUPTED
    assert done.stderr == "guestloop: interrupted; every guest was ended, the cache is whole\n"
