"""Quarantine: the last attempt of a job is made alone, so that it can only take itself down.

A job whose workers died under it, again and again, may be what kills them, or may only have been beside it. Innocent
ones prove themselves by a first commit and go on in company; the other one fails with nobody beside it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

LOOK_S = 0.2  # how often a waiting job looks whether the worker ends


class Quarantine:
    """Who may begin in this worker. A suspect begins when every other job here is proven, and while it is neither
    proven nor gone, or waits, nobody else begins. Safe to share between threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._unproven: dict[str, bool] = {}  # job id -> whether it is a suspect
        self._waiting = 0  # suspects

    def enter(self, job_id: str, suspect: bool, ending: Callable[[], bool]) -> bool:
        """Wait until the job may begin. False: the worker ends."""
        with self._changed:
            if suspect:
                log.warning("job %s makes its last attempt alone", job_id)
            self._waiting += suspect
            try:
                while not self._may_begin(suspect):
                    if ending():
                        return False
                    self._changed.wait(LOOK_S)
                self._unproven[job_id] = suspect
            finally:
                self._waiting -= suspect
                self._changed.notify_all()
            return True

    def release(self, job_id: str) -> None:
        """The job is proven or gone; again and for others it does nothing."""
        with self._changed:
            self._unproven.pop(job_id, None)
            self._changed.notify_all()

    def _may_begin(self, suspect: bool) -> bool:
        if suspect:
            return not self._unproven
        return not self._waiting and not any(self._unproven.values())
