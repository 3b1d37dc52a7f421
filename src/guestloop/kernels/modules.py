# SPDX-License-Identifier: GPL-2.0-or-later
"""Find the modules that are needed, with what they need, by the rules of kmod.

In module names ``-`` and ``_`` are the same. What a module needs stands in ``modules.dep`` if depmod was
run, which it was not in an unpacked package. Otherwise it stands in the module itself: ``depends=`` in its
``.modinfo`` is what modpost found out, and depmod computes the same. A ``pre:`` soft dependency is loaded
before a module if it exists (kmod: libkmod-module.c, kmod_module_get_probe_list).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from guestloop.ground.errors import ConfigError
from guestloop.kernels import elf
from guestloop.kernels.decompress import Undecodable, decompress

PLAIN = ".ko"
# depmod.d(5): without a configuration, depmod prefers updates/ to what came with the kernel.
PREFERRED = "updates"

_FILE = re.compile(r"(?P<name>.+)\.ko(?:\.(?:xz|zst|gz))?")


def canonical(name: str) -> str:
    """Return a module's name as the running kernel shows it in /sys/module."""
    return name.replace("-", "_")


def module_name(file: Path) -> str:
    """Return the name that a module's file has, without ``.ko`` and the suffix of its compression."""
    match = _FILE.fullmatch(file.name)
    return match["name"] if match else file.name


@dataclass(frozen=True)
class Module:
    """A module: the name of its file (``kvm-amd``), its content decompressed, its ``.modinfo``."""

    name: str
    content: bytes
    info: Mapping[str, tuple[str, ...]]

    @property
    def file(self) -> str:
        """The name of its file when it is not compressed."""
        return f"{self.name}{PLAIN}"

    @property
    def has_debug_info(self) -> bool:
        return bool(elf.parse(self.content).section(".debug_info"))

    @property
    def depends(self) -> tuple[str, ...]:
        """The modules whose symbols it uses, canonical."""
        names = (name for value in self.info.get("depends", ()) for name in value.split(","))
        return tuple(canonical(name) for name in names if name)

    @property
    def before(self) -> tuple[str, ...]:
        """Its ``pre:`` soft dependencies, names or aliases."""
        return tuple(name for value in self.info.get("softdep", ()) for name in _words_after("pre:", value))


def read_module(file: Path, scratch: Path, what: str) -> Module:
    """Read a module, compressed or not. ``scratch`` is a directory for the files of a tool.

    Raises ConfigError, which names the kernel as ``what``, if it cannot be read or is none for x86-64.
    """
    content = file.read_bytes()
    try:
        if file.suffix != PLAIN:
            content = decompress(content, scratch)
        info = parse_modinfo(elf.parse(content).section(".modinfo"))
    except Undecodable as error:
        raise ConfigError(f"{what}: {file.name} cannot be decompressed: {error}") from error
    except elf.NotElf as error:
        raise ConfigError(f"{what}: {file.name} {error}") from error
    return Module(module_name(file), content, info)


def parse_modinfo(section: bytes) -> dict[str, tuple[str, ...]]:
    """Return the values by key of a ``.modinfo`` section: ``key=value`` records that end with a zero byte."""
    info: dict[str, tuple[str, ...]] = {}
    for record in section.split(b"\0"):
        key, separator, value = record.decode(errors="replace").partition("=")
        if separator:
            info[key] = (*info.get(key, ()), value)
    return info


@dataclass(frozen=True)
class Listings:
    """What depmod and kbuild wrote beside the modules; names are canonical.

    ``needs`` has what each module needs, in load order. ``aliases`` are those that are no patterns.
    """

    builtin: frozenset[str] = frozenset()
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_listings(directory: Path) -> Listings:
    """Read the listings in ``lib/modules/RELEASE``. Those that are not there are empty."""
    return Listings(
        builtin=frozenset(_canonical_of(line) for line in _lines(directory / "modules.builtin")),
        needs=dict(parse_dependencies(_lines(directory / "modules.dep"))),
        aliases=parse_aliases(_lines(directory / "modules.alias")),
    )


