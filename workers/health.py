"""Health check of a worker's container: `python -m workers.health` exits 0 if a worker of this host is alive.

A worker is alive if its last heartbeat is recent. Its heartbeat also asks the engine, so that a worker whose engine
hangs is not alive.
"""

from __future__ import annotations

import socket
import sys

from leym.jobs.table import open_table
from leym.settings import settings

HEARTBEATS = 5  # a worker that is silent for longer is not alive


def main() -> None:
    """Exit with 0 if a worker of this host is alive, otherwise with 1 and a message."""
    table = open_table(settings())
    alive = [w for w in table.workers(HEARTBEATS * settings().heartbeat_s) if w.host == socket.gethostname()]
    table.close()
    sys.exit(0 if alive else f"no worker of this host has sent a heartbeat in the last {HEARTBEATS} periods")


if __name__ == "__main__":
    main()
