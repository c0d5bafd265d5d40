"""Reads committed frames and observables as numpy arrays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from leym.contract.problems import Problem, invalid, not_found
from leym.frames.layout import ArraySpec, JobLike, arrays_of
from leym.frames.manifest import series_of, visible
from leym.frames.shards import Damaged, decode_frame, index_bytes, parse_index, parse_table
from leym.frames.stores.base import Missing, Store

WHOLE = 0.5  # above this share of a shard's frames one read of all of it is quicker than one per frame

T = TypeVar("T")


def check_there(job: JobLike) -> None:
    """Raises Problem 410 when the results of a job were deleted or have expired."""
    if why := job.gone(time.time()):
        raise Problem(410, "Gone", f"job {job.id}: its results {why}")


class FrameReader:
    """What is committed of one job.

    reload: gives the job afresh; needed while the job runs, because a commit replaces partly filled objects.
    Every method raises Problem 503 if a committed object is missing or damaged, 404 for what is not recorded, and
    410 when the job is deleted or expires while it is read.
    """

    def __init__(self, store: Store, job: JobLike, reload: Callable[[], JobLike] | None = None):
        self.job = job  # as it was when this reader was made; what is selected later may be of a later moment
        self._store, self._reload = store, reload
        self._arrays = {array.name: array for array in arrays_of(job)}
        self._take(job)

    def _take(self, job: JobLike) -> None:
        self._job = job
        self._series = series_of(job.manifest, list(self._arrays.values()))
        self._visible = visible(self._series, list(self._arrays.values()))

    def fields(self) -> list[dict[str, Any]]:
        """Per recorded field: name, shape [committed, H, W(, d)], dtype, dims, units, formula, every, committed
        (frames), frames (due in all) and steps {start, stop, stride} (stop is exclusive, as in range)."""
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
        """Committed steps of a field with start <= step < stop, every `stride`-th recorded frame of them: int64 [n]."""
        array = self._field(field)
        return self._indices(array, start, stop, stride) * array.every

    def frame_bytes(self, field: str) -> int:
        """Uncompressed bytes of one frame."""
        return self._field(field).frame_bytes

    def frames(
        self, field: str, start: int | None = None, stop: int | None = None, stride: int = 1
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """`(step, frame [H, W(, d)])` of the selected frames, one shard in memory at a time."""
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
        """`(steps int64 [n], frames [n, H, W(, d)])`; start and stop are steps, stride counts recorded frames."""
        array = self._field(field)
        steps = self.steps(field, start, stop, stride)
        frames = np.empty((len(steps), *array.shape), array.dtype)
        for i, (_, frame) in enumerate(self.frames(field, start, stop, stride)):
            if i < len(frames):  # more may have been committed since `steps`
                frames[i] = frame
        return steps, frames

    def observables(
        self,
        names: Sequence[str] | None = None,
        start: int | None = None,
        stop: int | None = None,
        stride: int = 1,
    ) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
        """`(steps int64 [n], {name: float64 [n]})`; all observables of the job unless named. Empty if it has none."""
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
        """The committed rows of one object of the observables: float64 [rows, columns]."""

        def read() -> NDArray[np.float64]:
            series = self._series[array.name]
            data = self._store.get(series.key(self._job.id, array, shard))
            return parse_table(data, len(array.columns), series.frames_in(array, shard))

        return self._retrying(read)

    def _parts(self, array: ArraySpec, shard: int, indices: Sequence[int]) -> list[bytes]:
        """The encoded frames of these indices, all of one shard."""
        series = self._series[array.name]
        key, there = series.key(self._job.id, array, shard), series.frames_in(array, shard)
        inside = [index - shard * array.per_shard for index in indices]
        tail = index_bytes(array.per_shard)
        if len(inside) > WHOLE * there:
            data = self._store.get(key)
            index = parse_index(data[-tail:], array.per_shard, len(data), there)
            return [data[at : at + length] for at, length in index[inside].tolist()]
        size = self._store.head(key)
        if size is None:
            raise Missing(key)
        index = parse_index(self._store.get_range(key, max(0, size - tail), tail), array.per_shard, size, there)
        spans = index[inside].tolist()
        if inside[-1] - inside[0] + 1 > len(inside):
            return [self._store.get_range(key, at, length) for at, length in spans]
        begin, end = spans[0][0], sum(spans[-1])  # frames that follow each other are one read
        data = self._store.get_range(key, begin, end - begin)
        return [data[at - begin : at - begin + length] for at, length in spans]

    def _decode(self, array: ArraySpec, shard: int, part: bytes) -> NDArray[Any]:
        try:
            return decode_frame(part, array.dtype, array.shape)
        except Damaged as error:
            raise self._unreadable(f"shard {shard} of {array.name!r}: {error}") from error

    def _retrying(self, read: Callable[[], T]) -> T:
        """An object that is gone may have been replaced by a later commit: look there before giving up."""
        try:
            return read()
        except Missing as error:
            if self._reload is None:
                raise self._unreadable(f"object {error} is missing") from error
        except Damaged as error:
            raise self._unreadable(str(error)) from error
        self._take(self._reload())
        check_there(self._job)
        try:
            return read()
        except (Missing, Damaged, IndexError) as error:  # IndexError: its manifest no longer has the shard
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
