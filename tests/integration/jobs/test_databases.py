"""The job table and its database: many processes, threads and forks, durability and indices."""

from __future__ import annotations

import multiprocessing
import os
import re

import pytest
import sqlalchemy as sa

from leym.contract.records import JobState
from leym.jobs.table import JobTable
from tests.support.job_tables import LAWFUL, T0, frames, rows_of, spec, submit
from tests.support.parallel import at_once


def _submit_at_once(url: str, barrier, answers) -> None:
    barrier.wait()
    table = JobTable(url)
    shared, _ = table.submit(spec(), **LAWFUL, idempotency_key="one")
    answers.put((shared.id, [submit(table) for _ in range(10)]))
    table.close()


def test_processes_may_make_the_tables_at_once(url, open_table):
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(3), context.Queue()
    processes = [context.Process(target=_submit_at_once, args=(url, barrier, answers)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=240) for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    table = open_table()
    assert len({shared for shared, _ in found}) == 1
    assert len({job for _, made in found for job in made}) == 30
    assert table.totals()["submitted"] == 31


def test_a_forked_child_has_connections_of_its_own(table):
    before = submit(table)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if table.get(before).id == before and submit(table) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    submit(table)
    assert table.counts()["queued"] == 3


def test_writers_of_every_kind_do_not_stop_each_other(open_table):
    tables = [open_table() for _ in range(2)]
    sweep, jobs = rows_of(tables[0], 40)
    ids = [job.id for job in jobs]

    def run(table, owner, mine):
        claims = {i: table.claim(i, owner, 20, 3).epoch for i in mine}
        assert table.renew(owner, claims, 20) == set(mine)
        for i, epoch in claims.items():
            table.commit(i, epoch, step=50, manifest=frames(1))
            table.finish(i, epoch, JobState.SUCCEEDED, step=100, manifest=frames(2))

    results = at_once(
        lambda: run(tables[0], "a", ids[:15]),
        lambda: run(tables[1], "b", ids[29:14:-1]),
        lambda: [tables[1].mark_ticketed(ids[::-1]) for _ in range(10)] and None,
        lambda: [tables[0].reap(dict.fromkeys(ids, (9, T0)), 3) for _ in range(10)] and None,
        lambda: [tables[0].cancel(i) for i in ids[30:]] and None,
    )
    assert results == [None] * 5
    assert (
        tables[0].get_sweep(sweep.id).counts | {"succeeded": 30, "cancelled": 10}
        == tables[0].get_sweep(sweep.id).counts
    )
    totals = tables[0].totals()
    assert (totals["succeeded"], totals["cancelled"], totals["frames"]) == (30, 10, 30 * 6)
    assert totals["cell_steps"] == 30 * 100 * 8 * 16


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/x"])
def test_databases_that_cannot_hold_the_table_are_refused(url):
    with pytest.raises(ValueError, match="database_url") as refusal:
        JobTable(url)
    assert "sqlite" in str(refusal.value)


def test_sqlite_is_as_durable_as_it_can_be(tmp_path):
    table = JobTable(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    with table.db.write() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        }
        assert found == {"journal_mode": "wal", "synchronous": 2}
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
    table.close()


def test_the_state_index_serves_lists_and_counts(tmp_path):
    table = JobTable(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    asked: list[str] = []
    sa.event.listen(table.db.engine, "before_cursor_execute", lambda c, u, statement, p, *_: asked.append(statement))
    table.counts()
    table.list(state="queued")
    with table.db.read() as connection:
        for statement in [s for s in asked if s.startswith("SELECT")]:
            n = len(re.findall(r"\?", statement))
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", ("1",) * n).all()
            assert any("leym_jobs_state" in row[3] for row in plan)
            assert not any("B-TREE" in row[3] for row in plan)
    table.close()
