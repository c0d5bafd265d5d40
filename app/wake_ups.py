"""Tells the reader of a job's row when to read it again."""

from __future__ import annotations

import time

from leym.events import Events

REREAD_S = 5.0  # a row is read at least this often, since wake-ups can be lost


class WakeUps:
    """The wake-ups of one job, for one reader."""

    def __init__(self, events: Events, job_id: str, cursor: str | None = None):
        """Begin to listen.

        Args:
            events: Where wake-ups come from.
            job_id: The job, or the sweep whose blocks are announced.
            cursor: Position in the wake-ups, taken before the row was read; None for now.
        """
        self._events, self._job_id = events, job_id
        self._cursor = events.cursor(job_id) if cursor is None else cursor
        self._read_at = time.monotonic()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the next wake-up, `timeout_s` seconds at most.

        Returns:
            Whether the row must be read again: after a wake-up, REREAD_S seconds after the last reading, and always
            while Redis does not answer.
        """
        before, self._cursor = self._cursor, self._events.wait(self._job_id, self._cursor, timeout_s) or self._cursor
        now = time.monotonic()
        due = self._cursor != before or not self._events.is_listening or now - self._read_at >= REREAD_S
        if due:
            self._read_at = now
        return due
