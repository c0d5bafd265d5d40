"""What the routes work with: the job table, the frame store, the laws, wake-ups and the broker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from flask import current_app
from kombu.exceptions import OperationalError

from app import metrics
from leym import tickets
from leym.events import Events
from leym.frames.store import Store, open_store
from leym.jobs.records import Job
from leym.jobs.table import JobTable
from leym.laws.registry import SHIPPED, Registry
from leym.settings import Settings

log = logging.getLogger(__name__)

OUTAGE_S = (
    2.0  # after a failed send the broker is left alone for so long: a submit must not wait for it again and again
)
AT_ONCE = 32  # tickets sent before the answer; the others of a large sweep follow from a thread


@dataclass
class Services:
    settings: Settings
    table: JobTable
    store: Store
    events: Events
    laws: Registry
    _silent_until: float = field(default=0.0, repr=False)

    def send(self, jobs: Sequence[Job]) -> None:
        """Tickets for jobs that are in the table. A broker outage is logged and counted: the table is the outbox."""
        self._send(jobs[:AT_ONCE])
        if len(jobs) > AT_ONCE:
            threading.Thread(target=self._send, args=(jobs[AT_ONCE:],), name="tickets", daemon=True).start()

    def _send(self, jobs: Sequence[Job]) -> None:
        sent: list[str] = []
        for job in jobs:
            if time.monotonic() < self._silent_until:
                metrics.TICKETS_LEFT.inc(len(jobs) - len(sent))
                break
            try:
                tickets.send(job)
            except (OperationalError, OSError) as error:
                self._silent_until = time.monotonic() + OUTAGE_S
                log.warning("the broker does not take tickets (%s); the outbox will send them", error)
            else:
                sent.append(job.id)
        if sent:
            self.table.ticketed(sent)

    def cancelled(self, jobs: Sequence[Job]) -> None:
        """Wake those who wait for these jobs and tell the workers. The table says it already: this makes it quick."""
        self._cancelled(jobs[:AT_ONCE])
        if len(jobs) > AT_ONCE:
            threading.Thread(target=self._cancelled, args=(jobs[AT_ONCE:],), name="cancels", daemon=True).start()

    def _cancelled(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.events.announce(job.id, job.step, str(job.state))
            if job.started_at is None or time.monotonic() < self._silent_until:
                continue  # a ticket of a job that no worker has begun finds nothing to claim
            try:
                tickets.revoke(job.id)
            except (OperationalError, OSError) as error:
                self._silent_until = time.monotonic() + OUTAGE_S
                log.warning("workers are not told of the cancelled job %s (%s); they will find out", job.id, error)


def open_services(settings: Settings) -> Services:
    if not settings.database_url or not settings.store_url:
        settings.data.mkdir(parents=True, exist_ok=True)
    # A request must not wait for a broker that is away: one try, and the outbox does the rest.
    tickets.app.conf.broker_transport_options = {**tickets.app.conf.broker_transport_options, "max_retries": 0}
    tickets.configure(settings)
    return Services(
        settings,
        JobTable(settings.database),
        open_store(settings.store),
        Events(settings.redis_url or None),
        Registry(SHIPPED, settings.data / "laws"),
    )


def services() -> Services:
    """Of the app that answers this request."""
    found: Services = current_app.extensions["leym"]
    return found
