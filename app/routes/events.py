"""Live events of one job or of many as server-sent events."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Response

from app import metrics
from app.concurrency_limits import acquire_stream
from app.disconnects import disconnect_check
from app.event_stream import generate_events, has_ended_at, hide_removed
from app.lookup import find_job
from app.many_events import ManyEvents, Selection
from app.models.base import IdPath
from app.models.jobs import EventsHeader, EventsQuery, JobEvent, ManyEventsHeader, ManyEventsQuery, ManyJobsEvent
from app.openapi import EVENTS, content, responses, router
from app.services import Services, current_services
from leym.contract.problems import invalid, not_found

api = router("events", "Live events")

STREAM = content(
    "`event: frame` (id: the step; data: step, fields, observables) for each step at which something was recorded, in "
    "order and as soon as it can be read; `event: progress` (id: the step; data: step, steps, observables) for the "
    "newest losses of a training; `event: state` (data: id, state, step, steps, error) when the state has "
    "changed; `event: end` after the final state (id: the step at which the job ended, unless a frame had it).",
    EVENTS,
    schema=JobEvent,
)
RESPONSES = responses({200: STREAM, 204: "The job has ended, and the client has all of its events"}, 404, 410)
MANY = content(
    "As the events of one job, with `job` in the data; the id is the reader's position in all jobs that are followed. "
    "The stream begins with the `state` of each job. `event: progress` (data: job, step, steps, observables) tells "
    "each committed step that has no frame.",
    EVENTS,
    schema=ManyJobsEvent,
)
MANY_RESPONSES = responses(
    {200: MANY, 204: "The named jobs have ended, and the client has all of their events"}, 404, 410
)
NOT_CACHED = {"Cache-Control": "no-store"}


@api.get("/v1/jobs/<id>/events", responses=RESPONSES)
def stream_events(header: EventsHeader, path: IdPath, query: EventsQuery) -> Response:
    """Follow a job.

    The stream has all events from the first step on, or with `Last-Event-ID` those after that step; then new ones as
    they happen, until the job has ended. A client that reconnects (`Last-Event-ID`) after the job's last step gets a
    204, at which an EventSource stops reconnecting.
    """
    return events_response(current_services(), path.id, header, query)


def events_response(services: Services, job_id: str, header: EventsHeader, query: EventsQuery) -> Response:
    """Answer with the events of a job, as `stream_events` does."""
    seen = _step(header.last_event_id)
    after = seen if header.last_event_id else _step(query.last_event_id)
    cursor = services.events.cursor(job_id)  # before the row is read, so that no wake-up is lost in between
    job = hide_removed(find_job(services, job_id))
    if header.last_event_id and has_ended_at(job, seen):  # with the query instead, a first request still gets the end
        return Response(status=204, headers=NOT_CACHED)
    return _stream(generate_events(services, job, seen, after, cursor, disconnect_check()))


@api.get("/v1/events", responses=MANY_RESPONSES)
def stream_many_events(header: ManyEventsHeader, query: ManyEventsQuery) -> Response:
    """Follow many jobs in one stream.

    The jobs are named (`jobs`), or those that match `sweep` and `state`: the newest 100 at any time, so new jobs join.
    With `Last-Event-ID` the stream goes on after that event, without gap or repeat; only states may be told again.
    """
    services = current_services()
    named = tuple(dict.fromkeys(query.jobs.split(","))) if query.jobs else None
    _check(query)
    if query.sweep:
        services.table.get_sweep(query.sweep)  # raises 404
    if named:
        known = {job.id for job in services.table.find(named)}
        if unknown := [job_id for job_id in named if job_id not in known]:
            raise not_found("job", unknown[0])
    last_id = header.last_event_id or query.last_event_id or ""
    cursor = services.events.cursor(None)
    many = ManyEvents(services, Selection(named, query.sweep, query.state), last_id, query.replay)
    if header.last_event_id and many.has_ended():
        return Response(status=204, headers=NOT_CACHED)
    return _stream(many.generate(cursor, disconnect_check()))


def _check(query: ManyEventsQuery) -> None:
    """Raise Problem 422 for parameters that exclude each other."""
    for name in ("sweep", "state"):
        if query.jobs and getattr(query, name):
            raise invalid(f"{name} = {getattr(query, name)!r}: jobs are named already, by `jobs`", f"/{name}")
    if query.replay and not query.jobs:
        raise invalid("replay = true needs the jobs by name: `jobs`", "/replay")


def _stream(events: Iterator[str]) -> Response:
    """Answer with events, which count as a stream of the caller until the response ends."""
    release = acquire_stream()
    metrics.STREAMS.inc()
    response = Response(events, content_type=f"{EVENTS}; charset=utf-8")
    response.call_on_close(release)
    response.headers.update(NOT_CACHED)
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
    return response


def _step(text: str | None) -> int:
    """Return the step of an event id; -1 if there is none."""
    return int(text) if text else -1
