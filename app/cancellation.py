"""Cancels jobs and sweeps in the job table, then informs waiting clients and workers, so that they react at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from kombu.exceptions import OperationalError

from app.lookup import find_job
from app.services import Services
from leym import tickets
from leym.contract.records import Job, Sweep
from leym.contract.spec import LIMITS

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
        _announce_all(services, [job])
    return job


def cancel_sweep(services: Services, sweep_id: str) -> Sweep:
    """Cancel every job of a sweep that has not ended, and return the sweep.

    Raises:
        Problem: 404 if there is no such sweep.
    """
    jobs, _ = services.table.sweep_members(sweep_id, LIMITS.sweep_jobs, None)
    live = sorted(job.id for job in jobs if not job.final)
    services.table.cancel_sweep(sweep_id)
    _announce_all(services, [job for job in services.table.find(live) if job.final])
    return services.table.get_sweep(sweep_id)


def _announce_all(services: Services, jobs: Sequence[Job]) -> None:
    _announce(services, jobs[:BEFORE_RESPONSE])
    if rest := jobs[BEFORE_RESPONSE:]:
        threading.Thread(target=_announce, args=(services, rest), name="cancels", daemon=True).start()


def _announce(services: Services, jobs: Sequence[Job]) -> None:
    """Wake the clients that wait for these jobs, and inform the workers that run them."""
    for job in jobs:
        services.events.announce(job.id, job.step, str(job.state))
        if job.started_at is None or services.broker_outage.is_active:
            continue  # a worker that gets the ticket of a job that never started finds nothing to claim
        try:
            tickets.revoke(job.id)
        except (OperationalError, OSError) as error:
            services.broker_outage.record()
            log.warning("could not inform workers of the cancelled job %s (%s); the job table will", job.id, error)
