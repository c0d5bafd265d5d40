"""Quarantine: lets the last attempt of a job run alone, so that a crash can only end that job.

A job whose workers died repeatedly may be what killed them, or may only have run in the same workers. An innocent job
makes progress, and other jobs may begin again; a job that kills its worker fails without harming another.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

POLL_S = 0.2  # how often a waiting job checks whether the worker ends


class Quarantine:
    """Decides which job may begin in this worker. Thread-safe.

    A job in its last attempt begins when every other job of the worker has made progress. While it waits, and until it
    has made progress or left, no other job begins.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._without_progress: dict[str, bool] = {}  # job id -> whether it is in its last attempt
        self._waiting = 0  # jobs in their last attempt

    def enter(self, job_id: str, last_attempt: bool, ending: Callable[[], bool]) -> bool:
        """Wait until the job may begin.

        Args:
            job_id: The job.
            last_attempt: Whether the job fails if this attempt makes no progress.
            ending: Returns whether the worker ends.

        Returns:
            False if the worker ends first.
        """
        with self._changed:
            if last_attempt:
                log.warning("job %s makes its last attempt alone", job_id)
            self._waiting += last_attempt
            try:
                while not self._may_begin(last_attempt):
                    if ending():
                        return False
                    self._changed.wait(POLL_S)
                self._without_progress[job_id] = last_attempt
            finally:
                self._waiting -= last_attempt
                self._changed.notify_all()
            return True

    def release(self, job_id: str) -> None:
        """Note that a job has made progress or has left; does nothing for other jobs."""
        with self._changed:
            self._without_progress.pop(job_id, None)
            self._changed.notify_all()

    def _may_begin(self, last_attempt: bool) -> bool:
        if last_attempt:
            return not self._without_progress
        return not self._waiting and not any(self._without_progress.values())
