"""Averages observables over a window of steps, for all members of a row at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leym.contract.member_states import MemberStates
from leym.contract.problems import Problem
from leym.contract.records import Job
from leym.frames.chunks import read_rows
from leym.frames.layout import ArraySpec, arrays_of
from leym.frames.manifest import committed_arrays, visible_frames
from leym.frames.shards import DamagedError
from leym.frames.stores.base import Missing, Store


def window_means(store: Store, row: Job, first: int, last: int) -> dict[str, NDArray[np.float64]]:
    """Average each observable over the observed steps from `first` to `last`, both included, each object read once.

    Args:
        store: object store of the service.
        row: row of a block, or of one job.
        first: first step of the window.
        last: last step of the window.

    Returns:
        float64 [members] by name: the mean of the finite values, NaN for members without any in the window; empty if
        nothing is observed.

    Raises:
        Problem: 503 if they cannot be read.
        OSError: the store does not answer.
    """
    array = next((array for array in arrays_of(row) if array.is_table), None)
    if array is None or not row.manifest:
        return {}
    committed = committed_arrays(row.manifest, [array])[array.name]
    counts = _counts(row, array)
    total = np.zeros((array.members, len(array.columns)))
    number = np.zeros_like(total)
    begin, end = max(array.frame_at(first - 1) + 1, 0), array.frame_at(last) + 1
    for shard_row in range(begin // array.per_shard, -(-max(end, 0) // array.per_shard)):
        for column in range(array.member_shards):
            shard = shard_row * array.member_shards + column
            places = np.arange(array.members)[array.places_in(shard)]
            offset = array.first_frame(shard)
            rows = int(min(counts[places].max(initial=0), end, offset + array.per_shard)) - offset
            skipped = max(begin - offset, 0)
            if rows <= skipped:
                continue
            key = committed.key(row.id, array, shard)
            try:
                table = read_rows(store, key, array, shard, rows)[:, skipped:rows]  # [places, frames, observables]
            except (Missing, DamagedError) as error:
                raise Problem(503, "Results unreadable", f"job {row.id}: object {key!r}: {error}") from error
            frames = offset + skipped + np.arange(table.shape[1])
            there = np.isfinite(table) & (frames < counts[places][:, None])[..., None]
            total[places] += np.where(there, table, 0).sum(1)
            number[places] += there.sum(1)
    means = np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
    return {name: means[:, column] for column, name in enumerate(array.columns)}


def _counts(row: Job, array: ArraySpec) -> NDArray[np.int64]:
    """Count the observed steps of each member that readers see: int64 [members]."""
    if array.members == 1:
        return np.array([visible_frames(row, committed_arrays(row.manifest, [array]), [array])[array.name]], np.int64)
    steps = MemberStates.parse(row.member_states, array.members).step
    return np.maximum(np.asarray(steps, np.int64) // array.every + 1, 0)
