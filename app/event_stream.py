"""Generates the server-sent events of a job. The job table has the truth; wake-ups only say when to read it again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app import shutdown
from app.services import Services
from app.timeline import RecordedStep, Timeline
from app.views import json_text
from app.wake_ups import WakeUps
from leym.contract.problems import Problem
from leym.contract.records import Job
from leym.frames.layout import ArraySpec, arrays_of
from leym.frames.reader import FrameReader

log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
POLL_S = 1.0  # the longest wait, since this process may be asked to stop and the client may disconnect
RETRY_MS = 1000


def generate_events(
    services: Services, job: Job, seen: int, after: int, cursor: str | None, has_disconnected: Callable[[], bool]
) -> Iterator[str]:
    """Yield the events of a job as text, until the job or the connection ends.

    Args:
        services: The services of the job's project.
        job: The job, from `hide_removed`.
        seen: The last step that the reader has received, which it sends when it reconnects; -1 for none.
        after: The step after which events begin; -1 for all events.
        cursor: Position in the wake-ups, taken before `job` was read, so that none is lost in between.
        has_disconnected: Returns whether the client has closed its connection.
    """
    yield f"retry: {RETRY_MS}\n\n"
    try:
        yield from _follow(services, job, seen, after, cursor, has_disconnected)
    except (Problem, OSError, SQLAlchemyError) as error:  # the response has begun, so it can only end; clients resume
        log.warning("ending the event stream of job %s early: %s", job.id, error)


def _follow(
    services: Services, job: Job, seen: int, after: int, cursor: str | None, has_disconnected: Callable[[], bool]
) -> Iterator[str]:
    wake_ups = WakeUps(services.events, job.results, cursor)
    arrays, last_state, last_sent = arrays_of(job), "", time.monotonic()
    shown: Job | None = None  # the row as of the last events
    while True:
        if job != shown:
            sent, shown = False, job
            if job.state != last_state and not job.final:
                last_state = str(job.state)
                yield format_event("state", state_data(job))
                sent = True
            for recorded in _recorded_steps(services, job, arrays, after):
                seen = after = recorded.step
                data = {"step": recorded.step, "fields": recorded.fields, "observables": recorded.observables}
                yield format_event("frame", data, recorded.step)
                sent = True
            if job.is_training and job.observables_last and job.step > after:
                seen = after = job.step
                yield format_event("progress", progress_data(job), job.step)
                sent = True
            if job.final:
                yield format_event("state", state_data(job))
                end = max(job.step, after, 0)
                yield format_event("end", {"state": str(job.state), "step": job.step}, end if end > seen else None)
                return
            if sent:
                last_sent = time.monotonic()
        if shutdown.stopping() or has_disconnected():
            return
        now = time.monotonic()
        if now - last_sent >= HEARTBEAT_S:
            last_sent = now
            yield ": still here\n\n"
        if wake_ups.wait(min(POLL_S, last_sent + HEARTBEAT_S - now)):
            job = hide_removed(services.table.get(job.id))


def _recorded_steps(services: Services, job: Job, arrays: list[ArraySpec], after: int) -> Iterator[RecordedStep]:
    if not job.manifest:
        return iter(())  # nothing is committed
    reader = FrameReader(services.store, job, partial(services.table.get, job.id))
    return Timeline(job, arrays).recorded_steps(reader, after)


def has_ended_at(job: Job, step: int) -> bool:
    """Return whether a job has ended and has no frames after a step."""
    return job.final and step >= job.step and next(Timeline(job).steps(step), None) is None


def hide_removed(job: Job) -> Job:
    """Return a job without frames if its results were deleted or have expired: its stream still tells how it ended."""
    return replace(job, manifest={}) if job.gone(time.time()) else job


def state_data(job: Job) -> dict[str, Any]:
    """Return the data of a `state` event."""
    return {"id": job.id, "state": str(job.state), "step": job.step, "steps": job.steps, "error": job.error}


def progress_data(job: Job) -> dict[str, Any]:
    """Return the data of a `progress` event."""
    return {"step": job.step, "steps": job.steps, "observables": job.observables_last or {}}


def format_event(name: str, data: dict[str, Any], event_id: int | str | None = None) -> str:
    """Return a server-sent event as text; without an id, the reader keeps the last one."""
    id_line = "" if event_id is None else f"id: {event_id}\n"
    return f"{id_line}event: {name}\ndata: {json_text(data)}\n\n"
