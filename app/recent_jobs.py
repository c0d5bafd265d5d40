"""Shares the rows of followed jobs between the streams of one process, so that many viewers cost one query."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from leym.contract.records import Job

KEPT = 256  # rows
FRESH_S = 0.5  # a row is read again after this time, even if no wake-up came: wake-ups can be lost
LOCKS = 64


class RecentJobs:
    """Rows of jobs with the wake-up that they are as new as. Thread-safe."""

    def __init__(self) -> None:
        self._rows: OrderedDict[str, tuple[int, float, Job]] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = [threading.Lock() for _ in range(LOCKS)]

    def get(self, job_id: str, cursor: str | None, read: Callable[[str], Job]) -> Job:
        """Return a row that is at least as new as a wake-up.

        Args:
            job_id: The job, which the caller may read.
            cursor: The wake-up, from `Events.wait`.
            read: Reads the row.
        """
        wanted = int(cursor or 0)
        with self._reading[hash(job_id) % LOCKS]:  # the others wait for the first, and share its row
            with self._lock:
                known, at, job = self._rows.get(job_id, (-1, 0.0, None))
            now = time.monotonic()
            if job is not None and known >= wanted and now - at < FRESH_S:
                return job
            job = read(job_id)
            with self._lock:
                self._rows[job_id] = wanted, now, job
                self._rows.move_to_end(job_id)
                while len(self._rows) > KEPT:
                    self._rows.popitem(last=False)
            return job
