"""Reading committed frames and observables as numpy arrays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from leym.contract.problems import Problem, invalid, not_found
from leym.frames.layout import ArraySpec, JobLike, arrays_of
from leym.frames.manifest import committed_arrays, visible_frames
from leym.frames.shards import DamagedError, decode_frame, index_bytes, parse_index, parse_table
from leym.frames.stores.base import Missing, Store

WHOLE = 0.5  # share of a shard's frames above which reading the whole object is faster than one read per frame

T = TypeVar("T")


def check_available(job: JobLike) -> None:
    """Check that the results of a job can be read.

    Raises:
        Problem: 410 if they were deleted or have expired.
    """
    if why := job.gone(time.time()):
        raise Problem(410, "Gone", f"job {job.id}: its results {why}")


class FrameReader:
    """Reads the committed frames and observables of one job.

    Every method raises Problem: 503 if a committed object is missing or damaged, 404 for a field or observable that is
    not recorded, 410 if the job is deleted or expires meanwhile.
    """

    def __init__(self, store: Store, job: JobLike, reload: Callable[[], JobLike] | None = None):
        """Set up the reader; nothing is read yet.

        Args:
            store: object store of the service.
            job: row of the job.
            reload: reads the row again. A running job needs it, because commits replace partial objects.
        """
        self.job = job  # the row of the start; later reads may use a newer one
        self._store, self._reload = store, reload
        self._arrays = {array.name: array for array in arrays_of(job)}
        self._take(job)

    def _take(self, job: JobLike) -> None:
        self._job = job
        self._committed = committed_arrays(job.manifest, list(self._arrays.values()))
        self._visible = visible_frames(self._committed, list(self._arrays.values()))

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
                    "steps": {"start": 0, "stop": committed * array.every, "stride": array.every},
                }
            )
        return found

    def steps(
        self, field: str, start: int | None = None, stop: int | None = None, stride: int = 1
    ) -> NDArray[np.int64]:
        """Return the committed steps of a field with start <= step < stop, every `stride`-th of them: int64 [n]."""
        array = self._field(field)
        return self._indices(array, start, stop, stride) * array.every

    def frame_bytes(self, field: str) -> int:
        """Return the uncompressed size of one frame in bytes."""
        return self._field(field).frame_bytes

    def frames(
        self, field: str, start: int | None = None, stop: int | None = None, stride: int = 1
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Iterate over (step, frame [H, W(, d)]) of the selected frames, with one shard in memory at a time."""
        array = self._field(field)
        indices = self._indices(array, start, stop, stride)
        for shard in np.unique(indices // array.per_shard).tolist():
            wanted = indices[indices // array.per_shard == shard].tolist()
            parts = self._retrying(lambda a=array, s=shard, w=wanted: self._parts(a, s, w))  # type: ignore[misc]
            for index, part in zip(wanted, parts, strict=True):
                yield index * array.every, self._decode(array, shard, part)

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
        for shard in np.unique(indices // array.per_shard).tolist():
            inside = indices // array.per_shard == shard
            table = self.table(array, shard)
            rows[inside] = table[indices[inside] - shard * array.per_shard]
        return indices * array.every, {name: rows[:, columns.index(name)] for name in names or columns}

    def table(self, array: ArraySpec, shard: int) -> NDArray[np.float64]:
        """Read the committed rows of one object of the observables: float64 [rows, columns]."""

        def read() -> NDArray[np.float64]:
            stored = self._committed[array.name]
            data = self._store.get(stored.key(self._job.id, array, shard))
            return parse_table(data, len(array.columns), stored.frames_in(array, shard))

        return self._retrying(read)

    def _parts(self, array: ArraySpec, shard: int, indices: Sequence[int]) -> list[bytes]:
        """Read encoded frames by index; all must be in one shard."""
        stored = self._committed[array.name]
        key, committed = stored.key(self._job.id, array, shard), stored.frames_in(array, shard)
        inside = [index - shard * array.per_shard for index in indices]
        tail = index_bytes(array.per_shard)
        if len(inside) > WHOLE * committed:
            data = self._store.get(key)
            index = parse_index(data[-tail:], array.per_shard, len(data), committed)
            return [data[at : at + length] for at, length in index[inside].tolist()]
        size = self._store.head(key)
        if size is None:
            raise Missing(key)
        index = parse_index(self._store.get_range(key, max(0, size - tail), tail), array.per_shard, size, committed)
        spans = index[inside].tolist()
        if inside[-1] - inside[0] + 1 > len(inside):
            return [self._store.get_range(key, at, length) for at, length in spans]
        begin, end = spans[0][0], sum(spans[-1])  # one read for adjacent frames
        data = self._store.get_range(key, begin, end - begin)
        return [data[at - begin : at - begin + length] for at, length in spans]

    def _decode(self, array: ArraySpec, shard: int, part: bytes) -> NDArray[Any]:
        try:
            return decode_frame(part, array.dtype, array.shape)
        except DamagedError as error:
            raise self._unreadable(f"shard {shard} of {array.name!r}: {error}") from error

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
        every = array.every
        first = max(0, -(-(start or 0) // every))
        end = self._visible[array.name] if stop is None else min(self._visible[array.name], -(-stop // every))
        return np.arange(first, max(first, end), stride, dtype=np.int64)
