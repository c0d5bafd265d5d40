"""Frames and observables of a lineage as one timeline: each step comes from the job that computed it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leym.contract.problems import invalid, not_found
from leym.contract.records import Job
from leym.frames.layout import TABLE, JobLike, arrays_of
from leym.frames.reader import FrameReader
from leym.frames.stores.base import Store


class LineageReader(FrameReader):
    """Reads the frames of a job and of those that it continues, no step twice; the rest is as for the job alone.

    Frames of the jobs before it are converted to the dtype in which the job records the field. Jobs that did not record
    it, or whose results are gone, are left out.
    """

    def __init__(
        self,
        store: Store,
        job: JobLike,
        reload: Callable[[], JobLike] | None,
        before: Sequence[tuple[Job, FrameReader | None]],
        begins_at: int,
    ):
        """Set up the reader; nothing is read yet.

        Args:
            store: object store of the service.
            job: row of the job.
            reload: reads it again.
            before: the jobs that it continues, the first one first, with their readers; None where results are gone.
            begins_at: the step from which the job goes on.
        """
        super().__init__(store, job, reload)
        ends = [following.begins_at for following, _ in before[1:]] + [begins_at]
        self._before = [(one, reader, end) for (one, reader), end in zip(before, ends, strict=True)]

    @property
    def lineage(self) -> list[str]:
        """Ids of the jobs whose frames are joined, the first one first."""
        return [one.id for one, reader, _ in self._before if reader is not None] + [self.job.id]

    @property
    def gone(self) -> list[str]:
        """Ids of the jobs whose results are gone."""
        return [one.id for one, reader, _ in self._before if reader is None]

    def steps(
        self, field: str, start: int | None = None, stop: int | None = None, stride: int = 1
    ) -> NDArray[np.int64]:
        """Return the committed steps of the timeline, every `stride`-th of them: int64 [n]."""
        parts = [steps for _, steps in self._parts_of(field, start, stop, stride)]
        return np.concatenate([*parts, np.zeros(0, np.int64)])

    def frames(
        self, field: str, start: int | None = None, stop: int | None = None, stride: int = 1
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Iterate over (step, frame [H, W(, d)]) of the selected frames of the timeline."""
        dtype = self._field(field).dtype
        for reader, steps in self._parts_of(field, start, stop, stride):
            read = super().frames if reader is None else reader.frames
            if len(steps):
                for step, frame in read(field, int(steps[0]), int(steps[-1]) + 1, stride):
                    yield step, frame.astype(dtype, copy=False)

    def _parts_of(
        self, field: str, start: int | None, stop: int | None, stride: int
    ) -> list[tuple[FrameReader | None, NDArray[np.int64]]]:
        """Return the reader of each job that has recorded a field, None for the job's own, and its selected steps."""
        self._field(field)
        if stride < 1:
            raise invalid(f"stride = {stride} is below 1", "/stride")
        found: list[tuple[FrameReader | None, NDArray[np.int64]]] = []
        skipped = 0  # frames of the next job that come before its first selected one
        for reader, end in [*((reader, end) for _, reader, end in self._before if reader), (None, None)]:
            until = min((at for at in (stop, None if end is None else end + 1) if at is not None), default=None)
            if reader is None:
                steps = super().steps(field, start, until)
            elif field in {one["name"] for one in reader.fields()}:
                steps = reader.steps(field, start, until)
            else:
                continue
            found.append((reader, steps[skipped::stride]))
            skipped = (skipped - len(steps)) % stride
        return found


def joined_observables(
    path: Sequence[tuple[Job, FrameReader | None]],
    names: Sequence[str] | None = None,
    start: int | None = None,
    stop: int | None = None,
    stride: int = 1,
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Read the observables of a job and of those that it continues, no step twice.

    Args:
        path: the first job of the lineage, the one that continues it, …, and the job itself, with their readers; None
            for a job whose results are gone, which is left out.
        names: observables; None for all that the last job observes.
        start: first step.
        stop: step to stop before.
        stride: take every n-th observed step of the whole timeline.

    Returns:
        The steps, int64 [n], increasing; and float64 [n] per name, NaN where a job has not observed it.

    Raises:
        Problem: 404 if the last job does not observe one of `names`; others are those of `FrameReader.observables`.
    """
    own = _observed(path[-1][0])
    wanted = list(names or own)
    for name in wanted:
        if name not in own:
            raise not_found(f"observable (observed: {', '.join(own) or 'none'})", name)
    steps, columns = list[NDArray[np.int64]](), {name: list[NDArray[np.float64]]() for name in wanted}
    for (job, reader), following in zip(path, [*path[1:], None], strict=True):
        if reader is None:
            continue
        ends = [] if stop is None else [stop]
        if following is not None:
            ends.append(following[0].begins_at + 1)
        there = [name for name in wanted if name in _observed(job)]
        if not there:
            continue
        found, values = reader.observables(there, start, min(ends, default=None))
        steps.append(found)
        for name in wanted:
            columns[name].append(values.get(name, np.full(len(found), np.nan)))
    chosen = slice(None, None, stride)
    joined = {name: np.concatenate([*parts, np.zeros(0)])[chosen] for name, parts in columns.items()}
    return np.concatenate([*steps, np.zeros(0, np.int64)])[chosen], joined


def _observed(job: Job) -> tuple[str, ...]:
    """Return the names of the observables of a job."""
    return next((array.columns for array in arrays_of(job) if array.name == TABLE), ())
