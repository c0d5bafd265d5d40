"""The reaper: gives jobs of silent workers back to the queue, and sends tickets that are missing.

It runs in every worker and in the supervisor; two at once do no harm, because a second ticket finds its job taken.
"""

from __future__ import annotations

import logging
import threading
import time

from kombu.exceptions import OperationalError as BrokerAway
from redis.exceptions import RedisError
from sqlalchemy.exc import InterfaceError, OperationalError

from leym import tickets
from leym.events import Events
from leym.jobs.records import JobState
from leym.jobs.table import JobTable
from leym.settings import Settings

log = logging.getLogger(__name__)

PERIOD_S = 2.0
SETTLED_S = 10.0  # a ticket sent longer ago than this is in the queue, taken, or lost
BATCH = 500


class Reaper:
    """A thread that calls `reap` every PERIOD_S."""

    def __init__(self, table: JobTable, events: Events, settings: Settings):
        self.table, self.events, self.settings = table, events, settings
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(PERIOD_S):
            try:
                self.reap()
                self.send_missing()
            except (OperationalError, InterfaceError) as error:
                log.warning("the job table does not answer: %s", error)
            except (BrokerAway, RedisError, OSError) as error:
                log.warning("tickets wait for the broker: %s", error)

    def reap(self) -> list[str]:
        """Jobs whose lease ran out go back to the queue, or fail when they were claimed too often without progress."""
        found = self.table.reap(self.settings.max_attempts)
        for job in self.table.find(found):
            log.warning("job %s: its worker %s fell silent; now %s", job.id, job.owner, job.state)
            self.events.announce(job.id, job.step, job.state)
        return found

    def send_missing(self) -> int:
        """Send the tickets of queued jobs that have none, and, where the queue is shorter than it should be, again
        those that were sent longest ago. Returns how many."""
        due = self.table.unticketed(float("inf"), BATCH)
        if not due:
            queued = self.table.counts().get(JobState.QUEUED, 0)
            if not queued:
                return 0
            there = tickets.waiting(self.settings.redis_url, self.settings.queue) if self.settings.redis_url else 0
            if lost := queued - there:
                due = self.table.unticketed(SETTLED_S, min(lost, BATCH)) if lost > 0 else []
            if due:
                log.warning("%d jobs are queued and %d tickets are there: sending %d again", queued, there, len(due))
        sent = []
        try:
            for job in due:
                tickets.send(job)
                sent.append(job.id)
        finally:
            if sent:
                self.table.ticketed(sent, time.time())
        return len(sent)
