"""The job table on SQLite and on a real PostgreSQL: jobs are submitted, listed, found, deleted and moved."""

from __future__ import annotations

import pytest

from leym.contract.ids import new_id
from leym.contract.problems import Problem
from leym.contract.records import JobState, Worker
from leym.contract.spec import JobSpec
from tests.support.job_tables import LAWFUL, T0, frames, spec, submit, sweep_of
from tests.support.parallel import at_once

# --- submission


def test_a_submitted_job_reads_back_as_it_was_handed_out(table, open_table):
    job, created = table.submit(spec(tags={"run": "ψ \x00 'x'"}, priority=7), **LAWFUL, now=T0)
    assert created
    assert job.state == JobState.QUEUED
    assert not job.final
    assert (job.step, job.steps, job.grid, job.priority, job.created_at) == (0, 100, (8, 16), 7, T0)
    assert table.get(job.id) == job == open_table().get(job.id)
    assert JobSpec.model_validate(job.spec).tags == {"run": "ψ \x00 'x'"}


def test_an_id_that_never_was_is_a_404(table):
    nobody = new_id()
    for ask in (table.get, table.cancel, table.delete, table.get_sweep, table.cancel_sweep, table.sweep_members):
        with pytest.raises(Problem, match=nobody) as refusal:
            ask(nobody)
        assert refusal.value.status == 404
    assert table.find([nobody]) == []


def test_find_keeps_the_order_and_leaves_out_what_is_missing(table):
    ids = [submit(table) for _ in range(3)]
    wanted = [ids[2], new_id(), ids[0]]
    assert [job.id for job in table.find(wanted)] == [ids[2], ids[0]]


def test_a_request_repeated_under_its_key_gives_the_first_job(table):
    first, created = table.submit(spec(tags={"a": "1", "b": "2"}), **LAWFUL, idempotency_key="k")
    again, created_again = table.submit(spec(tags={"b": "2", "a": "1"}), **LAWFUL, idempotency_key="k")
    assert (created, created_again) == (True, False)
    assert again == first
    with pytest.raises(Problem, match=r"Idempotency-Key 'k'") as refusal:
        table.submit(spec(seed=1), **LAWFUL, idempotency_key="k")
    assert refusal.value.status == 422
    with pytest.raises(Problem, match="Idempotency-Key 'k'"):
        sweep_of(table, idempotency_key="k")
    with pytest.raises(Problem, match="256 characters"):
        table.submit(spec(), **LAWFUL, idempotency_key="k" * 256)
    assert table.totals()["submitted"] == 1


def test_requests_under_one_key_at_once_make_one_job(open_table):
    tables = [open_table() for _ in range(4)]
    found = at_once(*(lambda t=t: t.submit(spec(), **LAWFUL, idempotency_key="same") for t in tables))
    assert len({job.id for job, _ in found}) == 1
    assert sorted(created for _, created in found) == [False, False, False, True]
    assert tables[0].counts()["queued"] == 1


# --- pages


def test_pages_are_newest_first_and_stay_whole_while_jobs_come_in(table):
    ids = [submit(table) for _ in range(25)]
    seen, cursor, pages = [], None, 0
    while True:
        page, cursor = table.list(limit=10, cursor=cursor)
        seen += [job.id for job in page]
        pages += 1
        submit(table)
        if cursor is None:
            break
    assert seen == ids[::-1]
    assert pages == 3


def test_a_full_last_page_has_no_next(table):
    ids = [submit(table) for _ in range(4)]
    page, cursor = table.list(limit=2)
    assert cursor == page[-1].id
    page, cursor = table.list(limit=2, cursor=cursor)
    assert [job.id for job in page] == [ids[1], ids[0]]
    assert cursor is None


@pytest.mark.parametrize("cursor", ["", "x", "i" * 26, "'; DROP TABLE leym_jobs; --"])
def test_a_cursor_that_is_none_is_refused(table, cursor):
    for ask in (table.list, table.list_sweeps, lambda **how: table.sweep_members(new_id(), **how)):
        with pytest.raises(Problem) as refusal:
            ask(cursor=cursor)
        assert (refusal.value.status, refusal.value.errors[0]["pointer"]) == (422, "/cursor")


