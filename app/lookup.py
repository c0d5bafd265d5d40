"""Finds jobs, their results and laws for the routes, and raises the problem that fits when they are missing."""

from __future__ import annotations

import time
from functools import partial

from app.services import Services
from leym.contract.problems import Problem
from leym.contract.records import Job
from leym.frames.joined import LineageReader
from leym.frames.reader import FrameReader, check_available
from leym.laws.bundle import Bundle


def find_job(services: Services, job_id: str) -> Job:
    """Return a job.

    Raises:
        Problem: 404 if it never existed, 410 if it has been deleted.
    """
    job = services.table.get(job_id)
    if job.deleted_at is not None:
        raise Problem(410, "Gone", f"job {job_id!r} has been deleted")
    return job


def find_results(services: Services, job_id: str) -> tuple[Job, FrameReader]:
    """Return a job and the reader of its frames.

    Raises:
        Problem: 404 if the job never existed, 410 if it has been deleted or its results have expired.
    """
    job = find_job(services, job_id)
    check_available(job)
    return job, FrameReader(services.store, job, lambda: services.table.get(job_id))


def readers_of_lineage(services: Services, job: Job, reader: FrameReader) -> list[tuple[Job, FrameReader | None]]:
    """Return the jobs that a job continues, the first one first, and itself, each with the reader of its frames.

    Args:
        services: The services.
        job: The job.
        reader: Its reader.

    Returns:
        The jobs; those whose results are gone have no reader.
    """
    now, found = time.time(), list[tuple[Job, FrameReader | None]]()
    for one in reversed(services.table.ancestors(job)):
        own = FrameReader(services.store, one, partial(services.table.get, one.id))
        found.append((one, None if one.gone(now) else own))
    return [*found, (job, reader)]


def lineage_reader(services: Services, job: Job, reader: FrameReader) -> LineageReader:
    """Return the reader of the frames of a job and of those that it continues, as one timeline."""
    before = readers_of_lineage(services, job, reader)[:-1]
    return LineageReader(services.store, job, lambda: services.table.get(job.id), before, job.begins_at)


def find_law(services: Services, reference: str) -> Bundle:
    """Return the law that the path of a request names.

    Raises:
        Problem: 404 if there is no such law. In the body of a request, an unknown law is a 422 instead.
    """
    try:
        return services.laws.resolve(reference)
    except Problem as error:
        if error.title != "Unknown law":
            raise
        raise Problem(404, "Not found", error.detail) from error
