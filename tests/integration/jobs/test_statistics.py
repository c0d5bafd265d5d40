"""Counters, backlog and workers as the job table reports them."""

from __future__ import annotations

from math import inf

import sqlalchemy as sa

from leym.contract.records import JobState, NewJob, Worker
from leym.jobs import schema
from tests.support.job_tables import LAW, T0, frames, spec, submit


def test_counters_never_fall(table):
    for n in range(4):
        job = submit(table, now=T0)
        claim = table.claim(job, "a", 20, 3, now=T0 + n)
        table.finish(job, claim.epoch, JobState.SUCCEEDED, step=100, manifest=frames(n), now=T0 + 10 * n)
    cancelled = submit(table)
    table.cancel(cancelled)
    totals, latencies = table.totals(), table.latencies()
    assert totals == {
        "submitted": 5,
        "succeeded": 4,
        "failed": 0,
        "cancelled": 1,
        "cell_steps": 4 * 100 * 8 * 16,
        "frames": 3 * (0 + 1 + 2 + 3),
    }
    for job in table.list()[0]:
        table.delete(job.id)
    assert table.list() == ([], None)
    assert set(table.counts().values()) == {0}
    assert table.totals() == totals
    assert table.latencies() == latencies
    assert (latencies["wait"]["sum"], latencies["total"]["sum"]) == (6, 60)
    assert dict(latencies["wait"]["buckets"])[1.0] == 2
    assert dict(latencies["total"]["buckets"])[10.0] == 2
    for found in latencies.values():
        bounds, counts = zip(*found["buckets"], strict=True)
        assert list(counts) == sorted(counts)
        assert (bounds[-1], counts[-1], found["count"]) == (inf, 4, 4)


def test_the_backlog_is_what_is_left_to_do(table):
    assert table.backlog() == {"jobs": 0, "cell_steps": 0, "queued_cell_steps": 0, "oldest_queued_s": None}
    running, _, _ = submit(table, now=T0), submit(table, now=T0 + 5), submit(table, grid=(16, 16), now=T0 + 6)
    ended = submit(table, now=T0)
    table.cancel(ended)
    table.commit(running, table.claim(running, "a", 20, 3).epoch, step=40, manifest={})
    small, large = 8 * 16, 16 * 16
    assert table.backlog(now=T0 + 10) == {
        "jobs": 3,
        "cell_steps": 160 * small + 100 * large,
        "queued_cell_steps": 100 * small + 100 * large,
        "oldest_queued_s": 5,
    }
    key = {"law": LAW, "precision": "fp32"}
    assert table.buckets() == [
        {**key, "grid": [8, 16], "jobs": 2, "cell_steps": 160 * small},
        {**key, "grid": [16, 16], "jobs": 1, "cell_steps": 100 * large},
    ]
    assert table.counts() == {
        "queued": 2,
        "running": 1,
        "paused": 0,
        "succeeded": 0,
        "failed": 0,
        "cancelled": 1,
    }


def test_the_backlog_of_very_many_cells_is_exact(table):
    large = NewJob(spec(grid=(1024, 1024), steps=10_000_000), LAW, "fp32", 4)
    with table.db.write() as connection:
        table._insert(connection, [table._new_job(large, None, T0) for _ in range(1000)], T0)
    with table.db.write() as connection:  # as if there were a thousand times as many
        connection.execute(sa.update(schema.jobs).values(remaining=10**10))
    assert table.backlog()["cell_steps"] == 1000 * 10**10 * 2**20 > 2**63


def test_workers_are_listed_while_they_are_heard_of(table):
    worker = Worker(
        "w1", "host", 7, "cpu", "ready", slots=8, buckets=[{"law": LAW}], info={"torch": "2"}, started_at=T0
    )
    table.heartbeat(worker, now=T0)
    table.heartbeat(Worker("w0", "host", 8, "cpu", "starting"), now=T0 + 10)
    assert [w.name for w in table.workers(20, now=T0 + 10)] == ["w0", "w1"]
    assert [w.name for w in table.workers(5, now=T0 + 10)] == ["w0"]
    table.heartbeat(Worker("w1", "host", 7, "cpu", "draining", buckets=[{"law": LAW}]), now=T0 + 20)
    (found,) = table.workers(5, now=T0 + 20)
    assert (found.state, found.updated_at, found.buckets, found.slots) == ("draining", T0 + 20, [{"law": LAW}], 0)
    table.remove_worker("w1")
    table.remove_worker("w1")
    assert table.workers(5, now=T0 + 20) == []
