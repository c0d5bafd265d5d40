"""Jobs as the routes look them up: a deleted one is gone, and so are results that have expired, and they say so."""

from __future__ import annotations

from app.services import Services
from leym.contract.problems import Problem
from leym.contract.records import Job
from leym.frames.reader import FrameReader, check_available


def find_job(services: Services, job_id: str) -> Job:
    """Raises Problem 404 (never was) or 410 (deleted)."""
    job = services.table.get(job_id)
    if job.deleted_at is not None:
        raise Problem(410, "Gone", f"job {job_id!r} has been deleted")
    return job


def reader_of(services: Services, job_id: str) -> tuple[Job, FrameReader]:
    """A job and the reader of its frames. Raises like `find_job`, and Problem 410 when they have expired."""
    job = find_job(services, job_id)
    check_available(job)
    return job, FrameReader(services.store, job, lambda: services.table.get(job_id))
