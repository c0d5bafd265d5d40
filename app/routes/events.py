"""Live events of a job as server-sent events."""

from __future__ import annotations

from flask import Response

from app import metrics
from app.concurrency_limits import acquire_stream
from app.disconnects import disconnect_check
from app.event_stream import generate_events, has_ended_at, hide_removed
from app.lookup import find_job
from app.models.base import IdPath
from app.models.jobs import EventsHeader, EventsQuery, JobEvent
from app.openapi import EVENTS, content, responses, router
from app.services import Services, current_services

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
    release = acquire_stream()
    metrics.STREAMS.inc()
    events = generate_events(services, job, seen, after, cursor, disconnect_check())
    response = Response(events, content_type=f"{EVENTS}; charset=utf-8")
    response.call_on_close(release)
    response.headers.update(NOT_CACHED)
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
    return response


def _step(text: str | None) -> int:
    """Return the step of an event id; -1 if there is none."""
    return int(text) if text else -1
