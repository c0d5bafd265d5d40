"""Waits until the state of a job changes."""

from __future__ import annotations

import time
from collections.abc import Callable

from app import shutdown
from app.lookup import find_job
from app.services import Services
from app.wake_ups import WakeUps
from leym.contract.records import Job

POLL_S = 1.0  # the longest wait, since this process may be asked to stop and the client may disconnect


def wait_for_change(
    services: Services, job_id: str, known: str | None, timeout_s: float, has_disconnected: Callable[[], bool]
) -> Job:
    """Return a job once its state differs from the known one, it has ended, or the time is over.

    Args:
        services: The services of the job's project.
        job_id: The job's id.
        known: The state that the client knows; None for the current one.
        timeout_s: How long to wait.
        has_disconnected: Returns whether the client has closed its connection.

    Raises:
        Problem: 404 if the job never existed, 410 if it has been deleted.
    """
    deadline = time.monotonic() + timeout_s
    cursor = services.events.cursor(job_id)  # before the row is read, so that no wake-up is lost in between
    job = find_job(services, job_id)
    wake_ups = WakeUps(services.events, job.results, cursor)
    known = known or str(job.state)
    while job.state == known and not job.final and not shutdown.stopping() and not has_disconnected():
        left = deadline - time.monotonic()
        if left <= 0:
            break
        if wake_ups.wait(min(left, POLL_S)):
            job = find_job(services, job_id)
    return job
