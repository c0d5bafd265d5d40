"""Jobs: submit, list, get, wait, cancel, delete."""

from __future__ import annotations

from flask import Response

from app import cancellation, submission
from app.concurrency_limits import acquire_stream
from app.disconnects import disconnect_check
from app.long_poll import wait_for_change
from app.lookup import find_job
from app.models.base import IdempotencyHeader, IdPath
from app.models.jobs import HistoryBody, JobBody, JobPage, JobsQuery, WaitQuery
from app.models.labels import LabelsBody
from app.openapi import json_content, operation_links, responses, router, use_pydantic_schema
from app.reasons import body_with_reason
from app.routes.lineage import REUSED, submitted
from app.services import Services, current_services
from app.sweep_tables import with_observables
from app.views import history_event, job_body, json_response
from leym.contract.spec import JobSpec
from leym.frames.layout import job_prefix

api = router("jobs", "Universes to run")
use_pydantic_schema(JobSpec)

JOB_LINKS = operation_links(
    "get_job", "cancel_job", "delete_job", "list_fields", "get_observables", "stream_events", "share_job",
    id="$response.body#/id",
)  # fmt: skip
ACCEPTED = json_content(JobBody, "The job was accepted", JOB_LINKS, Location="path of the job")


@api.post("/v1/jobs", responses=responses({200: REUSED, 202: ACCEPTED}, 413, 415, 507))
def submit_job(header: IdempotencyHeader, body: JobSpec) -> Response:
    """Submit a job.

    The job is durable once this answers. With an `Idempotency-Key`, a repeated request returns the first job; the same
    key with another body is refused. With `reuse`, a job that has computed the same universe, or computes it, is
    returned with status 200.
    """
    return submitted(submission.submit_job(current_services(), body, header.idempotency_key))


@api.get("/v1/jobs", responses=responses({200: JobPage}))
def list_jobs(query: JobsQuery) -> Response:
    """List jobs, newest first.

    The members of a sweep are listed with `sweep`, those with the greatest index first. Without it, the list has single
    jobs, and the members of sweeps that version 0.1.0 accepted.
    """
    found, following = current_services().table.list(
        state=query.state,
        law=query.law,
        tags=None if query.tag is None else _possible_tags(query.tag),
        sweep=query.sweep,
        starred=query.starred,
        q=query.q,
        limit=query.limit,
        cursor=query.cursor,
    )
    return json_response({"items": [job_body(job) for job in found], "next": following})


@api.get("/v1/jobs/<id>", responses=responses({200: JobBody}, 404, 410))
def get_job(path: IdPath, query: WaitQuery) -> Response:
    """Get a job.

    With `wait`, the response comes as soon as the state differs from `state`, or when the seconds are over.
    """
    return job_response(current_services(), path.id, query)


@api.get("/v1/jobs/<id>/history", responses=responses({200: HistoryBody}, 404, 410))
def get_history(path: IdPath) -> Response:
    """Get what happened to a job: submission, claims by workers, returns to the queue, and the end.

    That of a member of a sweep is the one of its block, and ends with the member.
    """
    services = current_services()
    find_job(services, path.id)
    events = services.table.history(path.id)
    return json_response({"items": [history_event(event) for event in events], "next": None})


def job_response(services: Services, job_id: str, query: WaitQuery) -> Response:
    """Answer with a job, as `get_job` does."""
    if not query.wait:
        return json_response(body_with_reason(services, with_observables(services, find_job(services, job_id))))
    release = acquire_stream()
    try:
        job = wait_for_change(services, job_id, query.state, query.wait, disconnect_check())
        return json_response(body_with_reason(services, with_observables(services, job)))
    finally:
        release()


@api.post("/v1/jobs/<id>/cancel", responses=responses({200: JobBody}, 404, 410, 415))
def cancel_job(path: IdPath) -> Response:
    """Cancel a job.

    Its recorded results stay. A job that has ended is not changed.
    """
    return json_response(job_body(cancellation.cancel_job(current_services(), path.id)))


@api.patch("/v1/jobs/<id>", responses=responses({200: JobBody}, 404, 409, 410, 415))
def change_job(path: IdPath, body: LabelsBody) -> Response:
    """Change the labels of a job: its name, note, star and tags.

    They are no part of its spec, and change no result. A member of a sweep has none of its own (409).
    """
    services = current_services()
    services.table.label_job(path.id, **body.labels())
    return json_response(job_body(find_job(services, path.id)))


@api.delete("/v1/jobs/<id>", responses=responses({204: "The results are removed"}, 404, 409))
def delete_job(path: IdPath) -> Response:
    """Remove a job's results.

    The job must have ended, and no live job may start from it. Repeating the request does no harm.
    """
    services = current_services()
    services.table.delete(path.id)  # the row first, so that nobody finds frames that are being removed
    services.store.delete_prefix(job_prefix(path.id))
    return Response(status=204)


def _possible_tags(text: str) -> list[tuple[str, str]]:
    """Return every way to split `text` into key and value, since both may contain the separators `:` and `=`."""
    return [(text[:i], text[i + 1 :]) for i, character in enumerate(text) if character in ":="]
