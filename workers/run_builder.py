"""Builds the engine's Run from a row of the job table: law, start states, steering, checkpoints."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leym.contract.catalog import current_observable
from leym.contract.gamma import Schedule, gamma_at, schedule_of
from leym.contract.member_states import MemberState
from leym.contract.problems import Problem
from leym.contract.ranges import unpack_ranges
from leym.contract.spec import Continue, FromJob, JobSpec, StoredState, Upload, Zeros, stored_spec
from leym.engine.run import Members, Run, Start, initial_state
from leym.engine.states import Arrays, GroupState
from leym.frames.checkpoint import CorruptCheckpoint, chain_references, get_checkpoint, references
from leym.frames.kept import describe_states, load_state, state_kind
from leym.frames.layout import arrays_of
from leym.frames.states import get_state
from leym.frames.stores.base import Store
from leym.frames.writer import FrameWriter
from leym.jobs.table import JobTable
from leym.laws.bundle import Bundle
from leym.laws.registry import Registry
from workers.checkpoints import CheckpointRefs
from workers.sink import JobSink
from workers.steering import settled_spec, steering_of
from workers.stopping import StopRules

log = logging.getLogger(__name__)


def build_run(sink: JobSink, laws: Registry) -> None:
    """Set `run` and `writer` of a claimed job's sink.

    Raises:
        Problem: The job can never run; with status 503, it cannot run now.
        OSError: The store does not answer.
        Fenced: Another worker has claimed the job meanwhile.
    """
    job, states = sink.job, sink.states
    spec = settled_spec(sink.table, job)
    law = laws.resolve(job.law)
    members, schedules = _members(sink, spec, law)
    if job.is_block and job.sweep and (rules := sink.table.sweep_plan(job.sweep).spec.stop):
        sink.stop_rules = StopRules(rules, job.members)
    resumed = _resumed_groups(sink)
    if isinstance(spec.initial, Continue) and not resumed:
        resumed.append(_begun(sink, spec.initial, law))
    ended = np.flatnonzero(states.state != MemberState.LIVE)
    sink.writer = FrameWriter(
        sink.store, job.id, job.epoch, arrays_of(job), job.manifest, members=job.members, shown=states.step
    )
    if len(ended):
        sink.writer.end(ended)
    for state in resumed:
        sink.writer.rewind(state.places, state.step)
    sink.begins_at = min((state.step for state in resumed), default=0)
    begun = np.concatenate([ended, *(state.places for state in resumed)])
    if len(fresh := np.setdiff1d(np.arange(job.members), begun)):
        sink.writer.rewind(fresh, -1)
    sink.run = Run(
        id=f"{job.id}.{job.epoch}",  # a later claim of the same job is another run
        law=law,
        precision=job.precision,
        grid=spec.grid,
        steps=spec.steps,
        members=members,
        sink=sink,
        record=spec.record,
        observe=spec.observe,
        priority=job.priority,
        watch=sink.stop_rules.watched if sink.stop_rules else (),
        keep_every=spec.keep_states.every if spec.keep_states else 0,
        resumed=deque(resumed),
        ended=ended,
        steering=steering_of(sink.store, spec, schedules),
    )


def _begun(sink: JobSink, initial: Continue, law: Bundle) -> GroupState:
    """Return the state from which a job continues another one.

    Raises:
        Problem: The state is gone, or lacks the memory that the law needs.
        OSError: The store does not answer.
    """
    arrays = _load(sink.table, sink.store, initial)
    if law.manifest.architecture_info.memory and "memory" not in arrays:
        detail = (
            f"initial.step = {initial.step}: the state of job {initial.job} has no memory, which law {law.ref} needs"
        )
        raise Problem(422, "No such state", detail, errors=[{"pointer": "/initial/step", "detail": detail}])
    return GroupState(initial.step, np.zeros(1, np.int64), {name: array[None] for name, array in arrays.items()})


def _origin(sink: JobSink, spec: JobSpec, law: Bundle) -> Start:
    """Return the state at step 0 of the lineage of a job, with which `overlap` compares; any if nothing does."""
    if not spec.observe or not any(current_observable(name) == "overlap" for name in spec.observe.names):
        return Zeros()  # never drawn: the run continues from a state
    first = stored_spec(sink.table.ancestors(sink.job)[-1].spec)
    if isinstance(first.initial, StoredState | Upload):
        return stored_state(sink.table, sink.store, first.initial)
    return initial_state(first.initial, spec.grid, law.manifest.d_state, first.seed, law.manifest.constraint)


def _members(sink: JobSink, spec: JobSpec, law: Bundle) -> tuple[Members, dict[int, Schedule]]:
    """Return seed, gamma and start state of every member, and by place the gammas that are schedules."""
    job = sink.job
    if not job.is_block or job.sweep is None:
        seeds, gammas, initial = [spec.seed], [spec.gamma], [spec.initial]
    else:
        plan, indices = sink.table.sweep_plan(job.sweep), unpack_ranges(job.indices or "")
        seeds, gammas, initial = (plan.column(key, indices) for key in ("seed", "gamma", "initial"))
    loaded: dict[str, NDArray[np.complex64]] = {}

    def start_of(initial: Start | FromJob | Continue | Upload) -> Start:
        if isinstance(initial, Continue):
            return _origin(sink, spec, law)
        if not isinstance(initial, FromJob | Upload):
            return initial
        key = initial.model_dump_json()
        if key not in loaded:
            loaded[key] = stored_state(sink.table, sink.store, initial)
        return loaded[key]

    starts = [start_of(one) for one in initial]
    schedules: dict[int, Schedule] = {
        place: schedule_of(gamma) for place, gamma in enumerate(gammas) if not isinstance(gamma, float)
    }
    constant = [gamma_at(gamma, 0) for gamma in gammas]
    return Members(np.array(seeds, np.int64), np.array(constant, np.float32), starts), schedules


def stored_state(table: JobTable, store: Store, initial: StoredState | Upload) -> NDArray[np.complex64]:
    """Load the start state of a job that starts from another job or from an upload.

    Returns:
        complex64 [H, W, d].

    Raises:
        Problem: The state is gone.
        OSError: The store does not answer.
    """
    if isinstance(initial, Upload):
        return get_state(store, initial.id)
    return np.asarray(_load(table, store, initial)["psi"])


def _load(table: JobTable, store: Store, initial: StoredState) -> Arrays:
    """Load the state of another job.

    Raises:
        Problem: The state is gone.
        OSError: The store does not answer.
    """
    source = table.get(initial.job)
    if state_kind(source, initial.step) is None:
        detail = f"initial.step = {initial.step}: {describe_states(source)}"
        raise Problem(422, "No such state", detail, errors=[{"pointer": "/initial/step", "detail": detail}])
    try:
        return load_state(store, source, initial.step)
    except Problem:
        if source.final:
            raise
        return load_state(store, table.get(initial.job), initial.step)  # a commit may have replaced the object


def _resumed_groups(sink: JobSink) -> list[GroupState]:
    """Load the newest readable checkpoint of each group with live members; the others start at step 0 again.

    They compute the same frames. If newer checkpoints are unreadable, the row is changed to name the readable ones
    only: should the others become readable again, the frames up to their steps would be missing.

    Raises:
        Fenced: Another worker has claimed the job meanwhile.
        OSError: The store does not answer.
    """
    job, found = sink.job, list[GroupState]()
    readable, changed = CheckpointRefs(None, is_block=job.is_block), False
    for places, ref in sink.kept.groups():
        live = places[sink.states.state[places] == MemberState.LIVE]
        named = left = references(ref)
        while left and len(live):
            try:
                step, arrays = int(left[0]["step"]), get_checkpoint(sink.store, left[0])
            except CorruptCheckpoint as error:
                left = left[1:]
                log.error("job %s goes back to step %d: %s", job.id, left[0]["step"] if left else 0, error)
            else:
                found.append(_group(sink, step, arrays, unpack_ranges(str(ref.get("members", "0"))), live))
                break
        changed |= len(left) < len(named)
        if (kept := chain_references(left)) is not None:
            readable = readable.with_group(places, kept)
    if changed:
        sink.kept = readable
        sink.table.fall_back(job.id, job.epoch, readable.as_dict())
    return found


def _group(
    sink: JobSink, step: int, arrays: Arrays, saved: NDArray[np.int64], live: Sequence[int] | NDArray[np.int64]
) -> GroupState:
    """Return the state of the live members of a checkpoint, and restore what their stop rules have counted."""
    if not sink.job.is_block:
        return GroupState(step, saved, {name: array[None] for name, array in arrays.items()})
    chosen = np.isin(saved, live)
    own = {name: array[chosen] for name, array in arrays.items()}
    if sink.stop_rules:
        sink.stop_rules.restore(saved[chosen], own)
    return GroupState(step, saved[chosen], {name: a for name, a in own.items() if not name.startswith("stop_")})
