"""JobSink: saves the results of a claimed job. First the data, then the fenced commit, then the event."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec

import numpy as np

from leym.contract.problems import Problem
from leym.contract.records import Fenced, Job, JobState
from leym.engine.engine import Engine
from leym.engine.run import Arrays, Run
from leym.frames.checkpoint import put_checkpoint, references, stale_checkpoints
from leym.frames.writer import FrameWriter
from workers.claimed_job import ClaimedJob, WorkerContext
from workers.outages import STORE_OR_TABLE_UNAVAILABLE

log = logging.getLogger(__name__)

P = ParamSpec("P")


def guarded(method: Callable[Concatenate[JobSink, P], None]) -> Callable[Concatenate[JobSink, P], None]:
    """Wrap a callback: ignore calls after the job's outcome; on an unexpected exception, interrupt the job."""

    def call(self: JobSink, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if self.outcome.done():
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            log.exception("job %s: its results cannot be saved", self.job.id)
            self.interrupt(error)

    update_wrapper(call, method)
    return call


class JobSink(ClaimedJob):
    """A claimed job whose run is in the engine, and the sink of that run (`leym.engine.run.Sink`).

    `workers.run_builder.build_run` sets `run` and `writer`.

    Attributes:
        run: The run that the engine steps.
        writer: Appends frames and observables to the store.
        kept: Reference of the checkpoints that the row names; the next checkpoint names the newest of them as its
            predecessor. None before the first.
    """

    run: Run
    writer: FrameWriter

    def __init__(self, job: Job, context: WorkerContext, engine: Engine):
        super().__init__(job, context)
        self.store, self.engine = context.store, engine
        self.kept = job.checkpoint
        self._last_observables: dict[str, float] | None = None

    def start(self) -> None:
        """Submit the run to the engine."""
        self.engine.submit(self.run)

    def stop(self) -> None:
        """Take the run out of the engine."""
        self.engine.cancel(self.run.id)

    @guarded
    def hand_back(self) -> None:
        """Queue the job again, because the worker ends."""
        super().hand_back()

    # --- callbacks of the engine, one at a time

    @guarded
    def admitted(self) -> None:
        """Record by what the run is computed, and report that the job has a slot."""
        first = self.run.start.step if self.run.start else 0
        self.writer.start_segment(first, self.engine.attributes(self.run))
        self.context.on_admitted()

    @guarded
    def frames(self, step: int, fields: Arrays, observables: Mapping[str, float]) -> None:
        """Append the frames and observables of one step, and commit if it is time."""
        numbers = {name: np.array([value], np.float64) for name, value in observables.items()}
        self.writer.append(step, [0], {name: values[None] for name, values in fields.items()}, numbers)
        if observables:
            self._last_observables = dict(observables)
        self.progress(step)

    @guarded
    def progress(self, step: int) -> None:
        """Commit if the last commit was `commit_s` seconds ago."""
        if not self.wants_commit():
            return
        try:
            self._commit(step)
        except Fenced as fenced:
            self.give_up(str(fenced))
        except STORE_OR_TABLE_UNAVAILABLE as error:
            self.note_save_error(error)  # unsaved results stay in memory, and the next call tries again

    @guarded
    def checkpoint(self, step: int, arrays: Arrays) -> None:
        """Store the state at a step, commit it, and delete the checkpoints that it replaces."""
        saved = self.retry(lambda: put_checkpoint(self.store, self.job.id, self.job.epoch, step, arrays, self.kept))
        if saved and self.retry(lambda: self._commit(step, saved)):
            self.kept = saved
            self._delete(lambda: stale_checkpoints(self.store, self.job.id, saved))

    @guarded
    def finished(self, step: int, arrays: Arrays) -> None:
        """Store the last state and make the row `succeeded`."""
        saved = self.retry(lambda: put_checkpoint(self.store, self.job.id, self.job.epoch, step, arrays))
        if saved and self._finish(JobState.SUCCEEDED, step, checkpoint=saved):
            self._delete(lambda: stale_checkpoints(self.store, self.job.id, saved))

    @guarded
    def failed(self, step: int, problem: Problem) -> None:
        """Make the row `failed`; frames up to `step` stay."""
        self._finish(JobState.FAILED, step, error=problem.as_dict())

    def released(self) -> None:
        """Hand the job back, because the engine is draining."""
        self.hand_back()

    # --- inside

    def _commit(self, step: int, checkpoint: dict[str, Any] | None = None) -> bool:
        manifest = self.writer.flush()
        self.table.commit(
            self.job.id,
            self.job.epoch,
            step=step,
            manifest=manifest,
            checkpoint=checkpoint,
            observables_last=self._last_observables,
            stored_bytes=self._stored_bytes(checkpoint),
        )
        self.note_commit()
        if step > self.job.step:
            self.context.on_progress()
        self.events.announce(self.job.id, step, JobState.RUNNING)
        self._delete(self.writer.superseded)
        return True

    def _finish(
        self,
        state: JobState,
        step: int,
        *,
        error: dict[str, Any] | None = None,
        checkpoint: dict[str, Any] | None = None,
    ) -> bool:
        def finish() -> bool:
            manifest = self.writer.flush()
            self.table.finish(
                self.job.id,
                self.job.epoch,
                state,
                step=step,
                manifest=manifest,
                error=error,
                observables_last=self._last_observables,
                checkpoint=checkpoint,
                stored_bytes=self._stored_bytes(checkpoint),
            )
            return True

        if not self.retry(finish):
            return False
        self.events.announce(self.job.id, step, state)
        self._delete(self.writer.superseded)
        self.end_with({"state": str(state), "step": step} | ({"error": error["detail"]} if error else {}))
        return True

    def _stored_bytes(self, checkpoint: dict[str, Any] | None) -> int:
        """Return the bytes of all objects that the row names, with this checkpoint or the one that it has."""
        return self.writer.stored_bytes + sum(int(ref["bytes"]) for ref in references(checkpoint or self.kept))

    def _delete(self, keys: Callable[[], list[str]]) -> None:
        """Delete objects that no row names any more; after a failure they are left to the collector."""
        try:
            if found := keys():
                self.store.delete(found)
        except OSError as error:
            log.warning("job %s: replaced objects stay in the store: %s", self.job.id, error)
