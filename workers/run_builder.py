"""Builds the engine's Run from a row of the job table: law, start state, and the checkpoint to resume from."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from leym.contract.problems import Problem
from leym.contract.spec import FromJob, Upload, stored_spec
from leym.engine.run import Checkpoint, Run
from leym.frames.checkpoint import CorruptCheckpoint, chain_references, get_checkpoint, references
from leym.frames.layout import arrays_of
from leym.frames.reader import FrameReader
from leym.frames.states import get_state
from leym.frames.stores.base import Store
from leym.frames.writer import FrameWriter
from leym.jobs.table import JobTable
from leym.laws.registry import Registry
from workers.sink import JobSink

log = logging.getLogger(__name__)


def build_run(sink: JobSink, laws: Registry) -> None:
    """Set `run` and `writer` of a claimed job's sink.

    Raises:
        Problem: The job can never run; with status 503, it cannot run now.
        OSError: The store does not answer.
        Fenced: Another worker has claimed the job meanwhile.
    """
    job, store = sink.job, sink.store
    spec = stored_spec(job.spec)
    start = _newest_checkpoint(sink)
    sink.writer = FrameWriter(store, job.id, job.epoch, arrays_of(job), job.manifest)
    sink.writer.rewind([0], start.step if start else -1)
    initial = spec.initial
    sink.run = Run(
        id=f"{job.id}.{job.epoch}",  # a later claim of the same job is another run
        law=laws.resolve(job.law),
        precision=job.precision,
        grid=spec.grid,
        steps=spec.steps,
        gamma=spec.gamma,
        seed=spec.seed,
        initial=stored_state(sink.table, store, initial) if isinstance(initial, FromJob | Upload) else initial,
        sink=sink,
        record=spec.record,
        observe=spec.observe,
        start=start,
        priority=spec.priority,
    )


def stored_state(table: JobTable, store: Store, initial: FromJob | Upload) -> NDArray[np.complex64]:
    """Load the start state of a job that starts from another job or from an upload.

    Returns:
        complex64 [H, W, d].

    Raises:
        Problem: The state is gone.
        OSError: The store does not answer.
    """
    if isinstance(initial, Upload):
        return get_state(store, initial.id)
    source = table.get(initial.job)
    if source.final and source.checkpoint and int(source.checkpoint["step"]) == initial.step:
        return np.asarray(get_checkpoint(store, source.checkpoint)["psi"])
    reader = FrameReader(store, source, lambda: table.get(source.id))
    steps, frames = reader.read("psi", initial.step, initial.step + 1)
    if len(steps) != 1:
        detail = f"initial.step = {initial.step}: job {source.id} no longer has psi at that step"
        raise Problem(422, "No such state", detail, errors=[{"pointer": "/initial/step", "detail": detail}])
    state: NDArray[np.complex64] = frames[0]
    return state


def _newest_checkpoint(sink: JobSink) -> Checkpoint | None:
    """Load the newest readable checkpoint; None to start at step 0, which gives the same frames again.

    If newer ones are unreadable, the row is changed to name the readable ones only: should the others become readable
    again, the frames up to their steps would be missing.

    Raises:
        Fenced: Another worker has claimed the job meanwhile.
        OSError: The store does not answer.
    """
    job = sink.job
    named = left = references(job.checkpoint)
    while left:
        try:
            found = Checkpoint(int(left[0]["step"]), get_checkpoint(sink.store, left[0]))
        except CorruptCheckpoint as error:
            left = left[1:]
            log.error("job %s goes back to step %d: %s", job.id, left[0]["step"] if left else 0, error)
        else:
            break
    if len(left) < len(named):
        sink.kept = chain_references(left)
        sink.table.fall_back(job.id, job.epoch, sink.kept)
    return found if left else None
