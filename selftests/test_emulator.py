# SPDX-License-Identifier: GPL-2.0-or-later
"""Building the emulator, with stand-ins for dpkg, apt and QEMU; guest selftests build the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestloop.cache import Cache
from guestloop.ground import surroundings
from guestloop.ground.errors import CacheError, ConfigError, GuestloopError, LabError, ProcessError
from guestloop.machines.emulator import build_emulator, source
from guestloop.machines.emulator.build import RECIPE
from guestloop.machines.kind import PROGRAM
from guestloop.sources import read_series

CONFIGURE = """#!/bin/sh
echo "configured with $PYTHON: $*"
echo "ccache in $CCACHE_DIR"
cp "$(dirname "$0")/cpu.c" cpu.c
"""
NINJA = """#!/bin/sh
# ninja -C DIRECTORY -jN PROGRAM
echo "[1/2] Compiling C object a.p/cpu.c.o"
cp /bin/true "$2/$4"
echo "[2/2] Linking target $4"
"""
APT = """#!/bin/sh
for word; do last=$word; done
echo "$*" >>"$LOG"
cat "$APT_CONFIG" >"$LOG.conf"
[ -z "$FAIL" ] || { echo "E: $FAIL"; exit 100; }
[ "$last" = update ] || touch qemu_7.2.dsc
"""
DPKG_SOURCE = """#!/bin/sh
for word; do tree=$word; done
mkdir -p "$tree/configs/devices/x86_64-softmmu"
echo "as Debian has it" >"$tree/cpu.c"
cp "$STANDINS/configure" "$tree/configure"
"""
PATCH = """A change.

--- a/cpu.c
+++ b/cpu.c
@@ -1 +1 @@
-as Debian has it
+{changed}
"""


class Machine:
    """A PATH whose first directory has the stand-ins; ``log`` has what apt-get was asked for."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin, self.log, self.recipe = directory / "bin", directory / "log", directory / "recipe"
        self.failure = ""
        self.bin.mkdir()
        self.recipe.mkdir()
        self.installed("installed qemu 1:7.2+dfsg-7")
        programs = {"apt-get": APT, "dpkg-source": DPKG_SOURCE, "ninja": NINJA, "configure": CONFIGURE}
        for name, script in programs.items():
            self.program(name, script)
        (self.recipe / "devices.mak").write_text("CONFIG_Q35=y\n")
        self.patch("changed")
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        self.cache = Cache(directory / "cache")

    def program(self, name: str, script: str) -> None:
        first, rest = script.split("\n", 1)
        own = f"LOG='{self.log}' STANDINS='{self.bin}' FAIL='{self.failure}'"
        (self.bin / name).write_text(f"{first}\n{own}\n{rest}")
        (self.bin / name).chmod(0o755)

    def installed(self, answer: str) -> None:
        self.program("dpkg-query", f"#!/bin/sh\nprintf '%s\\n' {answer}\n")

    def patch(self, changed: str) -> None:
        (self.recipe / "0001-change.patch").write_text(PATCH.format(changed=changed))

    def left(self) -> list[Path]:
        """What is in the cache of emulators, finished or not."""
        return sorted((self.cache.root / "emulator").glob("*"))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_it_is_fetched_patched_built_and_then_found(machine: Machine) -> None:
    emulator = build_emulator(machine.cache, machine.recipe)
    assert emulator.program.is_file() and str(emulator).startswith("qemu 1:7.2+dfsg-7, patches 0001, build ")
    update, fetch = machine.log.read_text().splitlines()
    assert update.endswith("update") and fetch.endswith("source --download-only qemu=1:7.2+dfsg-7")
    log = (emulator.program.parent / "build.log").read_text()
    assert "configured with /usr/bin/python3" in log
    assert f"ccache in {machine.cache.root}/ccache\n" not in log, "builds of kernels can write to that"
    assert not (emulator.program.parent / "tmp").exists()
    assert build_emulator(machine.cache, machine.recipe) == emulator
    assert len(machine.log.read_text().splitlines()) == 2


def test_the_machines_own_apt_is_left_alone(machine: Machine) -> None:
    build_emulator(machine.cache, machine.recipe)
    options = machine.log.with_suffix(".conf").read_text().splitlines()
    for setting in ("Dir::Etc::sourcelist", "Dir::State::lists", "Dir::Cache"):
        assert any(line.startswith(f'{setting} "{machine.cache.root}') for line in options)
    for setting in ("Dir::Etc::sourceparts", "Dir::Etc::parts", "Dir::Etc::main"):
        assert f'{setting} "/dev/null";' in options


@pytest.mark.parametrize("what", ["patch", "devices", "version"])
def test_another_input_is_another_emulator(machine: Machine, what: str) -> None:
    before = build_emulator(machine.cache, machine.recipe)
    match what:
        case "patch":
            machine.patch("changed in another way")
        case "devices":
            (machine.recipe / "devices.mak").write_text("CONFIG_MICROVM=y\n")
        case "version":
            machine.installed("installed qemu 1:10.0")
    assert build_emulator(machine.cache, machine.recipe).program != before.program


def broken(machine: Machine, how: str) -> type[GuestloopError]:
    match how:
        case "not installed":
            machine.installed("deinstall qemu 1:7.2")
            return LabError
        case "no source":
            machine.failure = "Unable to find a source package for qemu"
            machine.program("apt-get", APT)
            return ProcessError
        case "bad patch":
            machine.program("dpkg-source", DPKG_SOURCE.replace("as Debian", "as another"))
            return ConfigError
        case "full disk":
            machine.program("ninja", "#!/bin/sh\necho 'cc1: No space left on device'; exit 1\n")
            return CacheError
        case _:
            machine.program("ninja", "#!/bin/sh\necho 'cpu.c:1: error: no'; exit 1\n")
            return ProcessError


@pytest.mark.parametrize(
    "how, told",
    [
        ("not installed", "qemu-system-x86 is not installed"),
        ("no source", "Unable to find a source package for qemu"),
        ("bad patch", "0001-change.patch: patch 1 of 1 does not apply: cpu.c: hunk 1"),
        ("does not compile", "error: no"),
        ("full disk", "no space left in the cache"),
    ],
)
def test_what_fails_is_told_and_leaves_nothing(machine: Machine, how: str, told: str) -> None:
    expected = broken(machine, how)
    with pytest.raises(expected) as caught:
        build_emulator(machine.cache, machine.recipe)
    assert told in caught.value.render() and caught.value.hint
    assert machine.left() == []


def test_a_machine_without_dpkg(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine.bin / "dpkg-query").unlink()
    monkeypatch.setattr(surroundings, "search_path", lambda: str(machine.bin))
    with pytest.raises(LabError, match="dpkg-query"):
        source.find_source()


def test_each_patch_says_why() -> None:
    paths = sorted(RECIPE.glob("*.patch"))
    assert [name[:4] for name in read_series(paths).names] == [
        "0001",
        "0002",
        "0003",
        "0004",
        "0005",
        "0006",
        "0007",
        "0008",
    ]
    for path in paths:
        title, empty, why = path.read_text().splitlines()[:3]
        assert title.startswith(("i386", "tcg")) and not empty and why
    assert PROGRAM == "qemu-system-x86_64"
