"""Hands results to sinks, in order per run, off the engine thread: a slow store delays its own run and nobody else."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Condition

log = logging.getLogger(__name__)

# bytes of one run that may wait for its sink; above it the run gives up its slot until they are gone
LIMIT = 64 * 2**20


class ResultDispatcher:
    """Threads that call sinks.

    `on_error` hears of a sink that raised: sinks handle their own errors, so that is a defect.
    """

    def __init__(self, threads: int, on_error: Callable[[str, BaseException], None]):
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="courier")
        self._on_error = on_error
        self._boxes: dict[str, deque[tuple[int, Callable[[], None]]]] = {}
        self._waiting: dict[str, int] = {}
        self._changed = Condition()

    def post(self, run: str, deliver: Callable[[], None], nbytes: int = 0) -> None:
        """Call `deliver` after everything posted before for this run."""
        with self._changed:
            self._waiting[run] = self._waiting.get(run, 0) + nbytes
            if run in self._boxes:
                self._boxes[run].append((nbytes, deliver))
            else:
                self._boxes[run] = deque([(nbytes, deliver)])
                self._pool.submit(self._deliver_all, run)

    def behind(self, run: str) -> bool:
        """Whether the run's sink has more than LIMIT bytes still to take."""
        return self._waiting.get(run, 0) > LIMIT

    def drop(self, run: str) -> None:
        """Forget what waits for a run's sink; a call under way is not interrupted."""
        with self._changed:
            if run in self._boxes:
                self._boxes[run].clear()

    def close(self) -> None:
        """Deliver everything, then end the threads."""
        with self._changed:
            self._changed.wait_for(lambda: not self._boxes)
        self._pool.shutdown()

    def _deliver_all(self, run: str) -> None:
        while True:
            with self._changed:
                box = self._boxes[run]
                if not box:
                    del self._boxes[run], self._waiting[run]
                    self._changed.notify_all()
                    return
                nbytes, deliver = box.popleft()
            try:
                deliver()
            except Exception as error:
                log.exception("the sink of run %s raised", run)
                self.drop(run)
                self._on_error(run, error)
            with self._changed:
                self._waiting[run] -= nbytes
