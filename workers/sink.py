"""JobSink: where a run's results go. Data first, then the fenced commit, then the event."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from leym.contract.problems import Problem
from leym.contract.records import Fenced, Job, JobState
from leym.engine.engine import Engine
from leym.engine.run import Arrays, Run
from leym.frames.checkpoint import put_checkpoint, references, stale_checkpoints
from leym.frames.writer import FrameWriter
from workers.claimed_job import LATER, Held, Place

log = logging.getLogger(__name__)

P = ParamSpec("P")


def results(method: Callable[Concatenate[JobSink, P], None]) -> Callable[Concatenate[JobSink, P], None]:
    """Of a method that takes results: nothing comes after the outcome, and a defect ends the job's stay here."""

    @wraps(method)
    def guarded(self: JobSink, *args: P.args, **kwargs: P.kwargs) -> None:
        if self.outcome.done():
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            log.exception("job %s: its results cannot be saved", self.job.id)
            self.defect(error)

    return guarded


class JobSink(Held):
    """Receives one claimed job's results (see `leym.engine.run.Sink`)."""

    run: Run
    writer: FrameWriter

    def __init__(self, job: Job, place: Place, engine: Engine):
        super().__init__(job, place)
        self.store, self.engine = place.store, engine
        self.kept = job.checkpoint  # what can be gone on from: the next checkpoint names it as the one before
        self._observed: dict[str, float] | None = None

    def begin(self) -> None:
        self.engine.submit(self.run)

    def stop(self) -> None:
        self.engine.cancel(self.run.id)

    # --- called by the engine's courier, one call at a time

    @results
    def admitted(self) -> None:
        first = self.run.start.step if self.run.start else 0
        self.writer.start_segment(first, self.engine.attributes(self.run))
        self.place.admitted()

    @results
    def frames(self, step: int, fields: Arrays, observables: Mapping[str, float]) -> None:
        self.writer.append(step, fields, observables)
        if observables:
            self._observed = dict(observables)
        self.progress(step)

    @results
    def progress(self, step: int) -> None:
        if not self.commit_is_due():
            return
        try:
            self._commit(step)
        except Fenced as fenced:
            self.lost(str(fenced))
        except LATER as error:
            self.trouble(error)  # what is not saved stays in memory, and the next call tries again

    @results
    def checkpoint(self, step: int, arrays: Arrays) -> None:
        saved = self.insist(lambda: put_checkpoint(self.store, self.job.id, self.job.epoch, step, arrays, self.kept))
        if saved and self.insist(lambda: self._commit(step, saved)):
            self.kept = saved
            self._remove(lambda: stale_checkpoints(self.store, self.job.id, saved))

    @results
    def finished(self, step: int, arrays: Arrays) -> None:
        saved = self.insist(lambda: put_checkpoint(self.store, self.job.id, self.job.epoch, step, arrays))
        if saved and self._end(JobState.SUCCEEDED, step, checkpoint=saved):
            self._remove(lambda: stale_checkpoints(self.store, self.job.id, saved))

    @results
    def failed(self, step: int, problem: Problem) -> None:
        self._end(JobState.FAILED, step, error=problem.as_dict())

    @results
    def released(self) -> None:
        super().released()

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
            stored_bytes=self._stored_bytes(checkpoint),
        )
        self.saved()
        if step > self.job.step:
            self.place.proven()
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
            manifest = self.writer.flush()
            self.table.finish(
                self.job.id,
                self.job.epoch,
                state,
                step=step,
                manifest=manifest,
                error=error,
                observables_last=self._observed,
                checkpoint=checkpoint,
                stored_bytes=self._stored_bytes(checkpoint),
            )
            return True

        if not self.insist(end):
            return False
        self.events.announce(self.job.id, step, state)
        self._remove(self.writer.superseded)
        self.answer({"state": str(state), "step": step} | ({"error": error["detail"]} if error else {}))
        return True

    def _stored_bytes(self, checkpoint: dict[str, Any] | None) -> int:
        """Of all that the row names with this checkpoint, or with the one it has."""
        return self.writer.stored_bytes + sum(int(ref["bytes"]) for ref in references(checkpoint or self.kept))

    def _remove(self, keys: Callable[[], list[str]]) -> None:
        """Delete objects that nothing names any more; a failure leaves garbage and no harm."""
        try:
            if found := keys():
                self.store.delete(found)
        except OSError as error:
            log.warning("job %s: old objects stay in the store: %s", self.job.id, error)
