"""Layout of stored results: which arrays a job has, and how they are cut into objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np

from leym.contract.catalog import FIELDS, OBSERVABLES, current_observable
from leym.contract.spec import JobSpec, stored_spec

SHARD_BYTES = 8 * 2**20  # raw frames per object: large enough for S3, small enough to rewrite while it fills
SHARD_FRAMES = 1024  # limits the index of a shard (16 bytes per frame), which every reader fetches first
CHUNK_BYTES = 2**20  # raw frames per chunk of the Zarr hierarchy, which a reader fetches with one request
TABLE_ROWS = 8192  # observed steps per object: 64 KiB per observable

TABLE = "observables"  # name of the array of all observables, with a column for each


class JobLike(Protocol):
    """The part of `leym.contract.records.Job` that this package uses."""

    @property
    def id(self) -> str:
        """Id of the job."""

    @property
    def state(self) -> str:
        """State of the job."""

    @property
    def step(self) -> int:
        """Committed step."""

    @property
    def spec(self) -> Mapping[str, Any]:
        """JobSpec or FidelitySpec as JSON."""

    @property
    def law(self) -> str:
        """Law as name@digest."""

    @property
    def precision(self) -> str:
        """Resolved precision."""

    @property
    def fidelity(self) -> str:
        """Fidelity of the precision."""

    @property
    def d_state(self) -> int:
        """Channels of the state."""

    @property
    def manifest(self) -> Mapping[str, Any] | None:
        """Manifest that was committed last."""

    def gone(self, now: float) -> str | None:
        """Return why results can no longer be read; None while they can."""


@dataclass(frozen=True)
class ArraySpec:
    """A stored array, whose frame i is step i * every.

    Attributes:
        name: field, or `TABLE`.
        dtype: stored dtype.
        shape: shape of one frame, without time.
        dims: names of the dimensions of `shape`.
        every: steps between two frames.
        frames: number of frames at the end of the job.
        per_shard: frames of one object.
        attributes: units, name and formula for readers.
        columns: names of the observables in their table, whose frames are rows float64 [len(columns)]; empty for a
            field.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    every: int
    frames: int
    per_shard: int
    attributes: Mapping[str, Any]
    columns: tuple[str, ...] = ()

    @property
    def frame_bytes(self) -> int:
        """Uncompressed size of one frame in bytes."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def chunk_frames(self) -> int:
        """Frames per chunk of the Zarr hierarchy: as many as fit into CHUNK_BYTES, from 1 to `frames`."""
        return min(max(CHUNK_BYTES // self.frame_bytes, 1), self.frames)

    def frames_up_to(self, step: int) -> int:
        """Count the frames at steps <= step; 0 for step -1."""
        return step // self.every + 1

    @property
    def is_table(self) -> bool:
        """True for the table of observables."""
        return bool(self.columns)


def job_arrays(spec: JobSpec, d_state: int) -> list[ArraySpec]:
    """Return the arrays of a job: one per recording, and `observables` if the job observes anything.

    Only `frames` depends on the number of steps, so a job can be extended.
    """
    arrays = []
    for recording in spec.record:
        info = FIELDS[recording.field]
        shape: tuple[int, ...] = spec.grid
        dims: tuple[str, ...] = ("y", "x")
        if info.per_channel:
            shape, dims = (*shape, d_state), (*dims, "channel")
        dtype = recording.stored_dtype
        frame_bytes = prod(shape) * np.dtype(dtype).itemsize
        arrays.append(
            ArraySpec(
                name=recording.field,
                dtype=dtype,
                shape=shape,
                dims=dims,
                every=recording.every,
                frames=spec.frames_of(recording.every),
                per_shard=min(max(SHARD_BYTES // frame_bytes, 1), SHARD_FRAMES),
                attributes=_attributes(recording.field, info.units, info.formula, info.note),
            )
        )
    if spec.observe:
        names, every = spec.observe.names, spec.observe.every
        arrays.append(
            ArraySpec(
                TABLE, "float64", (len(names),), ("observable",), every, spec.frames_of(every), TABLE_ROWS, {}, names
            )
        )
    return arrays


def step_dims(arrays: Sequence[ArraySpec]) -> dict[int, str]:
    """Name the time dimension of each schedule: `step`, or `step_<every>` if the job has several schedules."""
    schedules = sorted({array.every for array in arrays})
    return {every: "step" if len(schedules) == 1 else f"step_{every}" for every in schedules}


def column_attributes(observable: str) -> dict[str, str]:
    """Return units, name and formula of an observable."""
    return _attributes(observable, "1", OBSERVABLES[current_observable(observable)], "")


def _attributes(name: str, units: str, formula: str, note: str) -> dict[str, str]:
    found = {"units": units, "long_name": name.replace("_", " "), "formula": formula}
    return found | ({"note": note} if note else {})


def arrays_of(job: JobLike) -> list[ArraySpec]:
    """Return the arrays of a row of the job table; a fidelity job has none."""
    if job.spec.get("kind") == "fidelity":
        return []
    return job_arrays(stored_spec(job.spec), job.d_state)


def job_prefix(job_id: str) -> str:
    """Return the prefix of all keys of a job, for `Store.delete_prefix`."""
    return f"jobs/{job_id}/"
