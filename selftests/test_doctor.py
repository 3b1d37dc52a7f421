# SPDX-License-Identifier: GPL-2.0-or-later
"""What the doctor says of hosts of many kinds, each a tree of /proc, /sys and /dev (data/hosts)."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import hosts
import pytest

from guestloop import cli
from guestloop.config import REPOSITORY
from guestloop.doctor import Facts, Report, examine, facts, read_facts, render_json, render_text, room
from guestloop.doctor.check import Level
from guestloop.doctor.facts import Disk, Packages
from guestloop.ground.errors import Exit
from guestloop.machines.cgroups import Hierarchy
from guestloop.machines.choice import choose
from guestloop.machines.conditions import parse_cpus
from guestloop.machines.containment import Prospect, Way
from guestloop.machines.features import Feature, State, state
from guestloop.machines.host import KvmDevice
from guestloop.machines.host_lock import borrowed

BUILT, ENOUGH = Packages(known=True), Disk(Path("/cache"), 100_000, built=True)


PROFILES = room._profiles


@cache
def profiles() -> tuple[tuple[str, float], ...]:
    return tuple(PROFILES())


@pytest.fixture(autouse=True)
def profiles_selected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """To select the cells of all profiles takes most of the time of an examination."""
    monkeypatch.setattr(room, "_profiles", profiles)


@cache
def seen(name: str) -> Facts:
    """The facts of a host, with all packages installed and a disk of its own."""
    with TemporaryDirectory() as root:
        read = read_facts(hosts.lay(name, Path(root)))
    return replace(read, packages=BUILT, disk=ENOUGH, is_root=False)


def lines(given: Facts) -> dict[str, tuple[Level, str, str]]:
    return {check.topic: (check.level, check.text, check.mend) for check in examine(given).checks}


def levels(given: Facts, level: Level) -> set[str]:
    return {topic for topic, (own, _, _) in lines(given).items() if own is level}


# --- where the trees come from ---------------------------------------------------------------------


@pytest.mark.parametrize("name", hosts.NAMES)
def test_each_tree_says_where_it_comes_from(name: str) -> None:
    """Recorded as a whole, or composed: then each file of the kernel names the function that prints it."""
    said = hosts.about(name)
    if "Recorded" in said:
        assert not any(hosts.printers(name).values())
        return
    assert "Composed" in said
    for path, printer in hosts.printers(name).items():
        if path.startswith(("proc/", "sys/")):
            assert ".c: " in printer, path


# --- the whole -------------------------------------------------------------------------------------

LABELS = {
    "amd": "svm,npt",
    "amd-nested-off": "tcg",
    "container": "tcg",
    "intel-eptad": "vmx,ept,eptad,pml,unrestricted-guest",
    "intel-eptad-off": "vmx,ept,unrestricted-guest",
    "intel-no-eptad": "vmx,ept,unrestricted-guest",
    "vm-without": "tcg",
    "wsl": "vmx,ept,eptad,pml,unrestricted-guest",
}
LACKING = {
    "amd": {"PML"},
    "amd-nested-off": {"nesting", "PML"},
    "container": {"/dev/kvm", "PML"},
    "intel-eptad": set[str](),
    "intel-eptad-off": {"A/D bits", "PML"},
    "intel-no-eptad": {"A/D bits", "PML"},
    "vm-without": {"virtualization"},
    "wsl": set[str](),
}
WARNINGS = {
    "amd": set[str](),
    "amd-nested-off": {"SMT", "governor", "load", "other guests"},
    "container": {"memory", "CPUs"},
    "intel-eptad": {"SMT", "governor"},
    "intel-eptad-off": set[str](),
    "intel-no-eptad": {"THP", "KSM", "L0 swap", "memory"},
    "vm-without": {"machine", "load"},
    "wsl": {"microcode", "machine", "SMT"},
}


@pytest.mark.parametrize("name", hosts.NAMES)
def test_what_a_host_lacks_and_what_would_spoil_a_measurement(name: str) -> None:
    report = examine(seen(name))
    assert ",".join(report.labels) == LABELS[name]
    assert levels(seen(name), Level.LACKING) == LACKING[name]
    assert levels(seen(name), Level.WARNING) - {"cgroups"} == WARNINGS[name]
    assert report.exit_status is Exit.OK, "the emulator runs anywhere"


@pytest.mark.parametrize("name", hosts.NAMES)
def test_a_line_for_each_topic(name: str) -> None:
    report = examine(seen(name))
    text = render_text(report).splitlines()
    assert len(text) == len(report.checks) == len({check.topic for check in report.checks})
    for line, check in zip(text, report.checks, strict=True):
        assert line.split()[0] == check.level and check.text in line and check.mend in line


@pytest.mark.parametrize("name", hosts.NAMES)
def test_labels_are_those_of_what_a_run_would_take(name: str) -> None:
    report, machine = examine(seen(name)), choose(seen(name).host)
    assert (report.labels == ("tcg",)) == (machine.kind.name == "tcg")
    assert lines(seen(name))["accelerator"][1] == str(machine)


def test_json_has_everything() -> None:
    data = json.loads(render_json(examine(seen("intel-eptad"))))
    assert data["schema_version"] == 1 and data["exit_status"] == 0
    assert data["features"] == LABELS["intel-eptad"].split(",")
    assert data["accelerators"] == {"kvm": True, "tcg": True}
    assert data["facts"]["host"]["parameters"]["kvm_intel.enable_apicv"] == "Y"
    assert data["facts"]["host"]["flags"] == sorted(seen("intel-eptad").host.flags)
    (governor,) = (check for check in data["checks"] if check["topic"] == "governor")
    assert governor["level"] == "warning" and governor["mend"] == "cpupower frequency-set -g performance"


# --- hardware --------------------------------------------------------------------------------------


def test_what_is_read_of_an_intel_host() -> None:
    host = seen("intel-eptad").host
    assert (host.cpus, host.kernel, host.microcode) == (32, "6.1.0-41-amd64", "0xd0003f5")
    assert {"vmx", "ept_ad", "unrestricted_guest", "pml"} <= host.flags, (
        "those of VMX are in a line of their own"
    )
    assert host.parameters["kvm.tdp_mmu"] == "Y" and host.parameters["kvm_intel.eptad"] == "Y"


def test_a_parameter_that_is_off_is_no_hardware_that_is_not_there() -> None:
    by_host = {
        name: state(seen(name).host, Feature.EPTAD) for name in hosts.NAMES if name.startswith("intel")
    }
    assert by_host == {
        "intel-eptad": State.OFFERED,
        "intel-eptad-off": State.SWITCHED_OFF,
        "intel-no-eptad": State.ABSENT,
    }
    assert "modprobe kvm_intel eptad=1" in lines(seen("intel-eptad-off"))["A/D bits"][2]
    assert lines(seen("intel-no-eptad"))["A/D bits"][1:] == (
        "the CPU has no ept_ad: cells of the modes that need it are skipped",
        "",
    )


def test_a_kernel_that_prints_no_flags_of_vmx() -> None:
    host = seen("intel-eptad-off").host
    assert "unrestricted_guest" not in host.flags
    assert state(host, Feature.UNRESTRICTED) is State.OFFERED, "KVM has left its parameter on"


def test_before_kvm_is_loaded_the_cpu_says_what_there_is() -> None:
    given = seen("intel-eptad")
    bare = replace(given, host=replace(given.host, parameters={}, kvm_device=KvmDevice.MISSING))
    assert state(bare.host, Feature.PML) is State.OFFERED
    level, text, mend = lines(bare)["nesting"]
    assert (level, text) == (Level.LACKING, "kvm_intel is not loaded")
    assert mend == "modprobe kvm_intel nested=1"
    assert examine(bare).labels == ("tcg",)


def test_the_kvm_of_a_host_is_not_reloaded_below_running_guests() -> None:
    assert lines(seen("amd-nested-off"))["nesting"][2] == (
        "end the guests that use KVM (references: 2), then modprobe -r kvm_amd && modprobe kvm_amd nested=1"
    )


def test_a_kvm_that_is_built_in_is_told_at_boot() -> None:
    given = seen("wsl")
    parameters = {**given.host.parameters, "kvm_intel.nested": "N"}
    mend = lines(replace(given, host=replace(given.host, parameters=parameters)))["nesting"][2]
    assert mend == "kvm_intel is built in: boot with kvm_intel.nested=1"


def test_without_npt_only_shadow_paging_is_left() -> None:
    given = seen("amd")
    parameters = {**given.host.parameters, "kvm_amd.npt": "N"}
    changed = replace(given, host=replace(given.host, parameters=parameters))
    level, text, _ = lines(changed)["paging"]
    assert level is Level.LACKING and "only cells of the MMU mode shadow" in text
    assert examine(changed).labels == ("svm",)


@pytest.mark.parametrize(
    ("name", "device", "words"),
    [
        ("amd", KvmDevice.DENIED, "usermod -aG kvm"),
        ("amd", KvmDevice.MISSING, "modprobe"),
        ("container", KvmDevice.MISSING, "--device /dev/kvm"),
    ],
)
def test_how_dev_kvm_is_had(name: str, device: KvmDevice, words: str) -> None:
    given = seen(name)
    level, _, mend = lines(replace(given, host=replace(given.host, kvm_device=device)))["/dev/kvm"]
    assert level is Level.LACKING and words in mend


def test_a_bare_machine_without_an_extension_has_a_firmware() -> None:
    given = seen("vm-without")
    bare = replace(given, conditions=replace(given.conditions, hypervisor=""))
    assert "firmware" in lines(bare)["virtualization"][2]
    assert "give this VM nested virtualization" in lines(given)["virtualization"][2]


def test_a_newer_microcode_that_the_kernel_knows() -> None:
    given = seen("amd")
    old = replace(given, conditions=replace(given.conditions, old_microcode=True))
    assert lines(old)["microcode"][:2] == (Level.WARNING, "0xa0011d5: the kernel knows a newer one")


# --- surroundings ----------------------------------------------------------------------------------


def test_the_limits_of_a_container_are_what_it_has() -> None:
    conditions = seen("container").conditions
    assert (conditions.memory_mib, conditions.quota, conditions.cpus) == (1948, 1.5, 8)
    assert conditions.container == "docker" and conditions.hypervisor == ""


def test_limits_of_every_cgroup_above_count(tmp_path: Path) -> None:
    root = hosts.lay("amd", tmp_path)
    hosts.put(root / "sys/fs/cgroup/user.slice/memory.max", f"{300 << 20}\n")
    hosts.put(root / "sys/fs/cgroup/user.slice/memory.current", f"{100 << 20}\n")
    hosts.put(root / "sys/fs/cgroup/user.slice/user-0.slice/memory.max", "max\n")
    hosts.put(root / "sys/fs/cgroup/user.slice/cpu.max", "50000 100000\n")
    conditions = read_facts(root).conditions
    assert (conditions.memory_mib, conditions.quota) == (200, 0.5)


def test_who_else_is_here() -> None:
    given = seen("amd-nested-off")
    assert given.conditions.guests == (3021, 3055) and given.conditions.kvm_users == 2
    assert lines(given)["other guests"][1] == "2 guests on this machine, pid 3021, 3055"
    unseen = replace(given, conditions=replace(given.conditions, guests=()))
    assert lines(unseen)["other guests"][1] == "KVM is in use (references: 2)"


def test_a_run_that_uses_the_host(tmp_path: Path) -> None:
    root = hosts.lay("amd", tmp_path)
    with borrowed(wait=False, path=root / "run/lock/guestloop-kvm.lock"):
        read = replace(read_facts(root), packages=BUILT, disk=ENOUGH)
        level, text, mend = lines(read)["lock"]
    assert level is Level.WARNING and f"pid {os.getpid()} " in text and mend == "wait for its end"
    assert lines(replace(read, holder=""))["lock"][0] is Level.OK


def test_how_l1s_would_be_contained() -> None:
    assert lines(seen("amd"))["cgroups"][:2] == (Level.OK, "v2: L1s get a scope of systemd with limits")
    assert lines(seen("container"))["cgroups"][:2] == (Level.OK, "v2"), "without KVM no L1 borrows the host"
    usable = replace(seen("amd"), way=Prospect(Way.GROUP, ("memory",)))
    level, text, mend = lines(usable)["cgroups"]
    assert (level, text) == (Level.WARNING, "v2: a cgroup of its own without limits of memory")
    assert mend.startswith("echo +memory > /") and mend.endswith("session-3.scope/cgroup.subtree_control")
    none = replace(seen("amd"), way=Prospect(Way.NONE, reason="it is read-only"))
    assert lines(none)["cgroups"][:2] == (Level.WARNING, "v2: L1s are not contained: it is read-only")


def test_hierarchies_of_cgroups() -> None:
    found = {name: seen(name).cgroups.hierarchy for name in hosts.NAMES}
    assert {name for name, own in found.items() if own is Hierarchy.HYBRID} == {"vm-without"}
    assert seen("container").cgroups.controllers == ()


def test_a_machine_that_says_little(tmp_path: Path) -> None:
    """Nothing but a CPU: what is not known is a warning where it matters, and nothing fails."""
    hosts.put(tmp_path / "proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu hypervisor\n")
    read = replace(read_facts(tmp_path), packages=BUILT, disk=ENOUGH)
    assert read.cgroups.hierarchy is Hierarchy.NONE and read.conditions.kvm_users is None
    assert lines(read)["SMT"][:2] == (Level.WARNING, "the kernel does not say")
    assert lines(read)["THP"][0] is Level.WARNING
    assert levels(read, Level.LACKING) == {"virtualization", "memory"}
    assert examine(read).exit_status is Exit.LAB


@pytest.mark.parametrize(("text", "number"), [("0-3,8", 5), ("0", 1), ("", 0), ("2,4-5", 3)])
def test_how_many_cpus_a_list_has(text: str, number: int) -> None:
    assert len(parse_cpus(text)) == number


# --- room ------------------------------------------------------------------------------------------


def test_sizes_are_those_that_a_run_would_have() -> None:
    usual = "L1s of 2 vCPUs and 2048 MiB, L2s of up to 4 vCPUs"
    assert lines(seen("vm-without"))["sizes"] == (Level.OK, usual, "")
    large = "L1s of 8 vCPUs and 8192 MiB, L2s of up to 16 vCPUs"
    assert lines(seen("amd"))["sizes"][1] == (
        f"{usual}; profiles with host-sizes (lab): {large}; room for 4 labs side by side (--labs)"
    )
    assert lines(seen("container"))["sizes"][1] == usual, "it has 1.5 CPUs and 2 GiB of that host"
    assert json.loads(render_json(examine(seen("amd"))))["facts"]["room"]["memory_mib"] == {"0": 125004}


STATUS = """\
Package: git
Status: install ok installed
Version: 1

