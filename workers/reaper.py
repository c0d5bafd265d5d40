"""Reaper: queues the jobs of silent workers again, fails overdue jobs, and sends missing tickets.

It runs in every worker and in the supervisor. One of them is the leader and acts: that of the ready worker that was
started first, or the supervisors' while no worker is ready. Two leaders at once, until they agree, do no harm: a second
ticket finds its job claimed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from leym import tickets
from leym.events import Events
from leym.jobs.lease_watch import LeaseWatch
from leym.jobs.leases import Lease
from leym.jobs.table import JobTable
from leym.settings import Settings
from workers.outages import BROKER_UNAVAILABLE, TABLE_UNAVAILABLE

log = logging.getLogger(__name__)

PERIOD_S = 2.0
ALIVE_HEARTBEATS = 3  # a worker that is silent for longer than so many heartbeats cannot be the leader
DEBOUNCE_S = 0.05  # wake-ups within this time are answered by one pass
RESEND_AFTER_S = 10.0  # a ticket sent longer ago is in the queue, taken or lost
BATCH = 500


class Reaper:
    """A thread that makes a pass every PERIOD_S, when a deadline passes, and whenever it is woken."""

    def __init__(self, table: JobTable, events: Events, settings: Settings, name: str | None = None):
        """Prepare the thread.

        Args:
            table: The job table.
            events: Announces changes of jobs.
            settings: The lease's length, the queue and the broker.
            name: The worker that it runs in; None in a supervisor.
        """
        self.table, self.events, self.settings, self.name = table, events, settings, name
        self._watch = LeaseWatch(settings.lease_s)
        self._stopped, self._woken = threading.Event(), threading.Event()
        self._pause_s = self._period_s = min(PERIOD_S, settings.lease_s / 4)
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Make a pass now: a job has left, and another one of its project may have room under the project's limit."""
        self._woken.set()

    def stop(self) -> None:
        """Stop the thread and wait for its end."""
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            woken = self._woken.wait(self._pause_s)
            if self._stopped.wait(DEBOUNCE_S):
                return
            self._woken.clear()
            try:
                self.run_once(woken)
            except TABLE_UNAVAILABLE as error:
                log.warning("the job table does not answer: %s", error)
            except BROKER_UNAVAILABLE as error:
                log.warning("tickets wait for the broker: %s", error)

    def run_once(self, woken: bool = False) -> None:
        """Make one pass: every reaper watches the leases, so that a new leader knows them already; the leader acts.

        Args:
            woken: Whether a job has left this worker; then missing tickets are sent by a reaper that is not the leader
                too.
        """
        silent = self._watch.lapsed(self.table.leases())
        leader = self.is_leader()
        if leader:
            self.reap(silent)
            self.fail_overdue()
            deadline = self.table.next_deadline()
            left_s = self._period_s if deadline is None else deadline - time.time()
            self._pause_s = min(self._period_s, max(left_s, DEBOUNCE_S))
        if leader or woken:
            self.send_missing()

    def is_leader(self) -> bool:
        """Return whether this reaper acts: that of the oldest ready worker, or the supervisors' if none is ready."""
        living = self.table.workers(ALIVE_HEARTBEATS * self.settings.heartbeat_s)
        ready = [(worker.started_at, worker.name) for worker in living if worker.state == "ready"]
        return self.name == (min(ready)[1] if ready else None)

    def reap(self, silent: Mapping[str, Lease]) -> list[str]:
        """Queue jobs of silent workers again; fail those that were claimed too often without progress.

        Args:
            silent: Leases that were not renewed, by job id.

        Returns:
            The ids of the jobs whose lease was still the given one.
        """
        reaped = self.table.reap(silent, self.settings.max_attempts)
        for job in self.table.find(reaped):
            log.warning("job %s: its worker fell silent; now %s", job.id, job.state)
            self.events.announce(job.id, job.step, job.state)
        return reaped

    def fail_overdue(self) -> None:
        """Fail jobs whose deadline has passed, also those that wait while no worker lives."""
        while failed := self.table.fail_overdue():
            for job in failed:
                log.info("job %s failed: its deadline passed", job.id)
                self.events.announce(job.id, job.step, job.state)

    def send_missing(self) -> int:
        """Send tickets to queued jobs that have none, or that have lost theirs; return how many were sent.

        Tickets are lost if the queue is shorter than the number of jobs that wait with a ticket. Those that were sent
        longest ago are sent again.
        """
        missing = self.table.unticketed(float("inf"), BATCH)
        if not missing:
            expected = self.table.count_ticketed()
            if not expected:
                return 0
            url = self.settings.redis_url
            found = tickets.waiting_in_all(url, self.settings.queue) if url else 0
            if (lost := expected - found) > 0:
                missing = self.table.unticketed(RESEND_AFTER_S, min(lost, BATCH))
            if missing:
                log.warning(
                    "the queue has %d tickets for %d waiting jobs: sending %d again", found, expected, len(missing)
                )
        began, sent = time.time(), []
        try:
            for job in missing:
                tickets.send(job)
                sent.append(job.id)
        finally:
            if sent:
                self.table.mark_ticketed(sent, began)
        return len(sent)
