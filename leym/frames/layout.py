"""How a job's results are cut into objects: one description per stored array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np

from leym.contract.catalog import FIELDS, OBSERVABLES, current_observable
from leym.contract.spec import JobSpec, stored_spec

SHARD_BYTES = 8 * 2**20  # of raw frames: large enough for object stores, small enough to rewrite while it fills
SHARD_FRAMES = 1024  # bounds the index of a shard (16 bytes a frame), which every reader fetches first
CHUNK_BYTES = 2**20  # of raw frames in one chunk of the Zarr view, which a reader fetches by one request
TABLE_ROWS = 8192  # observed steps of one object: 64 KiB per observable

TABLE = "observables"  # the array that holds all observables, one column each


class JobLike(Protocol):
    """What this package needs of a job; `leym.contract.records.Job` has it."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def step(self) -> int: ...
    @property
    def spec(self) -> Mapping[str, Any]: ...
    @property
    def law(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def fidelity(self) -> str: ...
    @property
    def d_state(self) -> int: ...
    @property
    def manifest(self) -> Mapping[str, Any] | None: ...
    def gone(self, now: float) -> str | None: ...


@dataclass(frozen=True)
class ArraySpec:
    """One stored array: frame i is step i * every.

    shape: of one frame, without time. frames: how many will be there at the end. per_shard: frames of one object.
    columns: names of the observables when this is their table, whose frames are rows float64 [len(columns)].
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
        """Uncompressed bytes of one frame."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def chunk_frames(self) -> int:
        """Frames of one chunk of the Zarr view: as many as fit into CHUNK_BYTES, at least one, no more than come."""
        return min(max(CHUNK_BYTES // self.frame_bytes, 1), self.frames)

    def frames_up_to(self, step: int) -> int:
        """Frames at steps <= step; 0 for step -1."""
        return step // self.every + 1

    @property
    def is_table(self) -> bool:
        return bool(self.columns)


def job_arrays(spec: JobSpec, d_state: int) -> list[ArraySpec]:
    """The arrays of a job: one per recording, and `observables` if it observes anything.

    Nothing but `frames` depends on the number of steps, so a job can be extended.
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
    """The name of the time dimension of each schedule: `step`, or `step_<every>` where a job has several."""
    schedules = sorted({array.every for array in arrays})
    return {every: "step" if len(schedules) == 1 else f"step_{every}" for every in schedules}


def column_attributes(observable: str) -> dict[str, str]:
    return _attributes(observable, "1", OBSERVABLES[current_observable(observable)], "")


def _attributes(name: str, units: str, formula: str, note: str) -> dict[str, str]:
    found = {"units": units, "long_name": name.replace("_", " "), "formula": formula}
    return found | ({"note": note} if note else {})


def arrays_of(job: JobLike) -> list[ArraySpec]:
    """`job_arrays` of a row of the job table; a fidelity job has none."""
    if job.spec.get("kind") == "fidelity":
        return []
    return job_arrays(stored_spec(job.spec), job.d_state)


def job_prefix(job_id: str) -> str:
    """Everything of one job in the store, for `Store.delete_prefix`."""
    return f"jobs/{job_id}/"
