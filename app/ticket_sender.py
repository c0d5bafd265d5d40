"""Sends tickets to the broker from a thread of its own, so that a submission waits for the job table only.

Tickets that do not reach the broker (it is unavailable, or this process ends) are sent later by whichever process
empties the outbox, which is the job table's list of rows without a ticket.
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

OUTAGE_S = 2.0  # pause after a message that the broker did not take
BATCH_SIZE = 100  # tickets that one transaction marks as sent


@dataclass
class BrokerOutage:
    """Remembers that the broker failed recently, so that no thread tries it again too soon. All projects share one."""

    until: float = 0.0  # monotonic clock

    @property
    def is_active(self) -> bool:
        """True for OUTAGE_S seconds after the last failure."""
        return time.monotonic() < self.until

    def record(self) -> None:
        """Begin a pause, because the broker has just failed."""
        self.until = time.monotonic() + OUTAGE_S


class TicketSender:
    """A queue of jobs whose rows are committed, and the thread that sends their tickets in the same order."""

    def __init__(self, table: JobTable, outage: BrokerOutage):
        self.table, self.outage = table, outage
        self._queue: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def send(self, jobs: Sequence[Job]) -> None:
        """Queue the tickets of `jobs` and return at once. A broker outage raises nothing."""
        for job in jobs:
            self._queue.put(job)
        with self._lock:  # the thread starts at the first use, so that each forked process has its own
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tickets", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            jobs = [self._queue.get()]
            try:
                while len(jobs) < BATCH_SIZE:
                    jobs.append(self._queue.get_nowait())
            except Empty:
                pass
            # a job that the quota holds back from now on has no ticket, even if the batch is marked as sent later
            began = time.time()
            try:
                if sent := self._send_tickets(jobs):
                    self.table.ticketed(sent, began)
            except SQLAlchemyError as error:
                log.warning("could not mark tickets as sent (%s); some may be sent again", error)

    def _send_tickets(self, jobs: Sequence[Job]) -> list[str]:
        """Send tickets until the broker fails, which is logged and counted.

        Returns:
            The ids of the jobs whose tickets the broker has taken.
        """
        sent: list[str] = []
        for job in jobs:
            if self.outage.is_active:
                break
            try:
                tickets.send(job)
            except (OperationalError, OSError) as error:
                self.outage.record()
                log.warning("the broker does not take tickets (%s); the outbox will send them", error)
            else:
                sent.append(job.id)
        if left := len(jobs) - len(sent):
            metrics.TICKETS_LEFT.inc(by=left)
        return sent
