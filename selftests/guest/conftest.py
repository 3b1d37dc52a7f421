# SPDX-License-Identifier: GPL-2.0-or-later
"""What is built once for all selftests with guests; the ordinary cache is used, so that it may be there."""

from __future__ import annotations

import pytest

from guestloop.cache import Cache
from guestloop.config import load_kernel
from guestloop.images import build_l1, build_l2
from guestloop.kernels import Kernel, build_kernel, build_l2_kernel
from guestloop.machines.emulated_svm import EmulatedSvm
from guestloop.vm.parts import Keys, L1Parts
from guestloop.vm.payload import build_payload
from suite.slow_steps import slow_steps


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    return build_kernel(load_kernel("unpatched"), Cache())


@pytest.fixture(scope="session")
def l2_kernel() -> Kernel:
    return build_l2_kernel(Cache())


@pytest.fixture(scope="session")
def parts(kernel: Kernel, l2_kernel: Kernel) -> L1Parts:
    cache = Cache()
    root, l2 = build_l1(cache), build_l2(cache)
    payload = build_payload(cache, kernel.modules, l2_kernel.image, l2.initramfs)
    machine = EmulatedSvm()
    program = machine.find_qemu(cache).program
    return L1Parts(
        name="selftest",
        program=program,
        cpu_argv=machine.cpu_argv,
        kernel_words=machine.kernel_words(),
        kernel=kernel.image,
        initramfs=kernel.initramfs,
        build_id=kernel.build_ids["vmlinux"],
        root=root.disk,
        payload=payload,
        keys=Keys(root.client_key, root.host_key),
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which builds and other steps the time went into."""
    found = [report for reports in terminalreporter.stats.values() for report in reports]
    if steps := slow_steps(report for report in found if isinstance(report, pytest.TestReport)):
        terminalreporter.section("steps of 5 s or more")
        terminalreporter.write_line("\n".join(steps))
