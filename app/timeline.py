"""Lists the committed steps of a job in order, which are the `frame` events of its stream.

The list follows from the job's row alone, so every reader finds the same events with the same ids, at any time and
after any crash. A writer that goes back to a checkpoint does not change it: what was visible stays visible.
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

READ_STEPS = 1024  # observables are read for so many steps at once


@dataclass(frozen=True)
class RecordedStep:
    """A step at which fields or observables were recorded."""

    step: int
    fields: list[str]
    observables: dict[str, float]


class Timeline:
    """The committed steps of a job, as of one row of the job table."""

    def __init__(self, job: Job, arrays: list[ArraySpec] | None = None):
        """Compute the timeline.

        Args:
            job: The job.
            arrays: `arrays_of(job)`, if the caller has it; it does not change while the job runs.
        """
        self.arrays = arrays_of(job) if arrays is None else arrays
        self._frames = visible_frames(job, committed_arrays(job.manifest, self.arrays), self.arrays)
        # An event has everything that was recorded at its step, so it waits for the slowest array of a running job.
        missing = (a.step_of(n) for a, n in ((a, self._frames[a.name]) for a in self.arrays) if n < a.frames)
        self._end = job.steps + 1 if job.final else min(missing, default=job.steps + 1)

    def steps(self, after: int) -> Iterator[int]:
        """Yield the steps after step `after` in order; -1 yields all of them."""
        per_array = []
        for array in self.arrays:
            stop = min(array.step_of(self._frames[array.name]), self._end)
            per_array.append(range(array.next_step(after), stop, array.every))
        return (step for step, _ in groupby(heapq.merge(*per_array)))

    def recorded_steps(self, reader: FrameReader, after: int) -> Iterator[RecordedStep]:
        """Yield the steps after step `after` with the names of their fields and the values of their observables.

        Raises:
            Problem: 503 if observables cannot be read.
        """
        remaining = self.steps(after)
        while steps := list(islice(remaining, READ_STEPS)):
            observables = self._observables(reader, steps)
            for step in steps:
                fields = [a.name for a in self.arrays if not a.is_table and self._has(a, step)]
                yield RecordedStep(step, fields, observables.get(step, {}))

    def _observables(self, reader: FrameReader, steps: list[int]) -> dict[int, dict[str, float]]:
        if not any(self._has(array, step) for array in self.arrays if array.is_table for step in steps):
            return {}
        observed, columns = reader.observables(None, steps[0], steps[-1] + 1)
        rows: list[dict[str, Any]] = [{} for _ in observed]
        for name, values in columns.items():
            for row, value in zip(rows, values.tolist(), strict=True):
                row[name] = value
        return dict(zip(observed.tolist(), rows, strict=True))

    def _has(self, array: ArraySpec, step: int) -> bool:
        return step % array.every == 0 and 0 <= array.frame_at(step) < self._frames[array.name]
