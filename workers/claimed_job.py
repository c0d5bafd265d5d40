"""ClaimedJob: a job in this worker, from its claim until it ends or leaves.

Its future `outcome` is set once, to one of

    result {"state": "succeeded" | "failed", …}   the row is final
    result {"state": "given up", "why": …}        the row belongs to somebody else or has ended: nothing more is written
    result {"state": "interrupted", "why": …}     an unexpected error; the lease expires and another attempt begins
    exception HandedBack                          the worker ends; the row is queued again
    exception Revoked                             the ticket was revoked
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from leym.common.backoff import Backoff
from leym.contract.records import Fenced, Job, JobState
from leym.events import Events
from leym.frames.stores.base import Store
from leym.jobs.table import JobTable
from workers.outages import STORE_OR_TABLE_UNAVAILABLE

log = logging.getLogger(__name__)

Result = TypeVar("Result")

RETRY = Backoff(0.2, longest_s=10.0)
LAST_TRIES = 3  # while the worker is ending


class HandedBack(BaseException):
    """The job leaves this worker unfinished and another worker continues it.

    Not an Exception: Celery must not report a failure.
    """


class Revoked(HandedBack):
    """The ticket was revoked; Celery has announced and acknowledged that already."""


@dataclass(frozen=True)
class WorkerContext:
    """The parts of a worker that a claimed job uses.

    Attributes:
        table: Where its commits go.
        store: Where its frames and checkpoints go.
        events: Where its commits are announced.
        commit_s: Least number of seconds between two commits of progress.
        on_admitted: To be called when the job has a slot.
        on_progress: To be called when the job has come further than any earlier attempt.
        draining: Returns whether the worker is ending.
    """

    table: JobTable
    store: Store
    events: Events
    commit_s: float
    on_admitted: Callable[[], None]
    on_progress: Callable[[], None]
    draining: Callable[[], bool]


class ClaimedJob(ABC):
    """Base class of a claimed job; subclasses do the work.

    Attributes:
        job: The row as it was claimed; every write names its epoch.
        context: The worker's parts that the job uses.
        outcome: How the job left this worker; see the module.
    """

    def __init__(self, job: Job, context: WorkerContext):
        self.job, self.context = job, context
        self.table, self.events = context.table, context.events
        self.outcome: Future[dict[str, Any]] = Future()
        self._committed_at = 0.0
        self._saving_fails = False

    @abstractmethod
    def start(self) -> None:
        """Start the work and return at once."""

    @abstractmethod
    def stop(self) -> None:
        """Free the job's share of the engine; may be called repeatedly, from any thread."""

    def steer(self) -> None:
        """Apply the interventions that users have asked for."""
        log.debug("job %s is no universe of its own, and cannot be steered", self.job.id)

    def hand_back(self) -> None:
        """Queue the job again, because the worker ends."""
        if self.outcome.done():
            return
        try:
            self.table.hand_back(self.job.id, self.job.epoch)
        except STORE_OR_TABLE_UNAVAILABLE as error:
            log.warning(
                "job %s was not handed back (%s); it is queued again when its lease expires", self.job.id, error
            )
        self.events.announce(self.job.id, self.job.step, JobState.QUEUED)
        self.end_with_exception(HandedBack())

    def give_up(self, why: str) -> None:
        """Stop and write nothing more, because this worker's claim is no longer valid."""
        log.info("job %s given up: %s", self.job.id, why)
        self.stop()
        self.end_with({"state": "given up", "why": why})

    def revoke(self) -> None:
        """Stop, because the job's ticket was revoked."""
        self.stop()
        self.end_with_exception(Revoked())

    def interrupt(self, error: Exception) -> None:
        """Stop after an unexpected error and leave the row as it is.

        Nobody renews the lease then; when it expires, another attempt begins, up to LEYM_MAX_ATTEMPTS.
        """
        self.stop()
        self.end_with({"state": "interrupted", "why": repr(error)})

    def fail_if_overdue(self) -> None:
        """Fail the job if its deadline has passed; committed results are kept.

        The job table ends the job in one transaction. `finish` with a manifest that was read before would name objects
        that a commit of the engine's thread replaces in between. Other overdue jobs fail too.
        """
        deadline = self.job.deadline_at
        if deadline is None or time.time() < deadline or self.outcome.done():
            return
        self.stop()
        failed = self.table.fail_overdue()
        for job in failed:
            self.events.announce(job.id, job.step, job.state)
        if any(job.id == self.job.id for job in failed):
            self.end_with({"state": "failed", "error": self.job.deadline_passed()["detail"]})
        else:
            self.give_up("it has ended, or was claimed by another worker")

    # --- for subclasses

    def end_with(self, result: dict[str, Any]) -> None:
        """Set the outcome to a result, unless it is set already."""
        if not self.outcome.done():
            self.outcome.set_result({"job": self.job.id} | result)

    def end_with_exception(self, reason: BaseException) -> None:
        """Set the outcome to an exception, unless it is set already."""
        if not self.outcome.done():
            self.outcome.set_exception(reason)

    def retry(self, action: Callable[[], Result]) -> Result | None:
        """Repeat an action until the store and the job table can be reached.

        Returns:
            The action's result. None if the claim is no longer valid, or if the worker ends and the last tries failed;
            the outcome is set then.
        """
        tries = 0
        while not self.outcome.done():
            try:
                return action()
            except Fenced as fenced:
                self.give_up(str(fenced))
                return None
            except STORE_OR_TABLE_UNAVAILABLE as error:
                self.note_save_error(error)
            tries += 1
            if self.context.draining() and tries >= LAST_TRIES:
                self.end_with_exception(HandedBack())
                return None
            time.sleep(RETRY.delay_s(tries - 1))
        return None

    def note_save_error(self, error: Exception) -> None:
        """Log the first of a series of failed saves."""
        if not self._saving_fails:
            log.warning("job %s: saving fails, trying again: %s", self.job.id, error)
        self._saving_fails = True

    def note_commit(self) -> None:
        """Record the time of a commit, and log it if saving failed before."""
        self._committed_at = time.monotonic()
        if self._saving_fails:
            log.info("job %s: saving works again", self.job.id)
            self._saving_fails = False

    def wants_commit(self) -> bool:
        """Return whether the last commit was at least `commit_s` seconds ago."""
        return time.monotonic() - self._committed_at >= self.context.commit_s
