# SPDX-License-Identifier: GPL-2.0-or-later
"""Start the agent: ``python3 -m guestloop.agent PORT DIRECTORY`` in L1, as root."""

from __future__ import annotations

import sys
from pathlib import Path

from guestloop.agent.services import make_agent
from guestloop.ground.rpc import Methods, Server
from guestloop.ground.threads import watch_threads


def main() -> None:
    """Serve until L1 goes away."""
    watch_threads()
    port, directory = int(sys.argv[1]), Path(sys.argv[2])
    Server(port, Methods(make_agent(directory))).serve_forever()


if __name__ == "__main__":
    main()
