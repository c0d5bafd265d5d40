"""From a row of the job table to a Run: the law, the start state, and the checkpoint to go on from."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.exc import InterfaceError, OperationalError

from leym.contract.problems import Problem
from leym.contract.spec import FromJob, Upload, stored_spec
from leym.engine.run import Checkpoint, Run
from leym.frames.checkpoint import CorruptCheckpoint, chain_references, get_checkpoint, references
from leym.frames.layout import arrays_of
from leym.frames.reader import FrameReader
from leym.frames.states import get_state
from leym.frames.writer import FrameWriter
from leym.laws.registry import Registry
from workers.sink import JobSink

log = logging.getLogger(__name__)

TABLE_AWAY = (OperationalError, InterfaceError)


def prepare(sink: JobSink, laws: Registry) -> None:
    """Give the sink its run and its writer.

    Raises Problem (the job can never run; 503: not now), OSError (the store does not answer) or Fenced.
    """
    job, store = sink.job, sink.store
    spec = stored_spec(job.spec)
    start = _checkpoint(sink)
    sink.writer = FrameWriter(store, job.id, job.epoch, arrays_of(job), job.manifest)
    sink.writer.rewind(start.step if start else -1)
    initial = spec.initial
    sink.run = Run(
        id=f"{job.id}.{job.epoch}",  # a later claim of the same job is another run
        law=laws.resolve(job.law),
        precision=job.precision,
        grid=spec.grid,
        steps=spec.steps,
        gamma=spec.gamma,
        seed=spec.seed,
        initial=_stored_state(sink, initial) if isinstance(initial, FromJob | Upload) else initial,
        sink=sink,
        record=spec.record,
        observe=spec.observe,
        start=start,
        priority=spec.priority,
    )


def _checkpoint(sink: JobSink) -> Checkpoint | None:
    """The newest checkpoint that can be read, or None to begin at step 0: the steps are the same again.

    Raises Fenced if the job was lost while the row was told of it.
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
    if len(left) < len(named):  # should it be readable again, frames up to it are not there yet
        sink.kept = chain_references(left)
        sink.table.fall_back(job.id, job.epoch, sink.kept)
    return found if left else None


def _stored_state(sink: JobSink, initial: FromJob | Upload) -> NDArray[np.complex64]:
    """complex64 [H, W, d]."""
    if isinstance(initial, Upload):
        return get_state(sink.store, initial.id)
    source = sink.table.get(initial.job)
    if source.final and source.checkpoint and int(source.checkpoint["step"]) == initial.step:
        return np.asarray(get_checkpoint(sink.store, source.checkpoint)["psi"])
    reader = FrameReader(sink.store, source, lambda: sink.table.get(source.id))
    steps, frames = reader.read("psi", initial.step, initial.step + 1)
    if len(steps) != 1:
        detail = f"initial.step = {initial.step}: job {source.id} no longer has psi at that step"
        raise Problem(422, "No such state", detail, errors=[{"pointer": "/initial/step", "detail": detail}])
    state: NDArray[Any] = frames[0]
    return state
