# SPDX-License-Identifier: GPL-2.0-or-later
"""An L1 that follows a script: workloads run in it from end to end, in milliseconds and without KVM.

Real are the protocol (ground/rpc.py) with both its ends, the lab and its slots, the agent's guests and
its migration, and whatever judges. Scripted are QEMU, L1's kernel, and the payload, which speaks the line
protocol of guest-images/l2/session.c. A ``Script`` says how all of them behave.
"""

from __future__ import annotations

from scripted.agent import make_agent
from scripted.lab import Call, Ended, ScriptedLab, cell, lab, served_lab
from scripted.machine import ScriptedL1
from scripted.script import Script

__all__ = ["Call", "Ended", "Script", "ScriptedL1", "ScriptedLab", "cell", "lab", "make_agent", "served_lab"]