Package: util-linux
Essential: yes
Status: install ok installed

Package: flex
Status: deinstall ok config-files
"""


def test_packages_by_the_record_of_dpkg(tmp_path: Path) -> None:
    hosts.put(tmp_path / "root/var/lib/dpkg/status", STATUS)
    hosts.put(tmp_path / "listed", "# a list\ngit\nutil-linux\nflex # to build\nbison\nbubblewrap optional\n")
    read = facts.read_packages(tmp_path / "root", tmp_path / "listed")
    assert read == Packages(True, ("flex", "bison"), ("bubblewrap",))
    assert facts.read_packages(tmp_path).known is False


def test_missing_packages_are_lacking_for_who_cannot_install_them() -> None:
    given = replace(seen("amd"), packages=Packages(True, ("flex", "bison"), ("bubblewrap",)))
    mend = "apt-get install --no-install-recommends flex bison"
    assert lines(given)["packages"] == (Level.LACKING, "missing: flex, bison", mend)
    assert examine(given).exit_status is Exit.LAB
    root = replace(given, is_root=True)
    assert lines(root)["packages"][0] is Level.WARNING and examine(root).exit_status is Exit.OK
    optional = replace(given, packages=Packages(True, (), ("bubblewrap",)))
    assert lines(optional)["packages"][0] is Level.WARNING
    assert lines(replace(given, packages=Packages(False)))["packages"][2] == "use Debian 12"


def test_the_list_of_packages_is_the_one_that_is_installed() -> None:
    setup = (REPOSITORY / "scripts/setup").read_text()
    assert setup.count('"$top/scripts/packages"') == 2
    assert facts.PACKAGES == REPOSITORY / "scripts/packages"
    assert {"qemu-system-x86", "python3-venv", "bubblewrap optional"} <= set(facts._lines(facts.PACKAGES))


def test_room_on_the_disk() -> None:
    def disk(given: Disk | None) -> tuple[Level, str, str]:
        return lines(replace(seen("amd"), disk=given))["disk"]

    assert disk(replace(ENOUGH, free_mib=1000))[0] is Level.OK
    assert disk(replace(ENOUGH, free_mib=1000, built=False))[0] is Level.LACKING
    assert disk(replace(ENOUGH, free_mib=100))[1] == "100 MiB free for the cache /cache, 512 are needed"
    assert disk(None)[0] is Level.LACKING


def test_the_disk_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUESTLOOP_CACHE", str(tmp_path / "cache/that/is/not/there"))
    disk = facts._read_disk()
    assert disk and disk.free_mib > 0 and not disk.built and not disk.path.exists()
    (disk.path / "kernel").mkdir(parents=True)
    read = facts._read_disk()
    assert read and read.built


def test_time_of_every_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(room, "_profiles", PROFILES)
    given = seen("amd")
    text = lines(given)["time"][1]
    assert text.startswith("at least smoke 34 s, default 22 min, lab ")
    assert "builds" in lines(replace(given, disk=replace(ENOUGH, built=False)))["time"][1]
    hosts.put(tmp_path / ".config/guestloop/profiles.yaml", "mine: [1]\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    level, text, mend = lines(given)["time"]
    assert level is Level.WARNING and "profiles.yaml" in text and isinstance(mend, str)


def test_without_pyyaml_the_time_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_profiles", PROFILES)
    for name in [name for name in sys.modules if name.startswith("guestloop.config")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert lines(seen("amd"))["time"][:2] == (
        Level.OK,
        "known when scripts/run has made its Python environment",
    )


# --- the command -----------------------------------------------------------------------------------


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[list[Facts]]:
    """The facts that the command finds."""
    given = [seen("amd")]
    monkeypatch.setattr("guestloop.doctor.read_facts", lambda: given[0])
    yield given


def test_the_command(doctor: list[Facts], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--features"]) == Exit.OK
    assert capsys.readouterr().out == "svm,npt\n"
    doctor[0] = replace(doctor[0], disk=None)
    assert cli.main(["doctor"]) == Exit.LAB
    assert "lacking  disk " in capsys.readouterr().out
    assert cli.main(["doctor", "--json"]) == Exit.LAB
    assert json.loads(capsys.readouterr().out)["exit_status"] == 3


def test_one_form_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main(["doctor", "--features", "--json"])
    assert raised.value.code == Exit.USAGE and "not allowed with" in capsys.readouterr().err


def test_the_script_needs_no_environment_and_leaves_nothing(tmp_path: Path) -> None:
    """In a bare checkout, as on a machine that has run nothing yet; in less than a second of CPU time."""
    for name in ("scripts", "src"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(REPOSITORY / name, tmp_path / "top" / name, ignore=ignored)
    before = sorted(path for path in tmp_path.rglob("*"))
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [str(tmp_path / "top/scripts/doctor"), "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stderr == "" and json.loads(done.stdout)["exit_status"] == done.returncode
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert now.ru_utime - used.ru_utime + now.ru_stime - used.ru_stime < 2.0, (
        "a slow machine has its time too"
    )


def test_the_script_on_a_machine_without_python(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(REPOSITORY / "scripts/doctor", tmp_path / "scripts")
    (tmp_path / "bin").mkdir()
    for name in ("readlink", "sh"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    text = (tmp_path / "scripts/doctor").read_text()
    (tmp_path / "scripts/doctor").write_text(
        text.replace("python=python3", "python=python3-that-is-not-there")
    )
    env = {**os.environ, "PATH": f"{tmp_path}/bin"}
    done = subprocess.run([tmp_path / "scripts/doctor"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == Exit.LAB
    assert done.stdout.startswith("lacking  Python") and "apt-get install python3" in done.stdout


def test_this_machine_is_read_without_a_fault() -> None:
    report = examine(read_facts())
    assert isinstance(report, Report) and report.checks
