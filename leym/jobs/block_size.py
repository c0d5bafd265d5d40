"""Number of members that share a block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from leym.contract.records import NewBlock, NewJob, Worker
from leym.contract.spec import JobSpec

TARGET_S = 10.0  # work of a block on one worker
SPREAD_S = 1.0  # work of a block below which spreading a sweep over more workers is not worth another row
SPEED = 5e6  # cell-steps per second, if no worker has reported its own
BLOCKS_PER_WORKER = 4  # so that workers which started at different times end together
MEMBERS = 4096  # of a block, at most
RECORDED_BYTES = 256 * 2**20  # recorded frames of a block
STATE_BYTES = 1 * 2**30  # last states of a block
BLOCKS = 10_000  # of a sweep: more rows would make its submission and its counts slow


def members_per_block(
    *,
    size: int,
    cell_steps: int,
    recorded_bytes: int,
    state_bytes: int,
    speed: float = SPEED,
    workers: int = 0,
    most: int = MEMBERS,
) -> int:
    """Choose how many members of a sweep share a block: seconds to minutes of work, and memory that a worker has.

    Args:
        size: members of the sweep.
        cell_steps: work of one member.
        recorded_bytes: uncompressed frames of one member.
        state_bytes: last state of one member.
        speed: cell-steps per second of one worker.
        workers: live workers.
        most: bound of the answer, if it is under 4096.

    Returns:
        Members per block, at least 1.
    """
    per_second = speed / cell_steps
    chosen = TARGET_S * per_second
    if workers:
        chosen = min(chosen, max(size / (BLOCKS_PER_WORKER * workers), SPREAD_S * per_second))
    chosen = max(chosen, size / BLOCKS)
    bounds = (most, MEMBERS, RECORDED_BYTES / max(recorded_bytes, 1), STATE_BYTES / max(state_bytes, 1))
    return max(int(min(chosen, *bounds)), 1)


def speed_of(workers: Iterable[Worker]) -> float:
    """Return the mean speed that workers have reported, in cell-steps per second; 0 if none has."""
    found = [worker.cell_steps_per_s for worker in workers if worker.cell_steps_per_s > 0]
    return sum(found) / len(found) if found else 0.0


def make_blocks(
    shapes: Iterable[tuple[NewJob, NDArray[np.int64]]], size: int, workers: list[Worker], most: int = 0
) -> Iterator[NewBlock]:
    """Divide the members of each shape of a sweep into blocks of increasing indices.

    Args:
        shapes: a job of each shape, with the indices of its members.
        size: members of the sweep.
        workers: live workers.
        most: members of a block at most; 0 for no bound of the caller.
    """
    speed = speed_of(workers) or SPEED
    for number, (job, indices) in enumerate(shapes):
        spec = job.spec
        if not isinstance(spec, JobSpec):
            raise TypeError("members of a sweep are no fidelity jobs")
        cells = spec.grid[0] * spec.grid[1]
        n = members_per_block(
            size=size,
            cell_steps=cells * spec.steps,
            recorded_bytes=spec.stored_bytes(job.d_state),
            state_bytes=8 * cells * job.d_state,
            speed=speed,
            workers=len(workers),
            most=most or MEMBERS,
        )
        for start in range(0, len(indices), n):
            yield NewBlock(number, job, indices[start : start + n])
