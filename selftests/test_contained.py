# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds of foreign code: what a Makefile can do from within, each claim of docs/security.md by trying it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from test_surroundings import FOREIGN
from tiny import DATA, base, pack, spec

from guestloop.cache import Cache
from guestloop.config import KernelSpec
from guestloop.ground import proc
from guestloop.ground.errors import NotBuilt, ProcessError
from guestloop.ground.wait import wait_for
from guestloop.kernels import build, build_kernel
from guestloop.kernels.contained import Containment, find_containment

__all__ = ["base", "spec"]  # fixtures

UNCONTAINED = Containment("no: for this test")

# Each line that is printed is something that a build must not be able to do, and could.
HOSTILE = """
echo x >$OUTSIDE/new  # into a folder that is not the one outside, see below
for file in $SOURCE/new $SOURCE/Makefile /etc/new /usr/new /var/tmp/new; do
	echo x >>"$file" && echo "wrote $file"
done
for file in $HOME_OUTSIDE/.ssh/key /etc/shadow /root/.bashrc; do
	cat "$file" && echo "read $file"
done
ls / | grep -x -e home -e root -e var -e run -e sys -e boot -e work && echo "those can be seen"
(: <>/dev/tcp/127.0.0.1/$PORT) && echo "connected to the host"
(: <>/dev/tcp/192.0.2.1/80) && echo "has a network"
kill -0 $VICTIM && echo "sees a process outside"
kill -9 $VICTIM && echo "killed a process outside"
unshare --mount true && echo "mounted"
chroot / true && echo "changed root"
[ "$(id -u)" != 0 ] || echo "is root"
grep -q '^CapEff:.0*$' /proc/self/status || echo "has capabilities"
grep -q '^NoNewPrivs:.1' /proc/self/status || echo "can gain privileges"
[ -e /dev/kvm ] || [ -e /dev/sda ] || [ -e /dev/vda ] && echo "has devices"
(: </dev/tty) && echo "has the terminal"
env | grep -e '^SECRET' -e '^GIT_' -e '^LD_' -e '^MAKEFLAGS=.*foreign' && echo "has the environment"
setsid sh -c "exec -a $MARK sleep 60" & setsid bash -c "exec -a $MARK sleep 60" &
echo x >$OBJECTS/made && echo "made what it should"
echo x >/tmp/scratch && echo "has space for temporary files"
true
"""
ALLOWED = ["made what it should", "has space for temporary files"]


@dataclass(frozen=True)
class Place:
    """Folders of a build, and something outside that it must not reach."""

    top: Path
    env: dict[str, str]

    def run(self, containment: Containment) -> list[str]:
        """What the hostile Makefile could do."""
        source, objects = self.top / "source", self.top / "objects"
        argv: list[proc.Arg] = ["make", "-s", "--no-print-directory", "-C", source, "SHELL=/bin/bash", "all"]
        command = containment.command(argv, readable=[source], writable=[objects])
        return proc.read(command, env=self.env).lines


@pytest.fixture
def containment() -> Containment:
    found = find_containment()
    if not found.options:
        pytest.skip(f"this machine has no sandbox: {found.description}")
    return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    for name in ("source", "objects", "home/.ssh"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "home/.ssh/key").write_text("a secret")
    recipe = "\n".join(f"\t{line.replace('$', '$$')}" for line in HOSTILE.strip().splitlines())
    (tmp_path / "source/Makefile").write_text(f".ONESHELL:\nall:\n{recipe}\n")
    with socket.create_server(("127.0.0.1", 0)) as server, proc.spawn(["sleep", "60"], quick=True) as victim:
        env = {
            "SOURCE": tmp_path / "source",
            "OBJECTS": tmp_path / "objects",
            "OUTSIDE": tmp_path,
            "HOME_OUTSIDE": tmp_path / "home",
            "PORT": server.getsockname()[1],
            "VICTIM": victim.pid,
            "MARK": f"left-behind-by-{os.getpid()}",
        }
        yield Place(tmp_path, {name: str(value) for name, value in env.items()})
        assert victim.poll() is None, "it lives"


def processes(mark: str) -> list[str]:
    return subprocess.run(
        ["pgrep", "-f", f"^{mark}"], capture_output=True, text=True, check=False
    ).stdout.split()


