"""What the routes work with: the job table, the frame store, the laws, wake-ups and the broker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flask import current_app, g
from kombu.exceptions import OperationalError

from app.disk_guard import DiskGuard
from app.ticket_sender import Dispatch, Outage
from leym import tickets
from leym.contract.identity import DEFAULT
from leym.contract.records import Job
from leym.events import Events
from leym.frames.stores.base import Store
from leym.frames.stores.open import open_store
from leym.jobs.table import JobTable, open_table
from leym.laws.registry import Registry, project_registry
from leym.settings import Settings

log = logging.getLogger(__name__)

AT_ONCE = 32  # cancels told before the answer; the others of a large sweep follow from a thread


@dataclass
class Services:
    settings: Settings
    table: JobTable
    store: Store
    events: Events
    laws: Registry
    disk: DiskGuard
    broker: Outage
    dispatch: Dispatch

    def send(self, jobs: Sequence[Job]) -> None:
        """Tickets for jobs that are in the table, soon."""
        self.dispatch.send(jobs)

    def cancelled(self, jobs: Sequence[Job]) -> None:
        """Wake those who wait for these jobs and tell the workers. The table says it already: this makes it quick."""
        self._cancelled(jobs[:AT_ONCE])
        if len(jobs) > AT_ONCE:
            threading.Thread(target=self._cancelled, args=(jobs[AT_ONCE:],), name="cancels", daemon=True).start()

    def _cancelled(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.events.announce(job.id, job.step, str(job.state))
            if job.started_at is None or self.broker.now:
                continue  # a ticket of a job that no worker has begun finds nothing to claim
            try:
                tickets.revoke(job.id)
            except (OperationalError, OSError) as error:
                self.broker.began()
                log.warning("workers are not told of the cancelled job %s (%s); they will find out", job.id, error)

    def of(self, project: str) -> Services:
        """What one project has: its jobs, sweeps and laws. The rest is shared."""
        laws = project_registry(project, self.settings.data)
        return replace(self, table=self.table.of(project), laws=laws)


def open_services(settings: Settings) -> Services:
    if not settings.database_url or not settings.store_url:
        settings.data.mkdir(parents=True, exist_ok=True)
    # A request must not wait for a broker that is away: one try, and the outbox does the rest.
    tickets.app.conf.broker_transport_options = {**tickets.app.conf.broker_transport_options, "max_retries": 0}
    tickets.configure(settings)
    table = open_table(settings)
    broker = Outage()
    return Services(
        settings,
        table,
        open_store(settings.store),
        Events(settings.redis_url or None),
        project_registry(DEFAULT, settings.data),
        DiskGuard(settings),
        broker,
        Dispatch(table, broker),
    )


def services() -> Services:
    """As the caller's project has them (`app.identity`)."""
    found: Services = g.services
    return found


def whole() -> Services:
    """Of the whole service, whoever asks: for probes and administration."""
    found: Services = current_app.extensions["leym"]
    return found
