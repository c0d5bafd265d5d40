"""Which frames of a job are committed, as one ordered line of steps: the events of its stream.

It is computed from the job's row alone, so that every reader, at any time and after any crash, finds the same events
with the same ids. A writer that goes back to a checkpoint changes nothing here: what was visible stays visible.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

from leym.contract.records import Job
from leym.frames.layout import ArraySpec, arrays_of
from leym.frames.manifest import committed_arrays, visible_frames
from leym.frames.reader import FrameReader

AT_ONCE = 1024  # steps whose observables are read together


@dataclass(frozen=True)
class Moment:
    """One step at which something was recorded."""

    step: int
    fields: list[str]
    observables: dict[str, float]


class Timeline:
    def __init__(self, job: Job, arrays: list[ArraySpec] | None = None):
        """arrays: `arrays_of(job)`, where the caller has them: they do not change while a job runs."""
        self.arrays = arrays_of(job) if arrays is None else arrays
        self._frames = visible_frames(committed_arrays(job.manifest, self.arrays), self.arrays)
        # An event tells all of a step, so it waits for the slowest array; of a job that has ended nothing more comes.
        due = (n * a.every for a, n in ((a, self._frames[a.name]) for a in self.arrays) if n < a.frames)
        self._end = job.steps + 1 if job.final else min(due, default=job.steps + 1)

    def steps(self, after: int) -> Iterator[int]:
        """The steps of the line behind `after`, in order; -1 for all."""
        lines = []
        for array in self.arrays:
            first = (after // array.every + 1) * array.every
            lines.append(range(first, min(self._frames[array.name] * array.every, self._end), array.every))
        return (step for step, _ in groupby(heapq.merge(*lines)))

    def moments(self, reader: FrameReader, after: int) -> Iterator[Moment]:
        """What was recorded at each of them. Raises Problem 503 if numbers cannot be read."""
        steps = self.steps(after)
        while some := list(islice(steps, AT_ONCE)):
            numbers = self._numbers(reader, some)
            for step in some:
                fields = [a.name for a in self.arrays if not a.is_table and self._has(a, step)]
                yield Moment(step, fields, numbers.get(step, {}))

    def _numbers(self, reader: FrameReader, steps: list[int]) -> dict[int, dict[str, float]]:
        if not any(self._has(array, step) for array in self.arrays if array.is_table for step in steps):
            return {}
        at, columns = reader.observables(None, steps[0], steps[-1] + 1)
        rows: list[dict[str, Any]] = [{} for _ in at]
        for name, values in columns.items():
            for row, value in zip(rows, values.tolist(), strict=True):
                row[name] = value
        return dict(zip(at.tolist(), rows, strict=True))

    def _has(self, array: ArraySpec, step: int) -> bool:
        return step % array.every == 0 and step // array.every < self._frames[array.name]
