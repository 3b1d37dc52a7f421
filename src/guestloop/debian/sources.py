# SPDX-License-Identifier: GPL-2.0-or-later
"""Find this machine's package sources of Debian: L1's root, the emulator and packaged kernels come from them.

Both formats of sources.list(5) are read: ``sources.list`` and ``*.list`` with one line per source, and
``*.sources`` with one paragraph per source. Third-party sources are left out. A source is taken for
Debian's if its suites belong to this release, it has the component ``main``, its URI has a directory
that begins with ``debian``, and it names either no signing key or Debian's archive keys.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from guestloop.ground import proc
from guestloop.ground.errors import ConfigError, LabError
from guestloop.ground.words import parse_words

ROOT = Path("/")
SECURITY = "-security"
CHANNELS = ("", "-updates", SECURITY)
ARCHIVE_KEYRING = "debian-archive"

_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>.*)")
_FIELD = re.compile(r"(?P<name>[A-Za-z-]+):(?P<value>.*)")
# The options of apt.conf(5) that say how packages are fetched: proxies, retries, checks of a mirror's dates.
# Options that say what is fetched are not among them.
_ACQUIRE = re.compile(r"Acquire::(http|https|Retries|Check-Valid-Until|Check-Date|ForceIPv4|ForceIPv6)\b")


@dataclass(frozen=True)
class Source:
    """One source of packages. ``signed_by`` is a keyring file, or empty."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""

    def render(self, types: str = "deb") -> str:
        """Render a paragraph of a ``*.sources`` file, for binary packages or for sources (``deb-src``)."""
        lines = [
            f"Types: {types}",
            f"URIs: {' '.join(self.uris)}",
            f"Suites: {' '.join(self.suites)}",
            f"Components: {' '.join(self.components)}",
        ]
        if self.signed_by:
            lines.append(f"Signed-By: {self.signed_by}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Release:
    """The Debian release of a machine (``bookworm``) and the sources of its packages."""

    codename: str
    sources: tuple[Source, ...]

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites of all sources, each once."""
        return tuple(dict.fromkeys(suite for source in self.sources for suite in source.suites))

    def render(self, types: str = "deb") -> str:
        """Render all sources as one ``*.sources`` file."""
        return "\n".join(source.render(types) for source in self.sources)

    def for_suite(self, suite: str) -> Release:
        """Return the sources of another suite: the URIs and keys of this machine's, and no other suite.

        Security updates have an archive of their own. Raises ConfigError if this machine has no source of it.
        """
        own = self.codename + SECURITY if suite.endswith(SECURITY) else self.codename
        sources = tuple(replace(source, suites=(suite,)) for source in self.sources if own in source.suites)
        if not sources:
            raise ConfigError(
                f"no package source for suite {suite}: this machine has none with suite {own}",
                hint="add one to /etc/apt/sources.list.d; other suites are read by the URIs and key of it",
            )
        return Release(self.codename, tuple(dict.fromkeys(sources)))


def find_release(root: Path = ROOT) -> Release:
    """Find the Debian release of the machine below ``root``, and its package sources.

    Raises ConfigError if the machine does not run Debian, LabError if none of its sources is Debian's.
    """
    codename = _find_codename(root)
    sources = tuple(
        narrowed for source in _read_sources(root) if (narrowed := _keep_debian(source, codename))
    )
    if not any(codename in source.suites for source in sources):
        raise LabError(
            f"no package source of Debian {codename} in {root / 'etc/apt'}: L1's root is made from it",
            hint=f"add one with suite {codename} and component main to /etc/apt/sources.list.d",
        )
    return Release(codename, sources)


def fetch_options() -> str:
    """Return how this machine's apt fetches packages (proxies, retries), as lines of apt.conf(5)."""
    own = {name: os.environ[name] for name in ("APT_CONFIG",) if name in os.environ}
    lines = proc.read(["apt-config", "dump", "Acquire"], env=own).lines
    return "".join(f"{line}\n" for line in lines if _ACQUIRE.match(line))


def _find_codename(root: Path) -> str:
    path = root / "etc/os-release"
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; L1's root needs a Debian machine") from error
    values = {name: value.strip("\"'") for name, _, value in (line.partition("=") for line in lines)}
    if values.get("ID") != "debian" or not values.get("VERSION_CODENAME"):
        seen = values.get("PRETTY_NAME") or values.get("ID") or "nothing"
        raise ConfigError(
            f"{path}: L1's root is made from Debian's packages, but this machine runs {seen}",
            hint="run guestloop on Debian 12, or in a container with Debian 12",
        )
    return values["VERSION_CODENAME"]


def _read_sources(root: Path) -> Iterator[Source]:
    apt = root / "etc/apt"
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]:
        if path.is_file():
            yield from _parse_lines(path.read_text(errors="replace"))
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        yield from _parse_paragraphs(path.read_text(errors="replace"))


def _parse_lines(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        match = _ONE_LINE.match(line.partition("#")[0].strip())
        if match:
            options = parse_words(match["options"] or "")
            components = tuple(match["components"].split())
            yield Source((match["uri"],), (match["suite"],), components, options.get("signed-by", ""))


def _parse_paragraphs(text: str) -> Iterator[Source]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        fields = _parse_fields(paragraph)
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").strip() != "no":
            uris, suites, components = (
                tuple(fields.get(name, "").split()) for name in ("uris", "suites", "components")
            )
            yield Source(uris, suites, components, fields.get("signed-by", "").strip())


def _parse_fields(paragraph: str) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.splitlines():
        match = _FIELD.match(line)
        if match:
            name = match["name"].lower()
            fields[name] = match["value"]
        elif name and line[:1].isspace():
            fields[name] += f"\n{line}"
    return fields


def _keep_debian(source: Source, codename: str) -> Source | None:
    """Narrow a source to what is Debian's for this release. None if nothing is."""
    uris = tuple(uri for uri in source.uris if _is_debian_uri(uri))
    suites = tuple(suite for suite in source.suites if suite in {codename + end for end in CHANNELS})
    own_key = not source.signed_by or ARCHIVE_KEYRING in source.signed_by
    if not (uris and suites and own_key and "main" in source.components):
        return None
    return Source(uris, suites, ("main",), source.signed_by)


def _is_debian_uri(uri: str) -> bool:
    parts = urlsplit(uri)
    return parts.scheme != "cdrom" and any(part.startswith("debian") for part in parts.path.split("/"))
