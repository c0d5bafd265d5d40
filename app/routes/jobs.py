"""Jobs: submit, look, wait, cancel, delete."""

from __future__ import annotations

import time

from flask import Response, url_for

from app import shutdown
from app.lookup import find_job
from app.models import IdempotencyHeader, IdPath, JobBody, JobPage, JobsQuery, WaitQuery
from app.openapi import answers, exact, json_body, leads_to, router
from app.places import departure, stream_place
from app.services import Services, services
from app.submission import accept, take_in
from app.views import job_body, json_answer
from leym.contract.records import Job
from leym.contract.spec import JobSpec
from leym.frames.layout import job_prefix
from leym.jobs.submit import job_request

api = router("jobs", "Universes to run")
exact(JobSpec)

LOOK_S = 1.0  # a waiter looks by itself this often: a wake-up may be lost, and the process may be asked to end

OF_JOB = leads_to(
    "get_job", "cancel_job", "delete_job", "list_fields", "get_observables", "stream_events", "share_job",
    id="$response.body#/id",
)  # fmt: skip
ACCEPTED = json_body(JobBody, "The job was taken in", OF_JOB, Location="the job's path")


@api.post("/v1/jobs", responses=answers({202: ACCEPTED}, 413, 415, 507))
def submit_job(header: IdempotencyHeader, body: JobSpec) -> Response:
    """Submit a job.

    It is durable when this answers. With an `Idempotency-Key` a repeated request finds the first job; the same
    key with another body is refused.
    """
    here = services()
    request = job_request(body)  # as it was sent: what a job inherits is no part of what its key stands for
    if made := here.table.accepted(header.idempotency_key, request):
        job = here.table.get(made)
    else:
        here.disk.check()
        job = take_in(here, accept(here, body), header.idempotency_key, request)
    location = url_for("jobs.get_job", id=job.id)
    return json_answer(job_body(job), 202, Location=location)


@api.get("/v1/jobs", responses=answers({200: JobPage}))
def list_jobs(query: JobsQuery) -> Response:
    """List jobs, newest first."""
    found, following = services().table.list(
        state=query.state,
        law=query.law,
        tags=None if query.tag is None else _readings(query.tag),
        sweep=query.sweep,
        limit=query.limit,
        cursor=query.cursor,
    )
    return json_answer({"items": [job_body(job) for job in found], "next": following})


@api.get("/v1/jobs/<id>", responses=answers({200: JobBody}, 404, 410))
def get_job(path: IdPath, query: WaitQuery) -> Response:
    """Look at a job.

    With `wait` the answer comes as soon as the state is another one than `state`, or when the seconds are over.
    """
    here = services()
    if not query.wait:
        return json_answer(job_body(find_job(here, path.id)))
    give_back = stream_place()
    try:
        return json_answer(job_body(_wait(here, path.id, query.state, query.wait)))
    finally:
        give_back()


@api.post("/v1/jobs/<id>/cancel", responses=answers({200: JobBody}, 404, 410, 415))
def cancel_job(path: IdPath) -> Response:
    """Cancel a job.

    What it has recorded stays. A job that has ended is left as it is.
    """
    here = services()
    before = find_job(here, path.id)
    job = here.table.cancel(path.id)
    if not before.final:
        here.cancelled([job])
    return json_answer(job_body(job))


@api.delete("/v1/jobs/<id>", responses=answers({204: "The results are removed"}, 404, 409))
def delete_job(path: IdPath) -> Response:
    """Remove a job's results.

    Only of a job that has ended and from which no live job starts. Doing it twice does no harm.
    """
    here = services()
    here.table.delete(path.id)  # first the row: nobody is shown frames that are being removed
    here.store.delete_prefix(job_prefix(path.id))
    return Response(status=204)


def _wait(here: Services, job_id: str, known: str | None, seconds: float) -> Job:
    """The job when its state is not `known` any more, has ended, or the time is over."""
    end = time.monotonic() + seconds
    cursor: str | None = here.events.cursor(job_id)
    job = find_job(here, job_id)
    known, gone = known or str(job.state), departure()
    while job.state == known and not job.final and not shutdown.stopping() and not gone():
        left = end - time.monotonic()
        if left <= 0:
            break
        cursor = here.events.wait(job_id, cursor, min(left, LOOK_S))
        job = find_job(here, job_id)
    return job


def _readings(text: str) -> list[tuple[str, str]]:
    """The tags that read `text`: keys and values may hold the characters that stand between them."""
    return [(text[:i], text[i + 1 :]) for i, character in enumerate(text) if character in ":="]
