"""The services that routes use: job table, frame store, laws, wake-ups, disk guard and broker."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flask import current_app, g

from app.disk_guard import DiskGuard
from app.ended_values import EndedValues
from app.frame_messages import FrameCache
from app.recent_jobs import RecentJobs
from app.speed_cache import SpeedCache
from app.ticket_sender import BrokerOutage, TicketSender
from leym import tickets
from leym.contract.identity import DEFAULT
from leym.events import Events
from leym.frames.stores.base import Store
from leym.frames.stores.open import open_store
from leym.jobs.table import JobTable, open_table
from leym.laws.registry import Registry, project_registry
from leym.settings import Settings

ALIVE_HEARTBEATS = 5  # a worker that is silent for so many heartbeats no longer counts as alive


@dataclass
class Services:
    """Everything a route needs, either of the whole service or of one project."""

    settings: Settings
    table: JobTable
    store: Store
    events: Events
    laws: Registry
    disk: DiskGuard
    broker_outage: BrokerOutage
    ticket_sender: TicketSender
    frame_cache: FrameCache
    recent_jobs: RecentJobs
    speeds: SpeedCache
    ended_values: EndedValues

    @property
    def alive_s(self) -> float:
        """Seconds of silence after which a worker no longer counts as alive."""
        return self.settings.heartbeat_s * ALIVE_HEARTBEATS

    def for_project(self, project: str) -> Services:
        """Return the services restricted to the jobs, sweeps and laws of one project. The rest is shared."""
        laws = project_registry(project, self.settings.data)
        return replace(self, table=self.table.of(project), laws=laws)


def open_services(settings: Settings) -> Services:
    """Open the job table and the frame store, and create the data folder if they are in it."""
    if not settings.database_url or not settings.store_url:
        settings.data.mkdir(parents=True, exist_ok=True)
    # one attempt only: a request must not wait for an unavailable broker, since the outbox sends the ticket later
    tickets.app.conf.broker_transport_options = {**tickets.app.conf.broker_transport_options, "max_retries": 0}
    tickets.configure(settings)
    table = open_table(settings)
    outage = BrokerOutage()
    return Services(
        settings,
        table,
        open_store(settings.store),
        Events(settings.redis_url or None),
        project_registry(DEFAULT, settings.data),
        DiskGuard(settings),
        outage,
        TicketSender(table, outage),
        FrameCache(),
        RecentJobs(),
        SpeedCache(table),
        EndedValues(),
    )


def current_services() -> Services:
    """Return the services of the current caller's project, which `app.identity` has found."""
    found: Services = g.services
    return found


def service_wide() -> Services:
    """Return the services of all projects together, for probes, metrics and authentication."""
    found: Services = current_app.extensions["leym"]
    return found
