"""Observables of a lineage as one timeline: each step comes from the job that computed it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leym.contract.problems import not_found
from leym.contract.records import Job
from leym.frames.layout import TABLE, arrays_of
from leym.frames.reader import FrameReader


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
