# SPDX-License-Identifier: GPL-2.0-or-later
"""Build the kernel for a specification, or take it from the cache.

What is built is a tree of git: that of the base with the series. Its id is what a kernel's key is made of,
with configuration and compiler, so two ways to the same tree give one kernel. All kernels of one base share a
checkout. Those with the same configuration and compiler also share an object tree. So after the first kernel,
another one only costs the files that its patches touch. A kernel that is in the cache is returned without
looking at either.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from guestloop.cache import Cache, content_key, says_no_space
from guestloop.config import KernelSpec
from guestloop.ground import codec, proc
from guestloop.ground.errors import CacheError, ConfigError, LabError, NotBuilt, ProcessError
from guestloop.ground.log import Step, step
from guestloop.ground.units import MIB
from guestloop.kernels import artifacts, kconfig
from guestloop.kernels.artifacts import Kernel
from guestloop.kernels.contained import find_containment
from guestloop.kernels.diagnosis import diagnose
from guestloop.kernels.role import L1, Role
from guestloop.kernels.toolchain import BUILD_HINT, Toolchain, find_toolchain
from guestloop.kernels.tree import WorkTree, making
from guestloop.kernels.whole import read_whole_config, without_files
from guestloop.sources import Applied, Source, apply_to_tree, find_source, read_series

# Part of every key. Increase it when this package builds or packs the same inputs in another way.
RECIPE = 4

FURTHER_BUILD_EXPECT_S = 15.0
NEEDED_BYTES = 3072 * MIB
FAILED_BUILDS = "failed-builds"  # make's output, below the cache

_ODD = re.compile(r"[\s:#%$&;'\"\\|<>()*?\[\]`]")
_MADE = re.compile(r"^  [A-Z][A-Z0-9_]* +(?:\[M\] +)?(\S+)")


@dataclass(frozen=True)
class Inputs:
    """All inputs of a kernel. ``options`` are laid over ``whole_config``, or over nothing at all."""

    source: Source
    options: Mapping[str, str]
    applied: Applied
    toolchain: Toolchain
    whole_config: Mapping[str, str] = field(default_factory=dict)

    @property
    def configured(self) -> dict[str, str]:
        """What is taken of ``whole_config``."""
        return without_files(self.whole_config)

    @property
    def described(self) -> Mapping[str, object]:
        """The inputs that the key of the cache entry is computed from."""
        return {
            "recipe": RECIPE,
            "tree": self.applied.tree.id,
            "config": dict(self.options),
            "toolchain": dict(self.toolchain.identity),
            **({"whole config": self.configured} if self.whole_config else {}),
        }

    @property
    def targets(self) -> tuple[str, ...]:
        """What make is asked for. Without loadable modules it refuses to make any."""
        return ("vmlinux", "modules") if "m" in self.options.values() else ("vmlinux",)

    @property
    def objects_key(self) -> str:
        """The key of the object tree. Kernels that differ only in their series share it."""
        parts = {"config": dict(self.options), "toolchain": dict(self.toolchain.identity)}
        parts |= {"whole config": self.configured} if self.whole_config else {}
        return content_key({**parts, "ccache": self.toolchain.ccache})[:8]


def find_inputs(spec: KernelSpec, cache: Cache, role: Role = L1) -> Inputs:
    """Look up all inputs of a kernel. This is fast where base and series were seen before.

    What is wrong with its files is told before a base is read. Raises ConfigError for an error in them or a
    configuration that is not one for ``role``, NotApplied for a patch that does not fit, LabError for
    something that this machine lacks.
    """
    require_plain_path(cache)
    options, toolchain = kconfig.merge(spec.config), find_toolchain()
    role.check(options, str(spec.path))
    whole = read_whole_config(spec.whole_config) if spec.whole_config else {}
    series = read_series(spec.series)
    source = find_source(spec.base, spec.base_named, cache)
    applied = apply_to_tree(source.tree, series, cache, threeway=spec.threeway)
    return Inputs(source, options, applied, toolchain, whole)


def require_plain_path(cache: Cache) -> None:
    """Raise ConfigError if make cannot build below the cache.

    Its words end at blanks, and a colon, a hash, a percent or a dollar sign means something to it.
    """
    if odd := sorted(set(_ODD.findall(os.fspath(cache.root)))):
        seen = " ".join(map(repr, odd))
        raise ConfigError(
            f"the cache {os.fspath(cache.root)!r}: make cannot build a kernel in a path with {seen}",
            hint="set GUESTLOOP_CACHE to a directory without it",
        )


def build_kernel(spec: KernelSpec, cache: Cache, role: Role = L1, *, inputs: Inputs | None = None) -> Kernel:
    """Return the kernel for a specification, from the cache or built now.

    ``inputs`` are what ``find_inputs`` has found for it; they are looked up where they are not given.

    Raises ConfigError if its configuration is not one for ``role``, a patch does not apply or an option
    cannot be set, NotBuilt with the first error if it does not compile, ProcessError if this machine is at
    fault for that, CacheError if the disk is full.
    """
    inputs = inputs or find_inputs(spec, cache, role)
    directory = cache.obtain(
        artifacts.KIND, inputs.described, lambda into: _make(spec, role, inputs, cache, into)
    )
    kernel = artifacts.read_kernel(spec.name, content_key(inputs.described), directory)
    # The entry may have been made for another way to this tree.
    return replace(kernel, base=inputs.source.description, series=inputs.applied.series.names)


def _make(spec: KernelSpec, role: Role, inputs: Inputs, cache: Cache, into: Path) -> None:
    """Build one kernel and put the needed files in ``into``."""
    name = f"kernel-{inputs.source.work}"
    with cache.lock(name):
        tree = WorkTree(cache.root / "work" / name)
        _check_space(cache, tree)
        tree.move(inputs.applied.tree, cache)
        objects = tree.objects(inputs.objects_key)
        started, spent = time.monotonic(), _cpu_seconds()
        with making(objects):
            Make(spec.name, tree.source, objects, inputs, cache).build(spec, role)
            took = {"seconds": round(time.monotonic() - started, 1)}
            took["cpu_seconds"] = round(_cpu_seconds() - spent, 1)
            artifacts.collect(objects, into, _describe(inputs, took))


def _describe(inputs: Inputs, took: Mapping[str, float]) -> Mapping[str, object]:
    series = inputs.applied.series
    pairs = zip(series.patches, inputs.applied.patches, strict=True)
    provenance = {
        "source": {**inputs.source.identity, "tree": inputs.source.tree.id},
        "toolchain": dict(inputs.toolchain.identity),
        "series": [
            {
                "name": patch.name,
                "subject": patch.subject,
                "message_id": patch.message_id,
                "sha256": patch.sha256,
                **codec.encode(went),
            }
            for patch, went in pairs
        ],
        "base_commit": series.base_commit,
        "built": dict(took),
        "contained": find_containment().description,
    }
    return {
        "base": inputs.source.description,
        "series": list(series.names),
        "tree": inputs.applied.tree.id,
        "provenance": provenance,
    }


def _check_space(cache: Cache, tree: WorkTree) -> None:
    """Raise CacheError before a first build if there is no space for it."""
    if tree.source.is_dir():
        return
    cache.root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache.root).free
    if free < NEEDED_BYTES:
        raise CacheError(
            f"no space for a kernel build in the cache {cache.root}:"
            f" {free // MIB} MiB free, {NEEDED_BYTES // MIB} MiB needed",
            hint="free some space, or set GUESTLOOP_CACHE to a larger disk; nothing was lost",
        )


def _cpu_seconds() -> float:
    """Return the CPU time of all children that have ended so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Make:
    """Run ``make`` in a source tree and its object tree."""

    def __init__(self, name: str, source: Path, objects: Path, inputs: Inputs, cache: Cache) -> None:
        self.name = name
        self.source, self.objects, self.inputs, self.cache = source, objects, inputs, cache
        self.jobs = len(os.sched_getaffinity(0))
        # Beside the object tree: what is in it may have become a link to anywhere, by a patch's Makefile.
        self.log, self.wanted = (objects.with_name(f"{name}-of-{objects.name}") for name in ("log", "config"))

    def build(self, spec: KernelSpec, role: Role) -> None:
        """Configure and build. Raises ConfigError if an option cannot be set, and what ``_run`` does."""
        self._require_execution()
        first = not (self.objects / "vmlinux").is_file()
        self.log.unlink(missing_ok=True)
        self._configure(spec)
        known = not self.inputs.whole_config  # which may have any number of drivers
        expect_s = (role.cpu_s / self.jobs if known else None) if first else FURTHER_BUILD_EXPECT_S
        with step(f"build kernel {spec.name} ({self.inputs.source.description})", expect_s=expect_s) as shown:
            progress = Progress(shown, role.files if first and known else 0)
            self._run(*self.inputs.targets, on_line=progress.line)
            shown.update(f"{progress.made} files made")

    def _require_execution(self) -> None:
        """Raise CacheError on a file system whose programs may not run: make runs some that it has made."""
        if os.statvfs(self.objects).f_flag & os.ST_NOEXEC:
            raise CacheError(
                f"the cache {self.cache.root} is on a file system that is mounted noexec",
                hint="set GUESTLOOP_CACHE to a directory from which programs can be run",
            )

    def _configure(self, spec: KernelSpec) -> None:
        """Configure in every run, because a series may change Kconfig. An equal .config is not rewritten."""
        wanted, made = self.wanted, self.objects / ".config"

        def configure(options: Mapping[str, str]) -> Mapping[str, str]:
            wanted.write_text(kconfig.render(options))
            if whole := self.inputs.configured:
                made.write_text(kconfig.render({**whole, **options}))
                self._run("olddefconfig")
            else:
                self._run("allnoconfig", environment={"KCONFIG_ALLCONFIG": os.fspath(wanted)})
            return kconfig.parse(made.read_text(errors="replace"), str(made))

        where = ", ".join(os.fspath(path) for path in spec.config)
        missed = kconfig.settle(self.inputs.options, configure, self.source)
        self._refuse_removed(missed, where)
        kconfig.refuse(missed, where)

    def _refuse_removed(self, missed: Sequence[kconfig.Unmet], where: str) -> None:
        """Raise ConfigError if it is the series that took options away: the configuration has to follow."""
        diff = b"\n".join(patch.diff for patch in self.inputs.applied.series.patches)
        removed = kconfig.removed_by(diff.decode(errors="replace"), missed)
        if not removed:
            return
        names = ", ".join(f"CONFIG_{name}" for name in removed)
        raise ConfigError(
            f"{self.name}: the series removes {names}, and the configuration asks for it ({where})",
            hint=f"write '{names.partition(',')[0]}=... where it exists' there, or name what replaces it"
            " ('CONFIG_A=y | CONFIG_B=y'); a kernel's own file can add a fragment to another's (like:)",
        )

    def _run(
        self,
        *targets: str,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """Run make. Raises NotBuilt with the first error, ProcessError if it is not one of the source."""
        # An empty LOCALVERSION keeps a git tree's "+" out of the release, so that kernels of one base
        # differ only in what their patches change.
        variables = (f"O={self.objects}", "LOCALVERSION=", *self.inputs.toolchain.make_variables)
        argv: list[proc.Arg] = [
            proc.find_program("make", hint=BUILD_HINT),
            "-C",
            self.source,
            f"-j{self.jobs}",
            "--output-sync=target",  # the lines of an error stay together
            *variables,
        ]
        env = {**self.inputs.toolchain.environment(self.cache), **(environment or {})}
        written = [self.objects]
        if "CCACHE_DIR" in env:
            written.append(Path(env["CCACHE_DIR"]))
            written[-1].mkdir(parents=True, exist_ok=True)
        contained = find_containment()
        try:
            proc.run(
                contained.command([*argv, *targets], readable=[self.source, self.wanted], writable=written),
                env=env,
                bare=True,
                log=self.log,
                on_line=on_line,
            )
        except ProcessError as error:
            raise self._explain(error) from None

    def _explain(self, error: ProcessError) -> LabError:
        """What a failed make says: the source does not build, or this machine is at fault."""
        if says_no_space(error.output) and diagnose(error.output).is_machine:
            return error
        output = self.log.read_text(errors="replace") if self.log.is_file() else error.output
        for prefix in (f"{self.source}/", f"../{self.source.name}/"):
            output = output.replace(prefix, "")
        found = diagnose(output)
        hint = f"the whole output is in {self._keep_log()}"
        if found.is_machine or error.status < 0 or not os.access(self.objects, os.W_OK):
            return ProcessError(error.argv, error.status, "\n".join(found.lines), hint=hint)
        first, *further = found.lines
        return NotBuilt("\n".join([f"{self.name}: does not build: {first}", *further]), hint=hint)

    def _keep_log(self) -> Path:
        """Where make's output stays: the next kernel is built in the same object tree."""
        kept = self.cache.root / FAILED_BUILDS / f"{self.name}-{content_key(self.inputs.described)[:12]}.log"
        with suppress(OSError):
            kept.parent.mkdir(exist_ok=True)
            shutil.copyfile(self.log, kept)
        return kept if kept.is_file() else self.log


class Progress:
    """Count the files that make prints. ``expected`` is 0 if their number is not known."""

    def __init__(self, shown: Step, expected: int) -> None:
        self.made = 0
        self._shown, self._expected = shown, expected

    def line(self, line: str) -> None:
        """Process one line of make's output."""
        match = _MADE.match(line)
        if not match:
            return
        self.made += 1
        if self._expected:
            fraction = min(self.made / self._expected, 0.99)
            self._shown.update(f"{self.made} of about {self._expected} files, {match[1]}", fraction)
        else:
            self._shown.update(f"{self.made} files, {match[1]}")
