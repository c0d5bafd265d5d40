"""Tickets on their way to the broker, sent from a thread of its own: who submits waits for the job table alone.

What does not arrive (the broker is away, this process ends) is sent by whoever empties the outbox: the rows say it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from kombu.exceptions import OperationalError
from sqlalchemy.exc import SQLAlchemyError

from app import metrics
from leym import tickets
from leym.contract.records import Job
from leym.jobs.table import JobTable

log = logging.getLogger(__name__)

OUTAGE_S = 2.0  # after a failed send the broker is left alone for so long
AT_ONCE = 100  # tickets that are noted in the table together


@dataclass
class Outage:
    """Until when the broker is left alone, by the monotonic clock. All projects share one."""

    until: float = 0.0

    @property
    def now(self) -> bool:
        return time.monotonic() < self.until

    def began(self) -> None:
        self.until = time.monotonic() + OUTAGE_S


class Dispatch:
    """A queue of jobs whose rows are durable, and the thread that sends their tickets in this order."""

    def __init__(self, table: JobTable, broker: Outage):
        self.table, self.broker = table, broker
        self._waiting: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def send(self, jobs: Sequence[Job]) -> None:
        """Returns at once, and never raises on an outage."""
        for job in jobs:
            self._waiting.put(job)
        with self._lock:  # at the first use, so that a process forked before it has its own
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tickets", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            some = [self._waiting.get()]
            try:
                while len(some) < AT_ONCE:
                    some.append(self._waiting.get_nowait())
            except Empty:
                pass
            began = time.time()  # a job that is held back after this has no ticket any more, even if it is marked later
            try:
                if sent := self._sent(some):
                    self.table.mark_ticketed(sent, began)
            except SQLAlchemyError as error:
                log.warning("tickets that were sent are not noted (%s); some may be sent again", error)

    def _sent(self, jobs: Sequence[Job]) -> list[str]:
        """The ids of those whose tickets the broker has taken. An outage is logged and counted."""
        sent: list[str] = []
        for job in jobs:
            if self.broker.now:
                break
            try:
                tickets.send(job)
            except (OperationalError, OSError) as error:
                self.broker.began()
                log.warning("the broker does not take tickets (%s); the outbox will send them", error)
            else:
                sent.append(job.id)
        if left := len(jobs) - len(sent):
            metrics.TICKETS_LEFT.inc(by=left)
        return sent
