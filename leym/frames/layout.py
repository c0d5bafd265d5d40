"""Layout of stored results: which arrays a job or a block has, and how they are cut into objects.

Every array is a grid of shards over members and frames. Shard number j * member_shards + i has the members
[i * shard_members, (i + 1) * shard_members) and the frames [j * per_shard, (j + 1) * per_shard). A job of its own is
the case of one member: its shards follow each other in time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Protocol

import numpy as np

from leym.contract.catalog import FIELDS, OBSERVABLES, current_observable
from leym.contract.spec import JobSpec, stored_spec

SHARD_BYTES = 8 * 2**20  # raw frames per object: large enough for S3, small enough to rewrite while it fills
SHARD_FRAMES = 1024  # limits the index of a shard (16 bytes per frame), which every reader fetches first
CHUNK_BYTES = 2**20  # raw frames per chunk of the Zarr hierarchy, which a reader fetches with one request
TABLE_ROWS = 8192  # observed steps per object: 64 KiB per observable
BLOCK_SHARD_BYTES = 16 * 2**20  # raw values per object of a block
BLOCK_OPEN_BYTES = 64 * 2**20  # raw values of one array that a block may keep in memory until their shards are whole
INNER_BYTES = 16 * 2**10  # raw frames per inner chunk of a block's shard: smaller ones compress badly

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
        """JobSpec, FidelitySpec or TrainingSpec as JSON."""

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

    @property
    def members(self) -> int:
        """Universes of the row."""

    @property
    def block(self) -> str | None:
        """Row of the block that has the results of this member of a sweep; None for a row of its own."""

    @property
    def place(self) -> int:
        """Place of the member in its block."""

    def gone(self, now: float) -> str | None:
        """Return why results can no longer be read; None while they can."""


@dataclass(frozen=True)
class ArraySpec:
    """A stored array, whose frame i is step (skipped + i) * every.

    Attributes:
        name: field, or `TABLE`.
        dtype: stored dtype.
        shape: shape of one frame, without time.
        dims: names of the dimensions of `shape`.
        every: steps between two frames.
        frames: number of frames at the end of the job.
        per_shard: frames per member of one object.
        attributes: units, name and formula for readers.
        columns: names of the observables in their table, whose frames are rows float64 [len(columns)]; empty for a
            field.
        members: members of the block; 1 for a job of its own.
        shard_members: members of one object, a multiple of `chunk_members`.
        chunk_members: members whose frames of one step are encoded together.
        compressed: False for values that do not compress.
        skipped: frames up to the state from which a job continues another one, which that job may have; else 0.
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
    members: int = 1
    shard_members: int = 1
    chunk_members: int = 1
    compressed: bool = True
    skipped: int = 0

    @property
    def member_shards(self) -> int:
        """Number of shards side by side over the members."""
        return -(-self.members // self.shard_members)

    @property
    def member_chunks(self) -> int:
        """Number of inner chunks side by side over the members of a shard."""
        return self.shard_members // self.chunk_members

    def shard_of(self, place: int, frame: int) -> int:
        """Return the number of the shard that has a frame of a member."""
        return frame // self.per_shard * self.member_shards + place // self.shard_members

    def places_in(self, shard: int) -> slice:
        """Return the places of the members of a shard."""
        first = shard % self.member_shards * self.shard_members
        return slice(first, min(first + self.shard_members, self.members))

    def first_frame(self, shard: int) -> int:
        """Return the first frame of a shard."""
        return shard // self.member_shards * self.per_shard

    def frames_in(self, shard: int) -> int:
        """Return the number of frames that a shard has at the end of the job."""
        return max(min(self.frames - self.first_frame(shard), self.per_shard), 0)

    @property
    def frame_bytes(self) -> int:
        """Uncompressed size of one frame in bytes."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def chunk_frames(self) -> int:
        """Frames per chunk of the Zarr hierarchy: as many as fit into CHUNK_BYTES, from 1 to `frames`."""
        return max(min(CHUNK_BYTES // self.frame_bytes, self.frames), 1)

    def frames_up_to(self, step: int) -> int:
        """Count the frames at steps <= step; 0 for step -1."""
        return max(self.frame_at(step) + 1, 0)

    def frame_at(self, step: int) -> int:
        """Return the number of the last frame at a step <= step; negative before the first frame."""
        return step // self.every - self.skipped

    def step_of(self, frame: int) -> int:
        """Return the step of a frame."""
        return (self.skipped + frame) * self.every

    def next_step(self, step: int) -> int:
        """Return the step of the first frame after a step."""
        return max(step // self.every + 1, self.skipped) * self.every

    @property
    def is_table(self) -> bool:
        """True for the table of observables."""
        return bool(self.columns)


def job_arrays(spec: JobSpec, d_state: int, members: int = 1) -> list[ArraySpec]:
    """Return the arrays of a job or block: one per recording, and `observables` if anything is observed.

    Of a job, only `frames` depends on the number of steps, so a job can be extended.
    """
    arrays = []
    for recording in spec.record:
        info = FIELDS[recording.field]
        shape: tuple[int, ...] = spec.grid
        dims: tuple[str, ...] = ("y", "x")
        if depth := info.depth(d_state):
            shape, dims = (*shape, depth), (*dims, "channel" if info.per_channel else "colour")
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
                skipped=spec.first_frame(recording.every),
            )
        )
    if spec.observe:
        names, every = spec.observe.names, spec.observe.every
        shape, dims, n = (len(names),), ("observable",), spec.frames_of(every)
        skipped = spec.first_frame(every)
        arrays.append(ArraySpec(TABLE, "float64", shape, dims, every, n, TABLE_ROWS, {}, names, skipped=skipped))
    return arrays if members == 1 else [_of_block(array, members) for array in arrays]


def last_array(name: str, dtype: str, shape: tuple[int, ...], members: int) -> ArraySpec:
    """Return the array of last states: one frame per member, not compressed because noise does not compress."""
    dims = tuple(f"axis_{axis}" for axis in range(len(shape)))
    array = ArraySpec(name, dtype, shape, dims, every=1, frames=1, per_shard=1, attributes={}, compressed=False)
    return array if members == 1 else _of_block(array, members)


def _of_block(array: ArraySpec, members: int) -> ArraySpec:
    """Cut an array of `members` members into objects of about BLOCK_SHARD_BYTES, over all frames if they fit."""
    size = array.frame_bytes
    together = 1 if array.is_table else max(min(INNER_BYTES // size, members), 1)
    frames = min(array.frames, BLOCK_OPEN_BYTES // (members * size), BLOCK_SHARD_BYTES // (together * size))
    frames = max(frames, 1)
    chunks = min(max(BLOCK_SHARD_BYTES // (frames * size * together), 1), -(-members // together))
    return replace(array, per_shard=frames, members=members, shard_members=chunks * together, chunk_members=together)


def step_dims(arrays: Sequence[ArraySpec]) -> dict[int, str]:
    """Name the time dimension of each schedule: `step`, or `step_<every>` if the job has several schedules."""
    schedules = sorted({array.every for array in arrays})
    return {every: "step" if len(schedules) == 1 else f"step_{every}" for every in schedules}


def column_attributes(observable: str) -> dict[str, str]:
    """Return units, name and formula of an observable."""
    info = OBSERVABLES[current_observable(observable)]
    return _attributes(observable, info.units, info.formula, "")


def _attributes(name: str, units: str, formula: str, note: str) -> dict[str, str]:
    found = {"units": units, "long_name": name.replace("_", " "), "formula": formula}
    return found | ({"note": note} if note else {})


def arrays_of(job: JobLike) -> list[ArraySpec]:
    """Return the recorded arrays of a row of the job table, or of the block of a member.

    Fidelity jobs and trainings have none. Once something is committed, the manifest says how the arrays of a block are
    cut.
    """
    if job.spec.get("kind") in ("fidelity", "training"):
        return []
    manifest = job.manifest or {}
    arrays = job_arrays(stored_spec(job.spec), job.d_state, int(manifest.get("members", job.members)))
    stored = manifest.get("arrays", {})
    return [as_stored(array, stored.get(array.name, {})) for array in arrays]


def as_stored(array: ArraySpec, stored: Mapping[str, Any]) -> ArraySpec:
    """Return an array cut as its entry of a manifest says."""
    if "shards" not in stored:
        return array
    shard_members, per_shard, chunk_members = map(int, stored["shards"])
    return replace(array, shard_members=shard_members, per_shard=per_shard, chunk_members=chunk_members)


def results_of(job: JobLike) -> str:
    """Return the id in the keys of a job's objects: that of its block if it is a member of one."""
    return job.block or job.id


def job_prefix(job_id: str) -> str:
    """Return the prefix of all keys of a job, for `Store.delete_prefix`."""
    return f"jobs/{job_id}/"
