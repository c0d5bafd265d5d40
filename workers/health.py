"""A container's health: `python -m workers.health` exits 0 when this host's worker has told of itself lately.

The heartbeat comes from a thread of the worker that also asks the engine: a worker whose engine hangs falls silent.
"""

from __future__ import annotations

import socket
import sys

from leym.jobs.table import open_table
from leym.settings import settings

BEATS = 5


def main() -> None:
    table = open_table(settings())
    heard = [w for w in table.workers(BEATS * settings().heartbeat_s) if w.host == socket.gethostname()]
    table.close()
    sys.exit(0 if heard else "no worker of this host has told of itself lately")


if __name__ == "__main__":
    main()
