# SPDX-License-Identifier: GPL-2.0-or-later
"""Logging in to a host as its user's own ssh would, by paramiko.

``~/.ssh/config``, the agent, the keys and known_hosts are those of the user. A host whose key is not known,
or is another one, is refused: there is nobody to ask while a run goes on, and accepting it would let anybody
between here and there have the run.
"""

from guestloop.remote.ssh.config import Login, find_login
from guestloop.remote.ssh.connection import Connection, Running, connect

__all__ = ["Connection", "Login", "Running", "connect", "find_login"]
