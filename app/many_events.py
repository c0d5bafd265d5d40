"""Generates the server-sent events of many jobs in one stream.

The id of an event is the reader's position in every job that is still followed, so a reader who comes back with the
last id gets exactly what it has missed, whichever process it reaches.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app import shutdown
from app.event_stream import HEARTBEAT_S, POLL_S, RETRY_MS, format_event, hide_removed, progress_data, state_data
from app.services import Services
from app.timeline import Timeline
from leym.contract.problems import Problem
from leym.contract.records import Job
from leym.frames.reader import FrameReader

log = logging.getLogger(__name__)

MAX_JOBS = 100  # their positions fit into a header, which has at most 8 KiB
PAUSE_S = 0.2  # between two readings of the rows: with many jobs, something is committed all the time
ENDED = "end"


@dataclass(frozen=True)
class Selection:
    """Jobs of a stream: either named, or the newest that match a filter at any time.

    Attributes:
        jobs: Ids of named jobs; None for a filter.
        sweep: Only members of this sweep.
        state: Only jobs in this state.
    """

    jobs: tuple[str, ...] | None = None
    sweep: str | None = None
    state: str | None = None

    def read(self, services: Services, also: Sequence[str]) -> list[Job]:
        """Return the jobs of the selection, and the jobs `also` that a reader follows although they match no more."""
        if self.jobs is not None:
            return services.table.find(self.jobs)
        found, _ = services.table.list(state=self.state, sweep=self.sweep, limit=MAX_JOBS)
        ids = {job.id for job in found}
        return found + services.table.find([job_id for job_id in also if job_id not in ids])


class ManyEvents:
    """One reader of the events of many jobs."""

    def __init__(self, services: Services, selection: Selection, last_id: str, replay: bool):
        """Set up the stream; `generate` runs it.

        Args:
            services: The services of the jobs' project.
            selection: The jobs.
            last_id: Id of the last event that the reader has; empty for a new reader.
            replay: Begin with everything that is recorded; otherwise with what comes. Jobs in `last_id` go on.
        """
        self._services, self._selection, self._replay = services, selection, replay
        self._steps, self._ended = _parse(last_id)
        self._states: dict[str, str] = {}  # told on this connection

    def has_ended(self) -> bool:
        """Return True if the jobs were named, and the reader has the end of each."""
        return self._selection.jobs is not None and self._ended.issuperset(self._selection.jobs)

    def generate(self, cursor: str | None, has_disconnected: Callable[[], bool]) -> Iterator[str]:
        """Yield events as text, until the named jobs have ended or the connection ends.

        Args:
            cursor: Position in the wake-ups, so that none is lost before the first reading.
            has_disconnected: Returns whether the client has closed its connection.
        """
        yield f"retry: {RETRY_MS}\n\n"
        try:
            yield from self._follow(cursor, has_disconnected)
        except (Problem, OSError, SQLAlchemyError) as error:  # the response has begun, so it can only end
            log.warning("ending an event stream of many jobs early: %s", error)

    def _follow(self, cursor: str | None, has_disconnected: Callable[[], bool]) -> Iterator[str]:
        last_sent = time.monotonic()
        while True:
            jobs = self._selection.read(self._services, list(self._steps))
            self._forget(jobs)
            for job in jobs:
                for text in self._events(hide_removed(job)):
                    yield text
                    last_sent = time.monotonic()
                if shutdown.stopping() or has_disconnected():
                    return
            if self.has_ended() or shutdown.stopping() or has_disconnected():
                return
            if time.monotonic() - last_sent >= HEARTBEAT_S:
                last_sent = time.monotonic()
                yield ": still here\n\n"
            time.sleep(PAUSE_S)
            cursor = self._services.events.wait(None, cursor, POLL_S)

    def _forget(self, jobs: Sequence[Job]) -> None:
        """Drop what is known of jobs that neither match nor are followed any more."""
        present = {job.id for job in jobs}
        self._states = {job_id: state for job_id, state in self._states.items() if job_id in present}
        self._steps = {job_id: step for job_id, step in self._steps.items() if job_id in present}
        self._ended &= present

    def _events(self, job: Job) -> Iterator[str]:
        """Yield what the reader does not have of one job yet."""
        if job.id in self._ended:
            return
        is_new = job.id not in self._steps
        after = self._steps.setdefault(job.id, -1 if self._replay else job.step or -1)  # at 0, frame 0 may be to come
        if self._states.get(job.id) != job.state and not job.final:
            self._states[job.id] = str(job.state)
            yield self._event("state", state_data(job), job)
        reader = FrameReader(self._services.store, job, partial(self._services.table.get, job.id))
        for recorded in Timeline(job).recorded_steps(reader, after):
            self._steps[job.id] = recorded.step
            data = {"step": recorded.step, "fields": recorded.fields, "observables": recorded.observables}
            yield self._event("frame", data, job)
        if job.step > max(self._steps[job.id], 0):
            self._steps[job.id] = job.step
            yield self._event("progress", progress_data(job), job)
        if job.final:
            yield self._event("state", state_data(job), job)  # before the job is marked: a reader without `end` gets it
            del self._steps[job.id]
            self._ended.add(job.id)
            if not is_new or self._selection.jobs is not None:
                yield self._event("end", {"state": str(job.state), "step": job.step}, job)

    def _event(self, name: str, data: dict[str, Any], job: Job) -> str:
        """Return an event whose id is the reader's position after it."""
        followed = [f"{job_id}:{step}" for job_id, step in self._steps.items()]
        if self._selection.jobs is not None:
            followed += [f"{job_id}:{ENDED}" for job_id in sorted(self._ended)]
        data = {"job": job.id} | {key: value for key, value in data.items() if key != "id"}
        return format_event(name, data, ",".join(followed))


def _parse(last_id: str) -> tuple[dict[str, int], set[str]]:
    """Return the last steps of followed jobs, and the jobs whose end the reader has."""
    pairs = [pair.split(":") for pair in last_id.split(",") if pair]
    steps = {job_id: int(step) for job_id, step in pairs if step != ENDED}
    return steps, {job_id for job_id, step in pairs if step == ENDED}
