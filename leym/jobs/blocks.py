"""Rows of blocks: their insertion, their end, and their division."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, insert, select, update

from leym.contract.ids import new_id
from leym.contract.member_states import MemberState
from leym.contract.problems import Problem
from leym.contract.ranges import pack_ranges
from leym.contract.records import Job, JobState
from leym.contract.sweep_plan import SweepPlan
from leym.jobs.history import appended
from leym.jobs.member_progress import state_values
from leym.jobs.members import BlockRow, own_keys
from leym.jobs.queries import change_job, checkpoint_bytes, dump
from leym.jobs.schema import LIVE_MEMBERS, jobs

_ROWS = 500  # inserted by one statement, so that a million members are never in memory together


def member_columns(indices: NDArray[np.int64], of_one: int) -> dict[str, Any]:
    """Return the columns of a new block that depend on its members.

    Args:
        indices: int64 [n], increasing.
        of_one: steps of each member.
    """
    n = len(indices)
    return {
        "members": n,
        "indices": pack_ranges(indices),
        "first": int(indices[0]),
        "last": int(indices[-1]),
        "steps": n * of_one,
        "remaining": n * of_one,
    }


def insert_rows(connection: Connection, rows: Iterator[dict[str, Any]]) -> int:
    """Insert rows, some at a time, and return their number."""
    inserted = 0
    while some := [row for _, row in zip(range(_ROWS), rows, strict=False)]:
        connection.execute(insert(jobs), some)
        inserted += len(some)
    return inserted


def end_block(connection: Connection, job: Job, column: str) -> int:
    """Count the members that have not ended as ended together with their row, and return their number.

    A single job, which counts as one, is not changed.

    Args:
        connection: the transaction, which has locked the row.
        job: the row.
        column: "succeeded", "failed" or "cancelled".
    """
    if job.indices is None:
        return 1
    left = int(connection.execute(select(LIVE_MEMBERS).where(jobs.c.id == job.id)).scalar_one())
    connection.execute(update(jobs).where(jobs.c.id == job.id).values({column: jobs.c[column] + left, "remaining": 0}))
    return left


def move_members(
    connection: Connection, plan: SweepPlan, block: BlockRow, places: NDArray[np.int64], **values: Any
) -> str:
    """Insert a block of members of another one, from which they begin again. The old row must be changed afterwards.

    Args:
        connection: the transaction, which has locked the row.
        plan: the sweep.
        block: the block that has the members.
        places: their places, increasing.
        values: columns that differ from those of the old row, apart from those of a block that has not begun.

    Returns:
        Id of the new row.
    """
    old = connection.execute(select(jobs).where(jobs.c.id == block.row.id)).mappings().one()
    indices = block.indices[places]
    fresh: dict[str, Any] = {
        "id": new_id(),
        "state": JobState.QUEUED.value,
        "step": 0,
        "epoch": 0,
        "owner": None,
        "lease_until": None,
        "error": None,
        "finished_at": None,
        "manifest": "{}",
        "checkpoint": None,
        "observables_last": None,
        "stored_bytes": 0,
        "frames": 0,
        "ticketed_at": None,
        "held_back_at": None,
        "member_states": None,
        "cancelling": None,
        "history": None,
        "device_s": 0.0,
        **dict.fromkeys(("succeeded", "failed", "cancelled", "moved"), 0),
        "spec": dump(block.row.spec | own_keys(plan, indices[:1])[0]),
    }
    of_one = block.row.steps // block.row.members
    connection.execute(insert(jobs), dict(old) | fresh | member_columns(indices, of_one) | values)
    block.states.state[places] = MemberState.MOVED
    return str(fresh["id"])


def requeue(connection: Connection, job: Job, attempts: int, why: str, now: float | None = None, **values: Any) -> None:
    """Return a row to the queue without a holder and without a ticket, and set more columns.

    Args:
        connection: the transaction, which has locked the row.
        job: the row.
        attempts: claims without progress from now on.
        why: reason, for the history.
        now: the time.
        values: further columns.
    """
    change_job(
        connection,
        job.id,
        state=JobState.QUEUED.value,
        attempts=attempts,
        owner=None,
        lease_until=None,
        ticketed_at=None,
        history=appended("queued", now, worker=job.owner, step=job.step, why=why),
        **values,
    )


def split(connection: Connection, plan: SweepPlan, job: Job, attempts: int) -> bool:
    """Divide the live members of a queued or running block that may be poison: the upper half moves to a new row.

    Both halves have `attempts` claims behind them, so that each is tried once more, and start from the beginning.

    Args:
        connection: the transaction, which has locked the row.
        plan: the sweep.
        job: the row.
        attempts: attempts of both halves.

    Returns:
        False if at most one member is live, so that nothing can be divided.
    """
    block = BlockRow.of(job)
    live = block.states.live
    if len(live) < 2:
        return False
    move_members(connection, plan, block, live[(len(live) + 1) // 2 :], attempts=attempts)
    requeue(
        connection,
        job,
        attempts,
        "it was divided: one of its members may end its workers",
        checkpoint=None,
        stored_bytes=max(job.stored_bytes - checkpoint_bytes(job.checkpoint), 0),
        **state_values(job, block.states),
    )
    return True


def fail_last(connection: Connection, job: Job, error: Problem, now: float) -> int:
    """Fail a single job, or the only live member of a block, and end the row. Returns the number of failed jobs."""
    values: dict[str, Any] = {"state": JobState.FAILED.value, "error": dump(error.as_dict())}
    failed = 1
    if job.indices is not None:
        block = BlockRow.of(job)
        failed = len(block.states.live)
        block.states.end(block.states.live, MemberState.FAILED, problem=error.as_dict())
        values |= state_values(job, block.states)
    change_job(connection, job.id, **values, finished_at=now, lease_until=None)
    return failed


def lock_rows(connection: Connection, ids: Sequence[str]) -> None:
    """Keep other transactions from changing these rows."""
    connection.execute(select(jobs.c.id).where(jobs.c.id.in_(ids)).order_by(jobs.c.id).with_for_update()).all()
