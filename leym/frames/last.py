"""The last state of a job or member, and the newest observables of all members of a block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leym.contract.member_states import MemberStates
from leym.contract.problems import Problem, not_found
from leym.contract.records import Job
from leym.frames.checkpoint import get_checkpoint
from leym.frames.chunks import decode_chunk, read_chunks, read_rows
from leym.frames.layout import ArraySpec, arrays_of, results_of
from leym.frames.manifest import committed_arrays, last_arrays, visible_frames
from leym.frames.shards import DamagedError
from leym.frames.stores.base import Missing, Store


def last_state_step(job: Job) -> int | None:
    """Return the step of the last state that the store keeps of a job or member; None if it keeps none.

    A member that was stopped early or has failed has none: only the frames up to there. Nor has a training.
    """
    if job.is_training:
        return None
    if job.block is None:
        return int(job.checkpoint["step"]) if job.final and job.checkpoint and "step" in job.checkpoint else None
    return job.step if job.state == "succeeded" and job.step == job.steps else None


def last_state(store: Store, job: Job) -> NDArray[np.complex64]:
    """Read the state at the last step of a job or member that has succeeded: psi, complex64 [H, W, d].

    Jobs of version 0.1.0 have it in their checkpoint.

    Raises:
        Problem: 404 if it has none, 503 if it cannot be read.
        OSError: the store does not answer.
    """
    return np.asarray(last_arrays_of_state(store, job)["psi"])


def last_arrays_of_state(store: Store, job: Job) -> dict[str, NDArray[Any]]:
    """Read the state at the last step of a job or member with everything that a continuation needs.

    Returns:
        psi, complex64 [H, W, d]; and memory, float32 [M, H/4, W/4], of a law that has one.

    Raises:
        Problem: 404 if it has none, 503 if it cannot be read.
        OSError: the store does not answer.
    """
    arrays = {array.name: array for array in last_arrays(job)}
    if "last_psi" not in arrays and job.checkpoint is not None and job.block is None:
        found = get_checkpoint(store, job.checkpoint)
        return {name: found[name] for name in ("psi", "memory") if name in found}
    names = [name for name in arrays if name != "last_psi"]
    return {name.removeprefix("last_"): _last(store, job, arrays.get(name)) for name in ("last_psi", *names)}


def _last(store: Store, job: Job, array: ArraySpec | None) -> NDArray[Any]:
    """Read one array of the last state of a member.

    Raises:
        Problem: 404 if there is none, 503 if it cannot be read.
    """
    shard = array.shard_of(job.place, 0) if array else 0
    committed = committed_arrays(job.manifest, [array], "last")[array.name] if array else None
    if array is None or committed is None or committed.find(shard) is None or job.state != "succeeded":
        raise not_found("last state of job", job.id)
    key = committed.key(results_of(job), array, shard)
    try:
        return decode_chunk(array, job.place, read_chunks(store, key, array, job.place, [0], 1)[0])
    except (Missing, DamagedError) as error:
        raise _unreadable(job, f"object {key!r}: {error}") from error


def last_observables(store: Store, row: Job) -> dict[str, NDArray[np.float64]]:
    """Read the newest committed value of each observable for all members of a row, each object once.

    Returns:
        float64 [members] by name, NaN for members without any; empty if nothing is observed.

    Raises:
        Problem: 503 if they cannot be read.
        OSError: the store does not answer.
    """
    array = next((array for array in arrays_of(row) if array.is_table), None)
    if array is None:
        return {}
    committed = committed_arrays(row.manifest, [array])
    if array.members == 1:
        frames = np.array([visible_frames(row, committed, [array])[array.name]]) - 1
    else:
        frames = MemberStates.parse(row.member_states, array.members).step // array.every
    found = np.full((array.members, len(array.columns)), np.nan)
    there = np.flatnonzero(frames >= 0)
    shards = frames[there] // array.per_shard * array.member_shards + there // array.shard_members
    for shard in np.unique(shards).tolist():
        places = there[shards == shard]
        rows = frames[places] - array.first_frame(shard)
        key = committed[array.name].key(row.id, array, shard)
        try:
            table = read_rows(store, key, array, shard, int(rows.max()) + 1)
        except (Missing, DamagedError) as error:
            raise _unreadable(row, f"object {key!r}: {error}") from error
        found[places] = table[places - array.places_in(shard).start, rows]
    return {name: found[:, column] for column, name in enumerate(array.columns)}


def _unreadable(job: Job, why: str) -> Problem:
    return Problem(503, "Results unreadable", f"job {job.id}: {why}")
