"""Sweeps in the job table: submitted whole, paged in the order of their points, cancelled together.

`rows_of` makes sweeps as version 0.1.0 did. `test_blocks.py` has those of blocks.
"""

from __future__ import annotations

import pytest

from leym.contract.problems import Problem
from leym.contract.records import Fenced, JobState
from leym.jobs.quotas import Quotas
from tests.support.job_tables import T0, rows_of, sweep_of


def test_a_sweep_is_submitted_once_and_whole(table):
    sweep, rows, created = sweep_of(table, idempotency_key="s")
    assert created
    assert (sweep.size, sweep.blocks, len(rows)) == (5, 2, 2)
    assert [(row.members, row.indices, row.steps) for row in rows] == [(3, "0-2", 300), (2, "3-4", 200)]
    assert sweep == table.get_sweep(sweep.id)
    assert sweep.counts["queued"] == 5
    assert (sweep.cell_steps, sweep.cell_steps_done) == (500 * 8 * 16, 0)
    assert not sweep.final
    assert sweep_of(table, idempotency_key="s") == (sweep, rows, False)
    with pytest.raises(Problem, match="'s' was used before"):
        sweep_of(table, 4, idempotency_key="s")
    assert table.totals()["submitted"] == 5 == table.counts()["queued"]

    table.quotas = Quotas(live_jobs=8)
    with pytest.raises(Problem, match="5 jobs of project 'default' are queued or running; 4 more would exceed its quo"):
        sweep_of(table, 4, idempotency_key="full")
    assert table.totals()["submitted"] == 5 == table.counts()["queued"]
    assert sweep_of(table, 3, idempotency_key="full")[2]


def test_members_are_paged_in_the_order_of_the_points(table):
    sweep, jobs = rows_of(table)
    table.delete(table.cancel(jobs[1].id).id)
    first, cursor = table.sweep_members(sweep.id, limit=3)
    second, end = table.sweep_members(sweep.id, limit=3, cursor=cursor)
    assert [job.id for job in first + second] == [job.id for job in jobs]
    assert end is None
    assert table.get_sweep(sweep.id).counts | {"queued": 0} == {state.value: 0 for state in JobState} | {"cancelled": 1}


def test_a_cancelled_sweep_leaves_what_had_ended(table):
    sweep, jobs = rows_of(table)
    done = table.claim(jobs[0].id, "a", 20, 3)
    table.finish(jobs[0].id, done.epoch, JobState.SUCCEEDED, step=100, manifest={})
    running = table.claim(jobs[1].id, "a", 20, 3)
    assert table.cancel_sweep(sweep.id, now=T0) == 4
    assert table.cancel_sweep(sweep.id) == 0
    found = table.get_sweep(sweep.id)
    assert found.final
    assert found.cancelled_at == T0
    assert (found.counts["cancelled"], found.counts["succeeded"]) == (4, 1)
    with pytest.raises(Fenced):
        table.commit(jobs[1].id, running.epoch, step=10, manifest={})
    assert table.totals()["cancelled"] == 4


def test_sweeps_are_listed_newest_first(table):
    ids = [sweep_of(table, 2)[0].id for _ in range(3)]
    first, cursor = table.list_sweeps(limit=2)
    second, end = table.list_sweeps(limit=2, cursor=cursor)
    assert [sweep.id for sweep in first + second] == ids[::-1]
    assert end is None
    assert all(sweep.counts["queued"] == 2 for sweep in first)
