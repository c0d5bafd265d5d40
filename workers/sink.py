"""JobSink: saves the results of a claimed job or block. First the data, then the fenced commit, then the event."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec

import numpy as np

from leym.contract.gamma import schedule_of
from leym.contract.member_states import MemberState, MemberStates
from leym.contract.problems import Problem
from leym.contract.records import Fenced, Job, JobState
from leym.contract.spec import stored_spec
from leym.engine.engine import Engine
from leym.engine.run import Run
from leym.engine.states import Arrays, GroupState, Places
from leym.engine.steering import Steering
from leym.engine.versions import versions
from leym.frames.checkpoint import put_checkpoint, stale_checkpoints
from leym.frames.kept import KeptStates, put_kept_state
from leym.frames.writer import FrameWriter
from workers.checkpoints import CheckpointRefs
from workers.claimed_job import ClaimedJob, WorkerContext
from workers.outages import STORE_OR_TABLE_UNAVAILABLE
from workers.steering import steering_of
from workers.stopping import StopRules

log = logging.getLogger(__name__)

FIRST_COMMIT_S = 0.05

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
    """A claimed job or block whose run is in the engine, and the sink of that run (`leym.engine.sink.Sink`).

    A job of its own is a block of one member. `workers.run_builder.build_run` sets `run` and `writer`.

    Attributes:
        run: The run that the engine steps.
        writer: Appends frames, observables and last states to the store.
        states: State and committed step of every member.
        kept: The checkpoints that the row names.
        kept_states: The states that the row keeps with the results.
        stop_rules: Rules that end members early.
        begins_at: Step from which the run computes.
    """

    run: Run
    writer: FrameWriter

    def __init__(self, job: Job, context: WorkerContext, engine: Engine):
        super().__init__(job, context)
        self.store, self.engine = context.store, engine
        self.stop_rules: StopRules | None = None
        self.begins_at = 0
        self.states = MemberStates.parse(job.member_states, job.members)
        if not job.is_block and job.manifest:
            self.states.step[0] = job.step
        self.kept = CheckpointRefs(job.checkpoint, is_block=job.is_block)
        self.kept_states = KeptStates(job.manifest)
        self._stale: set[str] = set()  # keys of checkpoints that the row does not name any more
        self._has_predecessors = job.epoch > 1
        self._last_observables: dict[str, float] | None = None
        self._admitted_at = 0.0

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

    def steer(self) -> None:
        """Take the run out at its next burst, write at which step the interventions that wait act, and let it go on."""
        if not self.job.is_block:
            self.engine.hold(self.run.id, self.held)

    # --- callbacks of the engine, one at a time

    @guarded
    def held(self, step: int) -> None:
        """Write the steps of the interventions that wait, no earlier than `step`, and let the run go on with them."""
        reached = max(step, int(self.states.step.max()))

        def settle() -> Steering:
            spec = stored_spec(self.table.settle_interventions(self.job.id, self.job.epoch, reached))
            return steering_of(self.store, spec, {0: schedule_of(spec.gamma)})

        if steering := self.retry(settle):
            self.engine.resume(self.run.id, steering)

    @guarded
    def admitted(self) -> None:
        """Record by what the run is computed, and report that the job has a slot."""
        self._admitted_at = time.monotonic()
        self.writer.start_segment(self.begins_at, self.engine.attributes(self.run) | {"versions": versions()})
        self.context.on_admitted()

    @guarded
    def frames(self, step: int, places: Places, fields: Arrays, observables: Arrays) -> None:
        """Append the frames and observables of one step, end members that a rule stops, and commit if it is time."""
        live = self.states.state[places] == MemberState.LIVE
        if not live.all():  # results that were under way when members were stopped or cancelled
            places = places[live]
            fields = {name: values[live] for name, values in fields.items()}
            observables = {name: values[live] for name, values in observables.items()}
            if not len(places):
                return
        self.writer.append(step, places, fields, observables)
        if observables and not self.job.is_block:
            self._last_observables = {name: float(values[0]) for name, values in observables.items()}
        self._advance(places, step)
        if self.stop_rules:
            for rule, stopped in self.stop_rules.apply(step, places, observables):
                self.states.end(stopped, MemberState.SUCCEEDED, stopped=rule + 1)
                self._leave(stopped)
                self.engine.drop(self.run.id, stopped)
        self._commit_or_finish()

    @guarded
    def progress(self, step: int, places: Places) -> None:
        """Commit if the last commit was `commit_s` seconds ago."""
        self._advance(places, step)
        self._commit_or_finish()

    @guarded
    def checkpoint(self, state: GroupState) -> None:
        """Store the state of members at a step, commit it, and delete the checkpoints that it replaces."""
        state = state.of(self.states.state[state.places] == MemberState.LIVE)
        if not len(state.places):
            return
        if self.run.keeps(state.step) and not self.kept_states.has(state.step, state.places, self.job.epoch):
            self._keep(state)
            if not self.context.draining():  # else it may be the last state before the job goes to another worker
                return
        places, previous = state.places, self.kept.previous(state.places)
        group = state.places if self.job.is_block else None
        saved = self.retry(
            lambda: put_checkpoint(
                self.store, self.job.id, self.job.epoch, state.step, self._arrays(state), previous, group
            )
        )
        if saved is None:
            return
        self._advance(places, state.step)
        before, self.kept = self.kept, self.kept.with_group(places, saved)
        self._stale |= before.keys() - self.kept.keys()
        self.retry(self._commit)

    @guarded
    def finished(self, state: GroupState) -> None:
        """Store the last states of members, and end the row when no member is left."""
        live = self.states.state[state.places] == MemberState.LIVE
        if not live.all():
            state = state.of(live)
        if not len(state.places):
            return
        self._advance(state.places, state.step)
        if self.job.is_block:
            self.writer.append_last(state.places, state.arrays["psi"], state.arrays.get("memory"))
        else:
            saved = self.retry(
                lambda: put_checkpoint(self.store, self.job.id, self.job.epoch, state.step, self._arrays(state))
            )
            if saved is None:
                return
            self._stale |= self.kept.keys() - {saved["key"]}
            self.kept = self.kept.with_group(state.places, saved)
        self.states.end(state.places, MemberState.SUCCEEDED)
        self._leave(state.places)
        self._commit_or_finish()

    @guarded
    def failed(self, step: int, places: Places, problem: Problem) -> None:
        """Make members `failed`; frames up to `step` stay."""
        self._advance(places, step)
        self.states.end(places, MemberState.FAILED, problem=problem.as_dict())
        self._leave(places)
        self._commit_or_finish()

    def released(self) -> None:
        """Commit what has ended since the last commit, and hand the job back, because the engine is draining."""
        if self.job.is_block and not self.outcome.done():
            self.retry(self._commit)
        self.hand_back()

    # --- inside

    def _keep(self, state: GroupState) -> None:
        """Store a state that stays with the results, and commit it."""
        group = state.places if self.job.is_block else None
        arrays = {name: array if self.job.is_block else array[0] for name, array in state.arrays.items()}
        saved = self.retry(lambda: put_kept_state(self.store, self.job.id, self.job.epoch, state.step, arrays, group))
        if saved is None:
            return
        self._advance(state.places, state.step)
        self._stale |= set(self.kept_states.add(saved, state.places, is_block=self.job.is_block))
        self.retry(self._commit)

    def _advance(self, places: Places, step: int) -> None:
        """Note the step of live members; one that was stopped stays at the step of its last recording."""
        places = places[self.states.state[places] == MemberState.LIVE]
        self.states.step[places] = np.maximum(self.states.step[places], step)

    def _leave(self, places: Places) -> None:
        """Forget the checkpoints of members that have ended."""
        if self.job.is_block:
            before, self.kept = self.kept, self.kept.without(places)
            self._stale |= before.keys() - self.kept.keys()
            self.writer.end(places)

    def _arrays(self, state: GroupState) -> Arrays:
        """Return the arrays of a checkpoint: those of a job of its own have no axis of members."""
        if not self.job.is_block:
            return {name: array[0] for name, array in state.arrays.items()}
        return {**state.arrays, **(self.stop_rules.state(state.places) if self.stop_rules else {})}

    def _commit_or_finish(self) -> None:
        """End the row if no member is left; otherwise commit if the last commit was `commit_s` seconds ago."""
        if not len(self.states.live):
            self._finish()
        elif self.wants_commit():
            try:
                self._commit()
            except Fenced as fenced:
                self.give_up(str(fenced))
            except STORE_OR_TABLE_UNAVAILABLE as error:
                self.note_save_error(error)  # unsaved results stay in memory, and the next call tries again

    def wants_commit(self) -> bool:
        """Return whether it is time to commit, which `commit_s` says; the first commit comes sooner, or not at all.

        That one shows readers the first frames FIRST_COMMIT_S after the start, unless the run is expected to take less
        than `commit_s`: the last commit of a short run writes everything, so an earlier one would only cost time.
        """
        if self._committed_at:
            return super().wants_commit()
        elapsed_s = time.monotonic() - self._admitted_at
        steps = self.job.steps // self.job.members - self.begins_at  # a row has the steps of all its members
        done = float(self.states.step.mean()) - self.begins_at
        return elapsed_s >= FIRST_COMMIT_S and elapsed_s * steps > self.context.commit_s * done

    def _commit(self) -> bool:
        cancelled = self.table.commit(self.job.id, self.job.epoch, **self._values())
        self.note_commit()
        if self.states.steps_done > self.job.step:
            self.context.on_progress()
        self._announce(JobState.RUNNING)
        self._delete_replaced()
        self._drop_cancelled(cancelled)
        return True

    def _finish(self) -> None:
        failed = self.states.count(MemberState.FAILED)
        problem = self.states.problems[0] if failed and failed == len(self.states) else None
        state = JobState.FAILED if problem else JobState.SUCCEEDED

        def finish() -> bool:
            self.table.finish(self.job.id, self.job.epoch, state, error=problem, **self._values())
            return True

        if self.retry(finish):
            self._announce(state)
            self._delete_replaced()
            self.end_with(
                {"state": str(state), "step": self.states.steps_done}
                | ({"error": problem["detail"]} if problem else {})
            )

    def _values(self) -> dict[str, Any]:
        """Write what is not stored yet, and return the values to commit."""
        manifest = self.writer.flush() | self.kept_states.as_manifest()
        return {
            "step": self.states.steps_done,
            "manifest": manifest,
            "checkpoint": self.kept.as_dict(),
            "observables_last": self._last_observables,
            "stored_bytes": self.writer.stored_bytes + self.kept.size() + self.kept_states.size(),
            "device_s": self.job.device_s + self.run.device_s,
        } | ({"members": self.states} if self.job.is_block else {})

    def _drop_cancelled(self, cancelled: frozenset[int]) -> None:
        """Free the slots of members that a user has cancelled."""
        places = np.array(sorted(cancelled), np.int64)
        places = places[self.states.state[places] == MemberState.LIVE]
        if len(places):
            self.states.end(places, MemberState.CANCELLED)
            self._leave(places)
            self.engine.drop(self.run.id, places)
            self._commit_or_finish()

    def _announce(self, state: JobState) -> None:
        self.events.announce(self.job.id, self.states.steps_done, state)
        if self.job.is_block and self.job.sweep:
            self.events.announce(self.job.sweep, self.states.steps_done, state)

    def _delete_replaced(self) -> None:
        """Delete objects that no row names any more; after a failure they are left to the collector."""
        try:
            if self._has_predecessors:  # which may have written checkpoints that they did not commit
                found = stale_checkpoints(self.store, self.job.id, self.job.epoch, self.kept.as_dict())
                self._stale |= set(found)
                self._has_predecessors = False
            keys = [*self.writer.superseded(), *self._stale]
            self._stale = set()
            if keys:
                self.store.delete(keys)
        except OSError as error:
            log.warning("job %s: replaced objects stay in the store: %s", self.job.id, error)
