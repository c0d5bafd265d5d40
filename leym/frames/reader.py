"""Reading committed frames and observables as numpy arrays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from leym.contract.problems import Problem, invalid, not_found
from leym.frames.chunks import decode_chunk, read_chunks, read_rows
from leym.frames.layout import TABLE, ArraySpec, JobLike, arrays_of, results_of
from leym.frames.manifest import committed_arrays, visible_frames
from leym.frames.shards import DamagedError
from leym.frames.stores.base import Missing, Store

T = TypeVar("T")


def check_available(job: JobLike) -> None:
    """Check that the results of a job can be read.

    Raises:
        Problem: 410 if they were deleted or have expired.
    """
    if why := job.gone(time.time()):
        raise Problem(410, "Gone", f"job {job.id}: its results {why}")


class FrameReader:
    """Reads the committed frames and observables of one job, or of one member of a sweep.

    Every method raises Problem: 503 if a committed object is missing or damaged, 404 for a field or observable that is
    not recorded, 410 if the job is deleted or expires meanwhile.
    """

    def __init__(self, store: Store, job: JobLike, reload: Callable[[], JobLike] | None = None):
        """Set up the reader; nothing is read yet.

        Args:
            store: object store of the service.
            job: row of the job, or view of the member.
            reload: reads it again. A running job needs it, because commits replace partial objects.
        """
        self.job = job  # the row of the start; later reads may use a newer one
        self._store, self._reload = store, reload
        self._take(job)

    def _take(self, job: JobLike) -> None:
        self._job, arrays = job, arrays_of(job)
        self._arrays = {array.name: array for array in arrays}
        self._committed = committed_arrays(job.manifest, arrays)
        self._visible = visible_frames(job, self._committed, arrays)

    def fields(self) -> list[dict[str, Any]]:
        """Describe every recorded field.

        Returns:
            Per field: name, shape [committed, H, W(, d)], dtype, dims, units, formula, every, committed (frames that
            can be read), frames (at the end of the job), and steps {start, stop, stride}, where stop is exclusive.
        """
        found = []
        for array in self._arrays.values():
            if array.is_table:
                continue
            committed = self._visible[array.name]
            found.append(
                {
                    "name": array.name,
                    "shape": [committed, *array.shape],
                    "dtype": array.dtype,
                    "dims": ["step", *array.dims],
                    "units": array.attributes["units"],
                    "formula": array.attributes["formula"],
                    "every": array.every,
                    "committed": committed,
                    "frames": array.frames,
                    "steps": {"start": array.step_of(0), "stop": array.step_of(committed), "stride": array.every},
                }
            )
        return found

    def steps(
        self, field: str, start: int | None = None, stop: int | None = None, stride: int = 1
    ) -> NDArray[np.int64]:
        """Return the committed steps of a field with start <= step < stop, every `stride`-th of them: int64 [n]."""
        array = self._field(field)
        return (self._indices(array, start, stop, stride) + array.skipped) * array.every

    def frame_bytes(self, field: str) -> int:
        """Return the uncompressed size of one frame in bytes."""
        return self._field(field).frame_bytes

    def frames(
        self, field: str, start: int | None = None, stop: int | None = None, stride: int = 1
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Iterate over (step, frame [H, W(, d)]) of the selected frames, with one shard in memory at a time."""
        array = self._field(field)
        indices = self._indices(array, start, stop, stride)
        for column in np.unique(indices // array.per_shard).tolist():
            wanted = indices[indices // array.per_shard == column].tolist()
            parts = self._retrying(lambda n=field, w=wanted: self._parts(n, w))  # type: ignore[misc]
            for index, part in zip(wanted, parts, strict=True):
                yield array.step_of(index), self._decode(index, field, part)

    def read(
        self, field: str, start: int | None = None, stop: int | None = None, stride: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Read (steps int64 [n], frames [n, H, W(, d)]); start and stop are steps, stride counts recorded frames."""
        array = self._field(field)
        steps = self.steps(field, start, stop, stride)
        frames = np.empty((len(steps), *array.shape), array.dtype)
        for i, (_, frame) in enumerate(self.frames(field, start, stop, stride)):
            if i < len(frames):  # a commit since the call of `steps` may have added more
                frames[i] = frame
        return steps, frames

    def observables(
        self,
        names: Sequence[str] | None = None,
        start: int | None = None,
        stop: int | None = None,
        stride: int = 1,
    ) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
        """Read (steps int64 [n], {name: float64 [n]}) of the named or of all observables; empty if the job has none."""
        array = next((a for a in self._arrays.values() if a.is_table), None)
        columns = array.columns if array else ()
        for name in names or ():
            if name not in columns:
                raise not_found(f"observable (observed: {', '.join(columns) or 'none'})", name)
        if array is None:
            return np.zeros(0, np.int64), {}
        indices = self._indices(array, start, stop, stride)
        rows = np.empty((len(indices), len(columns)), np.float64)
        for column in np.unique(indices // array.per_shard).tolist():
            inside = np.flatnonzero(indices // array.per_shard == column)
            rows[inside] = self._retrying(lambda w=indices[inside]: self._rows(w))  # type: ignore[misc]
        return (indices + array.skipped) * array.every, {
            name: rows[:, columns.index(name)] for name in names or columns
        }

    def _rows(self, frames: NDArray[np.int64]) -> NDArray[np.float64]:
        """Read rows of the observables by frame; all must be in one shard."""
        array, place = self._arrays[TABLE], self._job.place
        shard = array.shard_of(place, int(frames[0]))
        key = self._committed[TABLE].key(results_of(self._job), array, shard)
        inside = frames - array.first_frame(shard)
        table = read_rows(self._store, key, array, shard, int(inside.max()) + 1)
        rows: NDArray[np.float64] = table[place - array.places_in(shard).start, inside]
        return rows

    def _parts(self, field: str, frames: Sequence[int]) -> list[bytes]:
        """Read the encoded chunks with some frames; all must be in one shard."""
        array, place = self._arrays[field], self._job.place
        key = self._committed[field].key(results_of(self._job), array, array.shard_of(place, frames[0]))
        return read_chunks(self._store, key, array, place, frames, self._visible[field])

    def _decode(self, frame: int, field: str, part: bytes) -> NDArray[Any]:
        try:
            return decode_chunk(self._arrays[field], self._job.place, part)
        except DamagedError as error:
            raise self._unreadable(f"frame {frame} of {field!r}: {error}") from error

    def _retrying(self, read: Callable[[], T]) -> T:
        """Read, and if an object is missing, reload the job and read again: a later commit may have replaced it."""
        try:
            return read()
        except Missing as error:
            if self._reload is None:
                raise self._unreadable(f"object {error} is missing") from error
        except DamagedError as error:
            raise self._unreadable(str(error)) from error
        self._take(self._reload())
        check_available(self._job)
        try:
            return read()
        except (Missing, DamagedError, IndexError) as error:  # IndexError: the manifest no longer has the shard
            raise self._unreadable(f"a committed object is missing or damaged: {error}") from error

    def _unreadable(self, why: str) -> Problem:
        return Problem(503, "Frames unreadable", f"job {self._job.id}: {why}")

    def _field(self, name: str) -> ArraySpec:
        array = self._arrays.get(name)
        if array is None or array.is_table:
            known = ", ".join(a.name for a in self._arrays.values() if not a.is_table)
            raise not_found(f"recording (this job records: {known or 'nothing'})", name)
        return array

    def _indices(self, array: ArraySpec, start: int | None, stop: int | None, stride: int) -> NDArray[np.int64]:
        if stride < 1:
            raise invalid(f"stride = {stride} is below 1", "/stride")
        every, visible = array.every, self._visible[array.name]
        first = max(0, -(-(start or 0) // every) - array.skipped)
        end = visible if stop is None else min(visible, -(-stop // every) - array.skipped)
        return np.arange(first, max(first, end), stride, dtype=np.int64)
