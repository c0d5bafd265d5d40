"""Remembers for a while how long similar jobs ran, so that a submission need not ask the job table."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from leym.jobs.run_times import Samples
from leym.jobs.table import JobTable

KEPT_S = 20.0
BUCKETS = 256

Key = tuple[str, str, tuple[int, int]]


class SpeedCache:
    """Running times by law, precision and grid, of all projects. Any thread may use it."""

    def __init__(self, table: JobTable):
        self.table = table
        self._lock = threading.Lock()
        self._found: OrderedDict[Key, tuple[float, Samples]] = OrderedDict()

    def samples(self, law: str, precision: str, grid: tuple[int, int], within_s: float = KEPT_S) -> Samples:
        """Return running times of similar jobs, at most `within_s` seconds old."""
        key, now = (law, precision, grid), time.monotonic()
        with self._lock:
            at, samples = self._found.get(key, (0.0, None))
        if samples is not None and now - at < within_s:
            return samples
        samples = self.table.run_times(law, precision, grid)
        with self._lock:
            self._found[key] = now, samples
            self._found.move_to_end(key)
            while len(self._found) > BUCKETS:
                self._found.popitem(last=False)
        return samples