def test_lists_are_filtered(table):
    other = "aurora_b@" + "b" * 64
    plain, tagged = submit(table), submit(table, tags={"k": "v", "x%": "y_"})
    foreign = submit(table, law=other, tags={"k": "w"})
    like = submit(table, law="auroraXb@" + "c" * 64)  # what aurora_b would match, were it a pattern

    def ids(**how):
        return [job.id for job in table.list(**how)[0]]

    assert ids(law="aurora") == [tagged, plain]
    assert ids(law="aurora_b") == [foreign]
    assert ids(law="auroraXb") == [like]
    assert ids(law="aurora@a1a1a1a1") == [tagged, plain]
    assert ids(law="aurora@b") == []
    assert ids(tags=[("k", "v")]) == [tagged]
    assert ids(tags=[("x%", "y_")]) == [tagged]
    assert ids(tags=[("k", "%")]) == []
    table.cancel(plain)
    assert ids(state="cancelled") == ids(state=JobState.CANCELLED, law="aurora") == [plain]
    assert ids(state="queued", tags=[("k", "w")], law="aurora_b") == [foreign]
    table.delete(plain)
    assert ids() == [like, foreign, tagged]
    assert table.get(plain).deleted_at is not None


def test_the_outbox_has_what_the_broker_may_not_know(table):
    old, young = submit(table, now=T0), submit(table, now=T0 + 9.5)
    assert [job.id for job in table.unticketed(60, now=T0 + 10)] == [old]
    assert [job.id for job in table.unticketed(60, now=T0 + 11)] == [old, young]
    assert [job.id for job in table.unticketed(60, 1, now=T0 + 11)] == [old]
    table.mark_ticketed([young, old, new_id()], now=T0 + 11)
    assert table.unticketed(60, now=T0 + 70) == []
    table.claim(old, "a", 20, 3, now=T0 + 12)
    assert [job.id for job in table.unticketed(60, now=T0 + 72)] == [young]
    table.mark_ticketed([], now=T0)


def test_clocks_that_were_set_back_strand_nothing(table):
    """A ticket sent, or a heartbeat, of the future was not sent lately."""
    job, new = submit(table, now=T0 + 3600), submit(table, now=T0 + 3600)
    assert [found.id for found in table.unticketed(60, now=T0)] == [job, new]
    table.mark_ticketed([job, new], now=T0 + 3600)
    assert [found.id for found in table.unticketed(60, now=T0)] == [job, new]
    assert table.unticketed(60, now=T0 + 3650) == [] == table.unticketed(float("inf"), now=T0)
    table.heartbeat(Worker("w0", "host", 8, "cpu", "ready"), now=T0 + 3600)
    assert table.workers(20, now=T0) == []
    assert len(table.workers(20, now=T0 + 3590)) == 1


# --- deletion and numbers


def test_only_an_ended_job_can_be_deleted(table):
    job = submit(table)
    epoch = table.claim(job, "a", 20, 3).epoch
    with pytest.raises(Problem, match="running") as refusal:
        table.delete(job)
    assert refusal.value.status == 409
    table.finish(job, epoch, JobState.SUCCEEDED, step=100, manifest=frames(9), checkpoint={"key": "c", "step": 100})
    gone = table.delete(job, now=T0)
    assert (gone.deleted_at, gone.manifest, gone.checkpoint) == (T0, {}, None)
    assert gone.spec["steps"] == 100
    assert gone == table.get(job) == table.delete(job)


# --- projects


def test_a_project_takes_over_anothers_work_and_its_keys(table):
    lab, old = table.of("lab"), table.of("default")
    first, _ = old.submit(spec(), **LAWFUL, idempotency_key="a", now=T0)
    clash, _ = old.submit(spec(seed=1), **LAWFUL, idempotency_key="b", now=T0)
    theirs, _ = lab.submit(spec(seed=2), **LAWFUL, idempotency_key="b", now=T0)
    other, _ = table.of("other").submit(spec(seed=3), **LAWFUL, idempotency_key="a", now=T0)
    assert table.count_work("default") == (2, 0)
    assert table.take_over("default", "lab") == (2, 0)
    assert {job.id for job in lab.list()[0]} == {first.id, clash.id, theirs.id}
    assert lab.submit(spec(), **LAWFUL, idempotency_key="a", now=T0) == (lab.get(first.id), False)
    assert lab.submit(spec(seed=2), **LAWFUL, idempotency_key="b", now=T0) == (lab.get(theirs.id), False)
    assert [job.id for job in table.of("other").list()[0]] == [other.id]
    assert table.take_over("lab", "default") == (3, 0)
    assert old.submit(spec(), **LAWFUL, idempotency_key="a", now=T0) == (old.get(first.id), False)
    for bad in ("lab", "No Name"):
        with pytest.raises(Problem, match="project"):
            table.take_over("lab", bad)