def test_what_a_makefile_cannot_do(
    containment: Containment, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SECRET", "GIT_DIR", "LD_LIBRARY_PATH", "MAKEFLAGS"):
        monkeypatch.setenv(name, "foreign")
    assert place.run(containment) == ALLOWED
    assert processes(place.env["MARK"]) == [], "nothing is left behind"
    assert (place.top / "objects/made").exists()
    assert sorted(path.name for path in place.top.iterdir()) == ["home", "objects", "source"]


def test_the_same_without_a_sandbox(place: Place) -> None:
    """Or the test above would pass whatever the sandbox is."""
    hostile = place.top / "source/Makefile"
    drop = ("/etc/new /usr/new /var/tmp/new", "kill -9", "setsid", "192.0.2.1/80")
    kept = [line for line in hostile.read_text().splitlines() if not any(word in line for word in drop[1:])]
    hostile.write_text("\n".join(kept).replace(drop[0], ""))
    could = place.run(UNCONTAINED)
    assert (place.top / "new").exists()
    for what in ("wrote ", "read ", "connected to the host", "sees a process outside"):
        assert any(line.startswith(what) for line in could), what


def test_what_make_prints_and_how_it_ends_come_through(containment: Containment, tmp_path: Path) -> None:
    command = containment.command(["sh", "-c", "echo out; exit 3"], readable=[], writable=[tmp_path])
    with pytest.raises(ProcessError, match="exit status 3") as raised:
        proc.run(command)
    assert raised.value.output == "out"


def test_a_build_that_is_interrupted_is_gone(containment: Containment, tmp_path: Path) -> None:
    """It has a session of its own, so the signal to our process group reaches bwrap alone."""
    mark = f"interrupted-{os.getpid()}"
    script = f"exec -a {mark} sleep 60 & echo begun; wait"
    command = containment.command(["bash", "-c", script], readable=[], writable=[tmp_path])

    def interrupt(_line: str) -> None:
        assert wait_for("the process", lambda: processes(mark) or None, 5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        proc.run(command, on_line=interrupt)
    wait_for("its end", lambda: True if not processes(mark) else None, 5)


def test_a_kernel_is_the_same_with_and_without(
    spec: KernelSpec,
    tmp_path: Path,
    containment: Containment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And its record says how it was built."""
    kernels = []
    for name, each in (("with", containment), ("without", UNCONTAINED)):
        monkeypatch.setattr(build, "find_containment", lambda each=each: each)
        kernels.append(build_kernel(spec, Cache(tmp_path / name)))
        described = (kernels[-1].directory / "kernel.json").read_text()
        assert f'"contained": "{each.description}"' in described
    assert kernels[0].build_ids == kernels[1].build_ids
    assert containment.description.startswith("bubblewrap ")


# --- machines without ------------------------------------------------------------------------------


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    find_containment.cache_clear()
    yield
    find_containment.cache_clear()


def test_without_bubblewrap(
    anew: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(proc, "has_program", lambda name: name != "bwrap")
    found = find_containment()
    assert found.command(["make"], readable=[Path("/s")], writable=[Path("/o")]) == ["make"]
    assert found.description == "no: bubblewrap is not installed (apt-get install bubblewrap)"
    find_containment()
    told = "==> kernel builds are not contained (bubblewrap is not installed (apt-get install bubblewrap))\n"
    assert capsys.readouterr().err == told, "once"


@pytest.mark.parametrize(
    ("script", "description"),
    [
        ("echo 'bwrap: No permissions to create new namespace' >&2; exit 1", "no: bwrap: No permissions to"),
        ("exit 5", "no: status 5"),
        (
            'case "$*" in *unshare-user*) exit 1 ;; --version) echo bubblewrap 0.8.0 ;; esac',
            "bubblewrap 0.8.0",
        ),
    ],
)
def test_bubblewrap_that_refuses(
    anew: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, description: str
) -> None:
    """As in most containers. Root without user namespaces only drops its capabilities."""
    program = tmp_path / "bwrap"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = find_containment()
    assert found.description.startswith(description)
    assert ("--cap-drop" in found.options) is description.startswith("bubble")


def test_a_compiler_of_the_users_own_could_not_be_seen(
    anew: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gcc").write_text("#!/bin/sh\n")
    (tmp_path / "gcc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_containment().description in (
        f"no: {tmp_path}/gcc is not in a directory of the system",
        "no: bubblewrap is not installed (apt-get install bubblewrap)",
    )


def with_makefile(spec: KernelSpec, directory: Path, text: str) -> KernelSpec:
    """The kernel with some lines behind its Makefile."""
    top = directory / "linux"
    shutil.copytree(DATA / "tiny", top)
    with (top / "Makefile").open("a") as makefile:
        makefile.write(f"\n{text}")
    return replace(spec, base=pack(top, directory / "other.tar"))


def test_links_that_a_build_leaves_are_not_followed(spec: KernelSpec, tmp_path: Path) -> None:
    """Neither written through nor read through, by what runs outside of the sandbox."""
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    names = ("make.log", "guestloop.config", ".guestloop-making", "../objects.log")
    links = "".join(f"\t-ln -sf {victim} $(O)/{name}\n" for name in names)
    planted = with_makefile(spec, tmp_path, f"allnoconfig: planted\nplanted:\n{links}")
    cache = Cache(tmp_path / "cache")
    assert build_kernel(planted, cache).image.is_file()
    shutil.rmtree(cache.root / "kernel")  # the same object tree once more
    build_kernel(planted, cache)
    assert victim.read_text() == "as it was"


@pytest.mark.parametrize("name", ["System.map", ".config", "modules.order", "arch/x86/kvm/kvm.ko"])
def test_links_instead_of_results_are_refused(spec: KernelSpec, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("of the user")
    link = f"modules: linked\nlinked: $(KO)\n\tln -sf {tmp_path}/secret $(O)/{name}\n"
    with pytest.raises(NotBuilt, match=f"left {Path(name).name} as a link out of its object tree"):
        build_kernel(with_makefile(spec, tmp_path, link), Cache(tmp_path / "cache"))


def test_nothing_of_the_environment_reaches_make(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spec: KernelSpec,
) -> None:
    """Another kernel would be built, under the same key."""
    told = with_makefile(
        spec, tmp_path, "vmlinux modules allnoconfig: telling\ntelling:\n\tenv -0 >$(O)/seen\n"
    )
    plain = build_kernel(told, Cache(tmp_path / "plain"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", {**FOREIGN, "PATH": os.environ["PATH"], "HOME": "/home/me"})
        foreign = build_kernel(told, Cache(tmp_path / "foreign"))
    assert (foreign.directory.name, foreign.build_ids) == (plain.directory.name, plain.build_ids)
    (seen,) = (tmp_path / "foreign/work").rglob("seen")
    variables = dict(word.split("=", 1) for word in seen.read_text().split("\0") if word)
    assert not {name: value for name, value in variables.items() if "/foreign" in value.split(":")}
    assert variables["HOME"] == "/nonexistent" and variables["MAKELEVEL"] == "1"
    assert variables["MAKEFLAGS"].replace(f"-j{len(os.sched_getaffinity(0))}", "").split()[0] == "w"
