# SPDX-License-Identifier: GPL-2.0-or-later
"""Look for all that a run will take from the cache, as the run itself will do, and build none of it.

Keys depend on this host: its compiler, its package sources, its cache's keys for L1, and how large its room
makes an L1. So it is here that they are known. What goes wrong is left to the run, which says it and has an
exit status for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path

from guestloop.cache import Cache
from guestloop.ground.errors import CacheError, GuestloopError, LinkLost
from guestloop.ground.log import shown_by
from guestloop.images import build_l1, build_l2
from guestloop.job.change import change_specs
from guestloop.job.options import Options, load_kernels, wanted_layout
from guestloop.job.prepare import find_machine, prepare
from guestloop.job.subjects import find_subjects, fit_kernels
from guestloop.kernels import build_l2_kernel
from guestloop.machines.choice import Choice
from guestloop.remote.there.runs import Run
from guestloop.results.sizes import Sizes

NOWHERE = Path("/nonexistent")  # results, of which there are none


def look_for_entries(run: Run, cache: Cache, read: Callable[[Sequence[str]], Options]) -> None:
    """Look for everything that can be looked for. Raises CacheError for a full disk, LinkLost.

    ``read`` makes options of the words of a command line.
    """
    os.environ["XDG_CONFIG_HOME"] = os.fspath(run.settings)
    with shown_by(lambda _line: None), chdir(run.files), _left_to_the_run():
        options = read(run.request().words)
        _, machine = find_machine(options.accel)
        sizes = wanted_layout(options, machine.kind).sizes
        # One by one: the key of a payload, say, is not known as long as a kernel is to be built.
        looks: tuple[Callable[[Cache], object], ...] = (
            machine.kind.find_qemu,
            build_l1,
            build_l2,
            lambda cache: build_l2_kernel(cache, cpus=sizes.most_l2_cpus),
            lambda cache: _look_for_kernels(options, machine, sizes, cache),
        )
        for look in looks:
            with _left_to_the_run():
                look(cache)


def _look_for_kernels(options: Options, machine: Choice, sizes: Sizes, cache: Cache) -> None:
    named = change_specs(options.change, cache) if options.change else load_kernels(options.kernels)
    specs = fit_kernels(named, sizes)
    subjects = find_subjects(specs, machine.vendor.module, cache, options.expect)
    for subject in subjects:
        with _left_to_the_run():
            subject.obtain(cache)
    prepare(subjects, machine, NOWHERE, cache, sizes)


@contextmanager
def _left_to_the_run() -> Iterator[None]:
    try:
        yield
    except (CacheError, LinkLost):
        raise
    except GuestloopError:
        pass
