# SPDX-License-Identifier: GPL-2.0-or-later
"""Shell commands in an L1, past its agent: what no workload does to it."""

from __future__ import annotations

import paramiko

from guestloop.vm.l1 import Machine


def begin(machine: Machine, command: str) -> paramiko.ChannelFile:
    """Start a command; returns what it prints, which can be read until it ends."""
    _, output, _ = machine._link._client.exec_command(f"exec 2>&1; {command}")
    return output


def run(machine: Machine, command: str) -> None:
    """Run a command to its end, which is a good one."""
    output = begin(machine, command)
    text = output.read().decode()
    assert output.channel.recv_exit_status() == 0, text
