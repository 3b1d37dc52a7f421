# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels of package sources, with a stand-in for apt and its archive: fetched once, pinned, remembered."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from packaged import CONFIG, RELEASE, make_deb, make_modules, make_root, write

from guestloop.cache import Cache, file_digest
from guestloop.config.existing import PackageSpec, parse_existing
from guestloop.debian.sources import Release, Source
from guestloop.ground.errors import ConfigError, ProcessError
from guestloop.kernels.existing import packages, unpack_existing
from guestloop.kernels.existing.memory import FILE, Memory
from guestloop.kernels.origin import OriginKind, Unpacked

DATE = "Sat, 21 Nov 2026 09:15:44 UTC"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MACHINE = Release("bookworm", (Source(("http://one.example/debian",), ("bookworm",), ("main",), KEYRING),))
NETWORK = "E: Failed to fetch http://one.example/x  Could not resolve 'one.example'\n"


@dataclass
class Archive:
    """What a stand-in for apt finds. ``down`` is what it prints instead; ``fetched``: names and versions."""

    directory: Path
    debs: dict[str, Path] = field(default_factory=dict)
    paragraphs: list[str] = field(default_factory=list)
    down: str = ""
    fetched: list[str] = field(default_factory=list)

    def add(self, deb: Path, depends: str = "") -> None:
        name, version, architecture = deb.name.removesuffix(".deb").split("_")
        self.debs[f"{name}={version}"] = deb
        self.paragraphs.append(
            f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nDepends: {depends}\n"
            f"Size: {deb.stat().st_size}\nSHA256: {file_digest(deb)}\n"
        )

    def add_kernel(self, release: str = RELEASE, version: str = "6.12.117-1", config: str = CONFIG) -> None:
        root = make_root(self.directory / f"{release}_{version}", release, config)
        self.add(make_deb(root, f"linux-image-{release}", version))

    def clear(self) -> None:
        self.paragraphs.clear()


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    made = Archive(tmp_path / "archive")

    class Apt:
        def __init__(self, directory: Path, sources: str) -> None:
            self.directory, self.lists = directory, directory / "lists"
            self.suite = sources.partition("Suites: ")[2].partition("\n")[0]
            self.lists.mkdir(parents=True, exist_ok=True)

        def update(self) -> None:
            if made.down:
                raise ProcessError(["apt-get", "update"], 100, made.down)
            start = f"one.example_debian_dists_{self.suite}"
            write(self.lists / f"{start}_InRelease", f"Suite: any\nDate: {DATE}\n")
            write(self.lists / f"{start}_main_binary-amd64_Packages", "\n".join(made.paragraphs))

        def run(self, verb: str, *names: str, cwd: Path) -> None:
            assert verb == "download"
            for name in names:
                if name not in made.debs:
                    raise ProcessError(["apt-get", "download"], 100, f"E: Failed to fetch {name}  404\n")
                shutil.copy(made.debs[name], cwd)
                made.fetched.append(name)

    monkeypatch.setattr(packages, "PrivateApt", Apt)
    monkeypatch.setattr(packages, "find_release", lambda: MACHINE)
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def unpack(argument: str, cache: Cache) -> Unpacked:
    spec = parse_existing(argument)
    assert isinstance(spec, PackageSpec)
    return unpack_existing(spec, cache)


def test_a_kernel_is_fetched_verified_and_pinned(archive: Archive, cache: Cache) -> None:
    archive.add_kernel()
    kernel = unpack("deb:6.12@trixie", cache)
    assert kernel.release == RELEASE and kernel.image.is_file() and kernel.config.read_text() == CONFIG
    origin = kernel.origin
    assert (origin.kind, origin.argument, origin.verified) == (OriginKind.PACKAGE, "deb:6.12@trixie", True)
    assert (origin.name, origin.version) == (f"linux-image-{RELEASE}", "6.12.117-1")
    assert (origin.suite, origin.release_date) == ("trixie", DATE)
    (deb,) = archive.debs.values()
    assert dict(origin.sha256) == {f"linux-image-{RELEASE}_6.12.117-1": file_digest(deb)}


def test_without_a_suite_it_is_the_machines_own(archive: Archive, cache: Cache) -> None:
    archive.add_kernel()
    assert unpack("deb:newest", cache).origin.suite == "bookworm"


def test_only_the_packages_of_the_kernel_are_fetched(archive: Archive, cache: Cache) -> None:
    release, version = "7.2.13+deb14-amd64", "7.2.13-1"
    modules = Path(f"usr/lib/modules/{release}")
    parts = ("image", "binary", "base", "modules")
    roots = {part: archive.directory / part for part in parts}
    write(roots["binary"] / modules / "vmlinuz", "an image")
    write(roots["base"] / modules / "config", CONFIG)
    make_modules(roots["modules"] / modules)
    depends = ", ".join(f"linux-{part}-{release} (= {version})" for part in parts[1:])
    for part in parts:
        deb = make_deb(roots[part], f"linux-{part}-{release}", version)
        archive.add(deb, f"initramfs-tools | dracut, linux-base (>= 4), {depends}" if part == "image" else "")
    archive.add(make_deb(archive.directory / "meta", "linux-image-amd64", version), f"linux-image-{release}")
    kernel = unpack("deb:linux-image-amd64@sid", cache)
    assert kernel.release == release
    assert sorted(archive.fetched) == sorted(f"linux-{part}-{release}={version}" for part in parts)
    assert not list(cache.root.rglob("*.deb")), "what was unpacked is enough"


