# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: the process that owns the L1s of a run, and what tests use to reach them.

Avocado runs every test in a process of its own. The L1s, their one SSH connection and their agent
channel outlive all of them, so they live in a lab process that tests talk to over a Unix socket.
"""