def find_modules(directory: Path) -> dict[str, Path]:
    """Return the files of all modules below a directory, by canonical name."""
    files = [path for path in sorted(directory.rglob("*.ko*")) if _FILE.fullmatch(path.name)]
    preferred = [path for path in files if path.relative_to(directory).parts[0] == PREFERRED]
    return {_canonical_of(path.name): path for path in (*reversed(files), *preferred)}


class ModuleTree:
    """The modules of a kernel. A module's file is read when the module is needed.

    ``files`` are by canonical name. ``what`` names the kernel in messages.
    """

    def __init__(
        self, files: Mapping[str, Path], what: str, scratch: Path, listings: Listings | None = None
    ) -> None:
        self._files, self._what, self._scratch = files, what, scratch
        self._listings = listings or Listings()
        self._read: dict[str, Module] = {}

    def closure(self, names: Iterable[str]) -> tuple[Module, ...]:
        """Return these modules and all that they need, each after what it needs.

        Raises ConfigError if a module is neither there nor built in.
        """
        order: dict[str, Module] = {}
        visited: set[str] = set()
        for name in names:
            self._add(canonical(name), order, visited, wanted_by="")
        return tuple(order.values())

    def _add(self, name: str, order: dict[str, Module], visited: set[str], wanted_by: str) -> None:
        """Visit each module once, as kmod does: soft dependencies may go round in circles."""
        if name in visited or (name not in self._files and name in self._listings.builtin):
            return
        visited.add(name)
        if name not in self._files:
            why = f", which {wanted_by} needs" if wanted_by else ""
            raise ConfigError(
                f"{self._what}: there is no module {name}{why}",
                hint="are the modules in another package, or not built?",
            )
        module = self._module(name)
        soft = (found for each in module.before for found in self._resolve(each))
        for needed in (*soft, *self._listings.needs.get(name, module.depends)):
            self._add(needed, order, visited, wanted_by=name)
        order[name] = module

    def _module(self, name: str) -> Module:
        if name not in self._read:
            self._read[name] = read_module(self._files[name], self._scratch, self._what)
        return self._read[name]

    def _resolve(self, soft: str) -> tuple[str, ...]:
        """Return the modules for a name or alias in a soft dependency, if there are any.

        Without modules.alias only modules whose names begin with it are looked into: crc32c_generic and
        crc32c_intel have the alias ``crypto-crc32c`` (include/linux/crypto.h: MODULE_ALIAS_CRYPTO).
        """
        name = canonical(soft)
        if name in self._files:
            return (name,)
        if self._listings.aliases:
            return self._listings.aliases.get(name, ())
        begin = name.removeprefix("crypto_")
        similar = sorted(file for file in self._files if file.startswith(begin))
        return tuple(file for file in similar if soft in self._module(file).info.get("alias", ()))


def parse_dependencies(lines: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Parse modules.dep: the file of a module, a colon, and the files of all that it needs."""
    for line in lines:
        file, _, needed = line.partition(":")
        # The last one is loaded first (depmod.c: output_deps).
        yield _canonical_of(file), tuple(_canonical_of(name) for name in reversed(needed.split()))


def parse_aliases(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Parse the aliases in modules.alias that are no patterns, such as ``alias crc32c crc32c_generic``."""
    aliases: dict[str, tuple[str, ...]] = {}
    for line in lines:
        words = line.split()
        if len(words) == 3 and words[0] == "alias" and "*" not in words[1]:
            name = canonical(words[1])
            aliases[name] = (*aliases.get(name, ()), canonical(words[2]))
    return aliases


def _canonical_of(file: str) -> str:
    return canonical(module_name(Path(file)))


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.is_file() else []


def _words_after(wanted: str, text: str) -> Iterator[str]:
    """Yield the words behind ``pre:`` up to the next word that ends with a colon."""
    section = ""
    for word in text.split():
        if word.endswith(":"):
            section = word
        elif section == wanted:
            yield word