def test_it_is_fetched_once(archive: Archive, cache: Cache) -> None:
    archive.add_kernel()
    first = unpack("deb:6.12", cache)
    assert unpack("deb:6.12", cache) == first
    assert unpack(f"deb:linux-image-{RELEASE}", cache).image == first.image
    assert len(archive.fetched) == 1


def test_what_is_newer_is_fetched_anew(archive: Archive, cache: Cache) -> None:
    archive.add_kernel()
    first = unpack("deb:newest", cache)
    archive.add_kernel(version="6.12.117-2")
    second = unpack("deb:newest", cache)
    assert (first.origin.version, second.origin.version) == ("6.12.117-1", "6.12.117-2")
    assert first.image != second.image


def vanish(archive: Archive) -> None:
    archive.clear()


def break_network(archive: Archive) -> None:
    archive.down = NETWORK


def lose_suite(archive: Archive) -> None:
    archive.down = "E: The repository 'http://one.example/debian x Release' does not have a Release file.\n"


def lose_file(archive: Archive) -> None:
    """The list names a newer one, which is not there."""
    archive.add_kernel(version="6.12.117-9")
    archive.debs.popitem()


GONE: list[Callable[[Archive], None]] = [vanish, break_network, lose_suite, lose_file]


@pytest.mark.parametrize("gone", GONE)
@pytest.mark.parametrize("argument", ["deb:6.12@trixie", f"deb:linux-image-{RELEASE}@trixie"])
def test_a_kernel_that_has_vanished_still_runs(
    archive: Archive,
    cache: Cache,
    capsys: pytest.CaptureFixture[str],
    gone: Callable[[Archive], None],
    argument: str,
) -> None:
    """By the argument that it was found by, and by the name in the record of that run."""
    archive.add_kernel()
    first = unpack("deb:6.12@trixie", cache)
    gone(archive)
    again = unpack(argument, cache)
    assert (again.image, again.origin.sha256) == (first.image, first.origin.sha256)
    assert again.origin.verified and again.origin.argument == argument
    told = f"taking what it was before: linux-image-{RELEASE} 6.12.117-1 of trixie as of {DATE}"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("gone", GONE)
def test_what_was_never_there_is_refused(
    archive: Archive, cache: Cache, gone: Callable[[Archive], None]
) -> None:
    gone(archive)
    with pytest.raises(ConfigError, match=r"^--kernels deb:6\.12@trixie: ") as caught:
        unpack("deb:6.12@trixie", cache)
    assert "\n" not in str(caught.value)
    assert not list(cache.root.glob("unpacked-kernel/*"))


def test_another_suite_was_never_asked(archive: Archive, cache: Cache) -> None:
    archive.add_kernel()
    unpack("deb:6.12@trixie", cache)
    archive.down = NETWORK
    with pytest.raises(ConfigError, match="the package sources cannot be read: Could not resolve"):
        unpack("deb:6.12@sid", cache)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            "W: x: NO_PUBKEY 6ED0E7B8\nE: The repository 'x' is not signed.\n",
            f"key 6ED0E7B8, .* not in {KEYRING}",
        ),
        ("E: The repository 'x' is not signed.\n", "suite trixie cannot be verified: is not signed"),
    ],
)
def test_what_nobody_vouches_for_is_refused_even_if_it_was_fetched_before(
    archive: Archive, cache: Cache, output: str, message: str
) -> None:
    archive.add_kernel()
    unpack("deb:6.12@trixie", cache)
    archive.down = output
    with pytest.raises(ConfigError, match=message):
        unpack("deb:6.12@trixie", cache)


def test_a_package_that_is_not_what_the_list_names(archive: Archive, cache: Cache) -> None:
    archive.add_kernel()
    (name, deb) = archive.debs.popitem()
    archive.debs[name] = write(deb.with_name("other.deb"), "another")
    with pytest.raises(ConfigError, match="is not what the lists name"):
        unpack("deb:6.12", cache)


def test_a_kernel_that_is_too_old_is_not_even_fetched(archive: Archive, cache: Cache) -> None:
    archive.add_kernel("5.10.0-28-amd64", "5.10.209-2")
    with pytest.raises(ConfigError, match=r"5\.10\.209-2 is not supported, wanted 6\.1"):
        unpack("deb:newest", cache)
    assert not archive.fetched


def test_a_kernel_without_kvm_is_refused_and_not_kept(archive: Archive, cache: Cache) -> None:
    archive.add_kernel(config=CONFIG.replace("CONFIG_KVM=m", "# CONFIG_KVM is not set"))
    with pytest.raises(ConfigError, match="CONFIG_KVM is not set"):
        unpack("deb:newest", cache)
    assert not list(cache.root.glob("unpacked-kernel/*")) and not (cache.root / FILE).exists()


def test_a_damaged_memory_is_none(cache: Cache) -> None:
    write(cache.root / FILE, "{")
    assert Memory(cache, "bookworm").find("deb:6.12") is None
    write(cache.root / FILE, '{"bookworm deb:6.12": {"name": 1}}')
    assert Memory(cache, "bookworm").find("deb:6.12") is None
