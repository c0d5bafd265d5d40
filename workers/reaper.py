"""The reaper: gives jobs of silent workers back to the queue, fails those past their deadline, and sends tickets that
are missing.

It runs in every worker and in the supervisor, and one of them leads: the ready worker that was started first, or the
supervisors while there is none. Two at once, until they agree, do no harm: a second ticket finds its job taken.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from kombu.exceptions import OperationalError as BrokerAway
from redis.exceptions import RedisError
from sqlalchemy.exc import InterfaceError, OperationalError

from leym import tickets
from leym.events import Events
from leym.jobs.lease_watch import LeaseWatch
from leym.jobs.leases import Lease
from leym.jobs.table import JobTable
from leym.settings import Settings

log = logging.getLogger(__name__)

PERIOD_S = 2.0
ALIVE_HEARTBEATS = 3  # a leader that is silent for longer is one no more
TOGETHER_S = 0.05  # jobs that leave within this are one reason to hurry
SETTLED_S = 10.0  # a ticket sent longer ago than this is in the queue, taken, or lost
BATCH = 500


class Reaper:
    """A thread that looks every PERIOD_S, or when it is told to hurry. name: of the worker it runs in; None in a
    supervisor."""

    def __init__(self, table: JobTable, events: Events, settings: Settings, name: str | None = None):
        self.table, self.events, self.settings, self.name = table, events, settings, name
        self._watch = LeaseWatch(settings.lease_s)
        self._stopped, self._hurry = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hurry(self) -> None:
        """A job has left: another one of its project, which was held back, may run now."""
        self._hurry.set()

    def stop(self) -> None:
        self._stopped.set()
        self._hurry.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            hurried = self._hurry.wait(min(PERIOD_S, self.settings.lease_s / 4))
            if self._stopped.wait(TOGETHER_S):
                return
            self._hurry.clear()
            try:
                self.look(hurried)
            except (OperationalError, InterfaceError) as error:
                log.warning("the job table does not answer: %s", error)
            except (BrokerAway, RedisError, OSError) as error:
                log.warning("tickets wait for the broker: %s", error)

    def look(self, hurried: bool = False) -> None:
        """Everybody watches, so that a new leader need not begin to; one acts. Who was told to hurry knows of room."""
        silent = self._watch.lapsed(self.table.leases())
        leads = self.leads()
        if leads:
            self.reap(silent)
            self.fail_overdue()
        if leads or hurried:
            self.send_missing()

    def leads(self) -> bool:
        living = self.table.workers(ALIVE_HEARTBEATS * self.settings.heartbeat_s)
        ready = [(worker.started_at, worker.name) for worker in living if worker.state == "ready"]
        return self.name == (min(ready)[1] if ready else None)

    def reap(self, silent: Mapping[str, Lease]) -> list[str]:
        """Jobs that nobody holds any more go back to the queue, or fail when they were claimed too often without
        progress."""
        found = self.table.reap(silent, self.settings.max_attempts)
        for job in self.table.find(found):
            log.warning("job %s: its worker fell silent; now %s", job.id, job.state)
            self.events.announce(job.id, job.step, job.state)
        return found

    def fail_overdue(self) -> None:
        """Fail jobs whose deadline has passed, also those that wait while no worker lives."""
        while failed := self.table.fail_overdue():
            for job in failed:
                log.info("job %s failed: its deadline passed", job.id)
                self.events.announce(job.id, job.step, job.state)

    def send_missing(self) -> int:
        """Send the tickets of queued jobs that have none, and, where the queue is shorter than it should be, again
        those that were sent longest ago. Returns how many."""
        due = self.table.unticketed(float("inf"), BATCH)
        if not due:
            queued = self.table.count_ticketed()
            if not queued:
                return 0
            there = tickets.waiting(self.settings.redis_url, self.settings.queue) if self.settings.redis_url else 0
            if lost := queued - there:
                due = self.table.unticketed(SETTLED_S, min(lost, BATCH)) if lost > 0 else []
            if due:
                log.warning("%d tickets were sent and %d are there: sending %d again", queued, there, len(due))
        began, sent = time.time(), []
        try:
            for job in due:
                tickets.send(job)
                sent.append(job.id)
        finally:
            if sent:
                self.table.mark_ticketed(sent, began)
        return len(sent)
