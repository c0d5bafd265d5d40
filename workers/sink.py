"""JobSink: where a run's results go. Data first, then the fenced commit, then the event."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError

from leym.engine.engine import Engine
from leym.engine.run import Arrays, Run
from leym.events import Events
from leym.frames.checkpoint import put_checkpoint, stale_checkpoints
from leym.frames.store import Store
from leym.frames.writer import FrameWriter
from leym.jobs.records import Fenced, Job, JobState
from leym.jobs.table import JobTable
from leym.problems import Problem

log = logging.getLogger(__name__)

Result = TypeVar("Result")
P = ParamSpec("P")

LATER = (OSError, OperationalError, InterfaceError)  # of the store or the table: trying again may help
PAUSE_S = (0.2, 10.0)  # first and longest pause between two tries
LAST_TRIES = 3  # while the worker is ending


def results(method: Callable[Concatenate[JobSink, P], None]) -> Callable[Concatenate[JobSink, P], None]:
    """Of a method that takes results: nothing comes after the outcome, and a defect ends the job's stay here. Its lease
    runs out then, and another attempt begins, one of a few."""

    @wraps(method)
    def guarded(self: JobSink, *args: P.args, **kwargs: P.kwargs) -> None:
        if self.outcome.done():
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            log.exception("job %s: its results cannot be saved", self.job.id)
            self.engine.cancel(self.run.id)
            if not self.outcome.done():
                self.outcome.set_result({"job": self.job.id, "state": "left", "why": repr(error)})

    return guarded


class JobSink:
    """Receives one claimed job's results (see `leym.engine.run.Sink`) and ends its `outcome`.

    outcome: what Flower shows, or the exception by which the pool lets go of the ticket.
    """

    run: Run
    writer: FrameWriter

    def __init__(
        self,
        job: Job,
        *,
        table: JobTable,
        store: Store,
        events: Events,
        engine: Engine,
        commit_s: float,
        admitted: Callable[[], None],
        handed_back: Callable[[], BaseException],
        draining: Callable[[], bool],
    ):
        self.job, self.table, self.store, self.events, self.engine = job, table, store, events, engine
        self.outcome: Future[dict[str, Any]] = Future()
        self.commit_s = commit_s
        self._admitted, self._handed_back, self._draining = admitted, handed_back, draining
        self._committed_at = 0.0
        self._observed: dict[str, float] | None = None
        self._troubled = False

    # --- called by the engine's courier, one call at a time

    @results
    def admitted(self) -> None:
        first = self.run.start.step if self.run.start else 0
        self.writer.describe(first, self.engine.attributes(self.run))
        self._admitted()

    @results
    def frames(self, step: int, fields: Arrays, observables: Mapping[str, float]) -> None:
        self.writer.append(step, fields, observables)
        if observables:
            self._observed = dict(observables)
        self.progress(step)

    @results
    def progress(self, step: int) -> None:
        if time.monotonic() - self._committed_at < self.commit_s:
            return
        try:
            self._commit(step)
        except Fenced as fenced:
            self.lost(str(fenced))
        except LATER as error:
            self._trouble(error)  # what is not saved stays in memory, and the next call tries again

    @results
    def checkpoint(self, step: int, arrays: Arrays) -> None:
        saved = self._insist(lambda: put_checkpoint(self.store, self.job.id, self.job.epoch, step, arrays))
        if saved and self._insist(lambda: self._commit(step, saved)):
            self._remove(lambda: stale_checkpoints(self.store, self.job.id, saved))

    @results
    def finished(self, step: int, arrays: Arrays) -> None:
        saved = self._insist(lambda: put_checkpoint(self.store, self.job.id, self.job.epoch, step, arrays))
        if saved and self._end(JobState.SUCCEEDED, step, checkpoint=saved):
            self._remove(lambda: stale_checkpoints(self.store, self.job.id, saved))

    @results
    def failed(self, step: int, problem: Problem) -> None:
        self._end(JobState.FAILED, step, error=problem.as_dict())

    @results
    def released(self) -> None:
        try:
            self.table.hand_back(self.job.id, self.job.epoch)
        except LATER as error:
            log.warning("job %s was not handed back (%s); its lease returns it", self.job.id, error)
        self.events.announce(self.job.id, self.job.step, JobState.QUEUED)
        self._leave_with(self._handed_back())

    # --- called by the host

    def lost(self, why: str) -> None:
        """The job is no longer ours: write nothing more of it."""
        log.info("job %s given up: %s", self.job.id, why)
        self.engine.cancel(self.run.id)
        if not self.outcome.done():
            self.outcome.set_result({"job": self.job.id, "state": "given up", "why": why})

    def leave(self, reason: BaseException) -> None:
        """Free the slot and end the outcome by `reason`."""
        self.engine.cancel(self.run.id)
        self._leave_with(reason)

    def check_deadline(self) -> None:
        """Fail the job when its time is over; what is committed stays."""
        limit = self.job.spec.get("deadline_s")
        if limit is None or time.time() <= self.job.created_at + limit or self.outcome.done():
            return
        self.engine.cancel(self.run.id)
        detail = f"deadline_s = {limit:g} passed before the job ended"
        error = Problem(422, "Deadline passed", detail, errors=[{"pointer": "/deadline_s", "detail": detail}]).as_dict()
        now = self.table.get(self.job.id)
        try:
            self.table.finish(
                now.id, self.job.epoch, JobState.FAILED, step=now.step, manifest=now.manifest, error=error
            )
        except Fenced as fenced:
            self.lost(str(fenced))
            return
        self.events.announce(now.id, now.step, JobState.FAILED)
        self.outcome.set_result({"job": now.id, "state": "failed", "error": detail})

    # --- inside

    def _commit(self, step: int, checkpoint: dict[str, Any] | None = None) -> bool:
        manifest = self.writer.flush()
        self.table.commit(
            self.job.id,
            self.job.epoch,
            step=step,
            manifest=manifest,
            checkpoint=checkpoint,
            observables_last=self._observed,
        )
        self._committed_at = time.monotonic()
        if self._troubled:
            log.info("job %s: saving works again", self.job.id)
            self._troubled = False
        self.events.announce(self.job.id, step, JobState.RUNNING)
        self._remove(self.writer.superseded)
        return True

    def _end(
        self,
        state: JobState,
        step: int,
        *,
        error: dict[str, Any] | None = None,
        checkpoint: dict[str, Any] | None = None,
    ) -> bool:
        def end() -> bool:
            self.table.finish(
                self.job.id,
                self.job.epoch,
                state,
                step=step,
                manifest=self.writer.flush(),
                error=error,
                observables_last=self._observed,
                checkpoint=checkpoint,
            )
            return True

        if not self._insist(end):
            return False
        self.events.announce(self.job.id, step, state)
        self._remove(self.writer.superseded)
        answer = {"job": self.job.id, "state": str(state), "step": step}
        self.outcome.set_result(answer | ({"error": error["detail"]} if error else {}))
        return True

    def _insist(self, action: Callable[[], Result]) -> Result | None:
        """Try until it works. None: the job is not ours any more, or the worker ends and cannot wait."""
        pause, tries = PAUSE_S[0], 0
        while not self.outcome.done():
            try:
                return action()
            except Fenced as fenced:
                self.lost(str(fenced))
                return None
            except LATER as error:
                self._trouble(error)
            tries += 1
            if self._draining() and tries >= LAST_TRIES:
                self._leave_with(self._handed_back())
                return None
            time.sleep(pause)
            pause = min(pause * 2, PAUSE_S[1])
        return None

    def _remove(self, keys: Callable[[], list[str]]) -> None:
        """Delete objects that nothing names any more; a failure leaves garbage and no harm."""
        try:
            if found := keys():
                self.store.delete(found)
        except OSError as error:
            log.warning("job %s: old objects stay in the store: %s", self.job.id, error)

    def _trouble(self, error: Exception) -> None:
        if not self._troubled:
            log.warning("job %s: saving fails, trying again: %s", self.job.id, error)
        self._troubled = True

    def _leave_with(self, reason: BaseException) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(reason)
