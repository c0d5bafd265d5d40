"""Live events of a job as server-sent events. The job table says what happened; Redis only says when to look."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from flask import Response
from sqlalchemy.exc import SQLAlchemyError

from app import metrics, shutdown
from app.lookup import find_job
from app.models import EventsHeader, EventsQuery, IdPath, JobEvent
from app.openapi import EVENTS, answers, media, router
from app.places import departure, stream_place
from app.services import Services, services
from app.timeline import Timeline
from app.views import json_text
from leym.contract.problems import Problem
from leym.contract.records import Job
from leym.frames.layout import arrays_of
from leym.frames.reader import FrameReader

api = router("events", "Live events")
log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
LOOK_S = 1.0  # the row is read at least this often: wake-ups may be lost, and the process may be asked to end
RETRY_MS = 1000

STREAM = media(
    "`event: frame` (id: its step; data: step, fields, observables) for each step at which something was recorded, in "
    "order, once it can be read; `event: state` (data: id, state, step, steps, error) when the state has changed; "
    "`event: end` after the final state (id: the step at which the job ended, unless a frame had it).",
    EVENTS,
    schema=JobEvent,
)
ANSWERS = answers({200: STREAM, 204: "The job has ended, and this was its last step"}, 404, 410)
UNCACHED = {"Cache-Control": "no-store"}


@api.get("/v1/jobs/<id>/events", responses=ANSWERS)
def stream_events(header: EventsHeader, path: IdPath, query: EventsQuery) -> Response:
    """Follow a job.

    All events from the first step on, or with `Last-Event-ID` those after that step; then new ones as they come, until
    the job has ended. A reader that comes back (`Last-Event-ID`) to a job that has ended, and has seen its last step,
    is answered 204, at which an EventSource stops reconnecting.
    """
    here = services()
    seen = _step(header.last_event_id)
    after = seen if header.last_event_id else _step(query.last_event_id)
    cursor = here.events.cursor(path.id)  # before the row is read, so that no wake-up falls in between
    job = _readable(find_job(here, path.id))
    if header.last_event_id and _has_all(job, seen):  # a first request that begins there is sent the end
        return Response(status=204, headers=UNCACHED)
    give_back = stream_place()
    metrics.STREAMS.inc()
    events = _events(here, job, seen, after, cursor, departure())
    response = Response(events, content_type=f"{EVENTS}; charset=utf-8")
    response.call_on_close(give_back)
    response.headers.update(UNCACHED)
    response.headers["X-Accel-Buffering"] = "no"  # nginx would collect events
    return response


def _events(
    here: Services, job: Job, seen: int, after: int, cursor: str | None, left: Callable[[], bool]
) -> Iterator[str]:
    yield f"retry: {RETRY_MS}\n\n"
    try:
        yield from _follow(here, job, seen, after, cursor, left)
    except (Problem, OSError, SQLAlchemyError) as error:  # the answer has begun: all it can do is end, to be resumed
        log.warning("event stream of job %s cut: %s", job.id, error)


def _follow(
    here: Services, job: Job, seen: int, after: int, cursor: str | None, left: Callable[[], bool]
) -> Iterator[str]:
    """Every event behind the step `after`.

    Args:
        seen: the last id that the reader has, which it sends when it comes back.
        left: whether the reader has closed its connection.
    """
    arrays, shown, spoke = arrays_of(job), "", time.monotonic()
    while True:
        said = False
        if job.state != shown and not job.final:
            shown = str(job.state)
            yield _event("state", _state(job))
            said = True
        reader = FrameReader(here.store, job, partial(here.table.get, job.id))
        for moment in Timeline(job, arrays).moments(reader, after):
            seen = after = moment.step
            data = {"step": moment.step, "fields": moment.fields, "observables": moment.observables}
            yield _event("frame", data, moment.step)
            said = True
        if job.final:
            yield _event("state", _state(job))
            end = max(job.step, after, 0)
            yield _event("end", {"state": str(job.state), "step": job.step}, end if end > seen else None)
            return
        if shutdown.stopping() or left():
            return
        now = time.monotonic()
        if said:
            spoke = now
        elif now - spoke >= HEARTBEAT_S:
            spoke = now
            yield ": still here\n\n"
        cursor = here.events.wait(job.id, cursor, min(LOOK_S, spoke + HEARTBEAT_S - now))
        job = _readable(here.table.get(job.id))


def _has_all(job: Job, after: int) -> bool:
    """Return whether the job has ended with this step, so that no frame comes after it."""
    return job.final and after >= job.step and next(Timeline(job).steps(after), None) is None


def _readable(job: Job) -> Job:
    """Of a job deleted meanwhile or expired, the end that it had must still be told, without its frames."""
    return replace(job, manifest={}) if job.gone(time.time()) else job


def _state(job: Job) -> dict[str, Any]:
    return {"id": job.id, "state": str(job.state), "step": job.step, "steps": job.steps, "error": job.error}


def _event(name: str, data: dict[str, Any], ident: int | None = None) -> str:
    head = "" if ident is None else f"id: {ident}\n"
    return f"{head}event: {name}\ndata: {json_text(data)}\n\n"


def _step(text: str | None) -> int:
    """-1 when nothing was seen yet."""
    return int(text) if text else -1
