"""Cancels jobs and sweeps in the job table, then informs waiting clients and workers, so that they react at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from kombu.exceptions import OperationalError

from app.lookup import find_job
from app.services import Services
from leym import tickets
from leym.contract.records import Job, JobState, Sweep

log = logging.getLogger(__name__)

BEFORE_RESPONSE = 32  # jobs that are announced before the response; a thread announces the rest of a large sweep


def cancel_job(services: Services, job_id: str) -> Job:
    """Cancel a job and return it. A job that has ended stays as it is.

    Raises:
        Problem: 404 if it never existed, 410 if it has been deleted.
    """
    before = find_job(services, job_id)
    job = services.table.cancel(job_id)
    if not before.final:
        announce_all(services, [job], job.state)
    return job


def cancel_sweep(services: Services, sweep_id: str) -> Sweep:
    """Cancel every job of a sweep that has not ended, and return the sweep.

    Raises:
        Problem: 404 if there is no such sweep.
    """
    live = services.table.live_rows(sweep_id)
    services.table.cancel_sweep(sweep_id)
    announce_all(services, live, JobState.CANCELLED)
    return services.table.get_sweep(sweep_id)


def announce_all(services: Services, jobs: Sequence[Job], state: JobState) -> None:
    """Wake the clients that wait for these jobs or their members, and inform the workers that hold cancelled ones."""
    _announce(services, jobs[:BEFORE_RESPONSE], state)
    if rest := jobs[BEFORE_RESPONSE:]:
        threading.Thread(target=_announce, args=(services, rest, state), name="cancels", daemon=True).start()


def _announce(services: Services, jobs: Sequence[Job], state: JobState) -> None:
    for job in jobs:
        services.events.announce(job.results, job.step, str(state))
        if state != JobState.CANCELLED:
            continue  # workers never take a ticket again that was revoked; the next commit of a paused job is refused
        if job.started_at is None or job.block is not None or services.broker_outage.is_active:
            # A worker that gets the ticket of a job that never started finds nothing to claim. The holder of a member
            # hears of it at its next commit.
            continue
        try:
            tickets.revoke(job.id)
        except (OperationalError, OSError) as error:
            services.broker_outage.record()
            log.warning("could not inform workers of the cancelled job %s (%s); the job table will", job.id, error)
