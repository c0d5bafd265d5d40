"""Held: a job that this worker has claimed, until it leaves. What it does here is the business of its kinds."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError

from leym.common.backoff import Backoff
from leym.contract.records import Fenced, Job, JobState
from leym.events import Events
from leym.frames.stores.base import Store
from leym.jobs.table import JobTable

log = logging.getLogger(__name__)

Result = TypeVar("Result")

LATER = (OSError, OperationalError, InterfaceError)  # of the store or the table: trying again may help
RETRY = Backoff(0.2, longest_s=10.0)
LAST_TRIES = 3  # while the worker is ending


@dataclass(frozen=True)
class Place:
    """What a held job has of its host: where its results go, and how it leaves.

    admitted: to be called when it has a slot; proven: when it came further than any attempt before; handed_back: makes
    the exception by which the pool lets go of a ticket that another worker goes on with; commit_s: seconds between two
    commits.
    """

    table: JobTable
    store: Store
    events: Events
    commit_s: float
    admitted: Callable[[], None]
    proven: Callable[[], None]
    handed_back: Callable[[], BaseException]
    draining: Callable[[], bool]


class Held(ABC):
    """outcome: what Flower shows, or the exception by which the pool lets go of the ticket."""

    def __init__(self, job: Job, place: Place):
        self.job, self.place = job, place
        self.table, self.events = place.table, place.events
        self.outcome: Future[dict[str, Any]] = Future()
        self._committed_at = 0.0
        self._troubled = False

    @abstractmethod
    def begin(self) -> None:
        """Start the work; returns at once."""

    @abstractmethod
    def stop(self) -> None:
        """Free what the job has of the engine; called once or more often, from any thread."""

    def released(self) -> None:
        """The worker ends: give the job back to the queue."""
        try:
            self.table.hand_back(self.job.id, self.job.epoch)
        except LATER as error:
            log.warning("job %s was not handed back (%s); its lease returns it", self.job.id, error)
        self.events.announce(self.job.id, self.job.step, JobState.QUEUED)
        self.leave_with(self.place.handed_back())

    def lost(self, why: str) -> None:
        """The job is no longer ours: write nothing more of it."""
        log.info("job %s given up: %s", self.job.id, why)
        self.stop()
        self.answer({"state": "given up", "why": why})

    def leave(self, reason: BaseException) -> None:
        """Free the slot and end the outcome by `reason`."""
        self.stop()
        self.leave_with(reason)

    def check_deadline(self) -> None:
        """Fail the job when its time is over; what is committed stays."""
        deadline = self.job.deadline_at
        if deadline is None or time.time() < deadline or self.outcome.done():
            return
        self.stop()
        error = self.job.deadline_passed()
        now = self.table.get(self.job.id)
        try:
            self.table.finish(
                now.id, self.job.epoch, JobState.FAILED, step=now.step, manifest=now.manifest, error=error
            )
        except Fenced as fenced:
            self.lost(str(fenced))
            return
        self.events.announce(now.id, now.step, JobState.FAILED)
        self.answer({"state": "failed", "error": error["detail"]})

    # --- for the kinds

    def answer(self, said: dict[str, Any]) -> None:
        if not self.outcome.done():
            self.outcome.set_result({"job": self.job.id} | said)

    def leave_with(self, reason: BaseException) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(reason)

    def defect(self, error: Exception) -> None:
        """It ends its stay here; its lease runs out then, and another attempt begins, one of a few."""
        self.stop()
        self.answer({"state": "left", "why": repr(error)})

    def insist(self, action: Callable[[], Result]) -> Result | None:
        """Try until it works. None: the job is not ours any more, or the worker ends and cannot wait."""
        tries = 0
        while not self.outcome.done():
            try:
                return action()
            except Fenced as fenced:
                self.lost(str(fenced))
                return None
            except LATER as error:
                self.trouble(error)
            tries += 1
            if self.place.draining() and tries >= LAST_TRIES:
                self.leave_with(self.place.handed_back())
                return None
            time.sleep(RETRY.delay_s(tries - 1))
        return None

    def trouble(self, error: Exception) -> None:
        if not self._troubled:
            log.warning("job %s: saving fails, trying again: %s", self.job.id, error)
        self._troubled = True

    def saved(self) -> None:
        self._committed_at = time.monotonic()
        if self._troubled:
            log.info("job %s: saving works again", self.job.id)
            self._troubled = False

    def commit_is_due(self) -> bool:
        return time.monotonic() - self._committed_at >= self.place.commit_s
