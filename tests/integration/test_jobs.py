"""The job table on SQLite and on a real PostgreSQL: who holds a job, what is counted, and how pages are read."""

from __future__ import annotations

import multiprocessing
import os
import re
from math import inf

import pytest
import sqlalchemy as sa

from leym.contract.ids import new_id
from leym.contract.problems import Problem
from leym.contract.records import Fenced, JobState, NewJob, Worker
from leym.contract.spec import JobSpec
from leym.jobs import schema
from leym.jobs.lease_watch import LeaseWatch
from leym.jobs.table import JobTable
from tests.support.parallel import at_once

LAW = "aurora@" + "a1" * 32
LAWFUL = {"law": LAW, "precision": "fp32", "d_state": 4}
T0 = 1_000_000.0  # the tests' own clock


@pytest.fixture
def open_table(url):
    made = []

    def make() -> JobTable:
        made.append(JobTable(url))
        return made[-1]

    yield make
    for table in made:
        table.close()


@pytest.fixture
def table(open_table):
    return open_table()


def spec(**changes) -> JobSpec:
    return JobSpec.model_validate({"law": "aurora", "grid": (8, 16), "steps": 100, **changes})


def submit(table: JobTable, *, law: str = LAW, now: float = T0, **changes) -> str:
    job, _ = table.submit(spec(**changes), law=law, precision="fp32", d_state=4, now=now)
    return job.id


def frames(n: int) -> dict:
    return {"version": 1, "arrays": {"psi": {"committed": n}, "energy": {"committed": 2 * n}}}


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
        table.submit_sweep({"axes": {}}, [], idempotency_key="k")
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


# --- claims


def test_of_many_claimants_exactly_one_wins(open_table):
    tables = [open_table() for _ in range(4)]
    for _ in range(5):
        job = submit(tables[0])
        found = at_once(*(lambda i=i, t=t, job=job: t.claim(job, f"w{i}", 20, 3) for i, t in enumerate(tables)))
        (winner,) = [i for i, claim in enumerate(found) if claim is not None]
        held = tables[0].get(job)
        assert found[winner].job == held
        assert held.owner == f"w{winner}"
        assert (held.epoch, held.attempts) == (1, 1)


def lose(table, *jobs, max_attempts=3, now=None):
    """Their holders have fallen silent."""
    leases = table.leases()
    return table.reap({job: leases[job] for job in jobs}, max_attempts, now=now)


def test_a_claim_lasts_until_it_is_reaped(table):
    job = submit(table)
    claim = table.claim(job, "a", 20, 3, now=T0)
    assert claim.job.started_at == T0
    assert claim.job.lease_until == T0 + 20
    seen = table.leases()
    assert seen == {job: (1, T0 + 20)}
    assert table.renew("a", {job: 1}, 20, now=T0 + 19) == {job}
    assert table.reap(seen, 3) == [], "renewed since it was looked at"
    assert table.claim(job, "b", 20, 3, now=T0 + 9999) is None
    assert lose(table, job) == [job]
    taken = table.claim(job, "b", 20, 3, now=T0 + 40)
    assert (taken.epoch, taken.job.attempts, taken.job.started_at) == (2, 2, T0)
    assert table.renew("a", {job: 1}, 20) == set() == table.renew("b", {job: 1}, 20)
    assert table.renew("b", {job: 2, new_id(): 1}, 20) == {job}
    assert table.renew("b", {}, 20) == set()


def test_only_a_job_that_waits_can_be_claimed(table):
    job = submit(table)
    table.cancel(job)
    assert table.claim(job, "a", 20, 3) is None
    assert table.claim(new_id(), "a", 20, 3) is None


def test_writes_after_a_cancel_are_fenced(table):
    job = submit(table)
    epoch = table.claim(job, "a", 20, 3).epoch
    table.commit(job, epoch, step=10, manifest=frames(1))
    cancelled = table.cancel(job, now=T0)
    assert (cancelled.state, cancelled.epoch, cancelled.finished_at) == (JobState.CANCELLED, 2, T0)
    assert cancelled == table.get(job) == table.cancel(job)
    for held in (epoch, cancelled.epoch):
        with pytest.raises(Fenced, match="cancelled at epoch 2"):
            table.commit(job, held, step=20, manifest=frames(2))
        with pytest.raises(Fenced):
            table.finish(job, held, JobState.SUCCEEDED, step=100, manifest=frames(2))
        assert not table.hand_back(job, held)
    assert table.renew("a", {job: epoch}, 20) == set()
    assert table.get(job) == cancelled
    assert cancelled.manifest == frames(1)
    with pytest.raises(Fenced, match="no such job"):
        table.commit(new_id(), 1, step=1, manifest={})


def test_writes_of_an_earlier_holder_are_fenced(table):
    job = submit(table)
    old = table.claim(job, "a", 20, 3).epoch
    lose(table, job)
    new = table.claim(job, "b", 20, 3).epoch
    with pytest.raises(Fenced):
        table.commit(job, old, step=50, manifest=frames(5))
    with pytest.raises(Fenced):
        table.finish(job, old, JobState.FAILED, step=50, manifest=frames(5))
    table.commit(job, new, step=5, manifest=frames(1))
    assert table.get(job).step == 5


def test_a_commit_keeps_what_it_does_not_name_and_never_goes_back(table):
    job = submit(table)
    epoch = table.claim(job, "a", 20, 3).epoch
    point, seen = {"key": "c", "step": 20, "sha256": "0"}, {"energy": 1.5}
    table.commit(job, epoch, step=20, manifest=frames(3), checkpoint=point, observables_last=seen)
    table.commit(job, epoch, step=10, manifest=frames(1))
    found = table.get(job)
    assert (found.step, found.checkpoint, found.observables_last) == (20, point, seen)
    assert found.manifest == frames(1)
    error = Problem(500, "Non-finite", "psi is not finite at step 30").as_dict()
    table.finish(job, epoch, JobState.FAILED, step=30, manifest=frames(4), error=error)
    found = table.get(job)
    assert (found.state, found.error, found.checkpoint, found.owner) == (JobState.FAILED, error, point, "a")
    assert found.lease_until is None
    assert found.finished_at is not None
    assert table.totals() | {"submitted": 0} == {
        "submitted": 0,
        "succeeded": 0,
        "failed": 1,
        "cancelled": 0,
        "cell_steps": 30 * 8 * 16,
        "frames": 12,
    }
    with pytest.raises(ValueError, match="running"):
        table.finish(job, epoch, JobState.RUNNING, step=30, manifest={})


def test_a_job_that_kills_its_workers_fails(table):
    job = submit(table)
    for n in range(3):
        assert table.claim(job, f"w{n}", 20, 3, now=T0 + 100 * n).job.attempts == n + 1
        assert lose(table, job, now=T0 + 100 * (n + 1)) == [job]
    assert table.claim(job, "w4", 20, 3) is None
    poison = table.get(job)
    assert (poison.state, poison.finished_at, poison.lease_until) == (JobState.FAILED, T0 + 300, None)
    assert poison.error["title"] == "Poison job"
    assert "attempts = 3" in poison.error["detail"]
    assert table.totals()["failed"] == 1
    assert table.latencies()["total"]["sum"] == 300


def test_progress_makes_the_attempts_count_anew(table):
    job = submit(table)
    for n in range(6):
        claim = table.claim(job, "w", 20, 3, now=T0 + 100 * n)
        if n % 2:
            table.commit(job, claim.epoch, step=n, manifest={})
            assert table.get(job).attempts == 1
        table.commit(job, claim.epoch, step=n // 2 * 2 - 1, manifest={})  # no progress
        lose(table, job)
    assert table.get(job).epoch == 6


def test_a_job_handed_back_waits_as_if_it_was_never_taken(table):
    job = submit(table)
    table.mark_ticketed([job], now=T0)
    epoch = table.claim(job, "a", 20, 3, now=T0).epoch
    assert table.hand_back(job, epoch)
    waiting = table.get(job)
    assert (waiting.state, waiting.attempts, waiting.owner, waiting.lease_until) == (JobState.QUEUED, 0, None, None)
    assert not table.hand_back(job, epoch)
    with pytest.raises(Fenced, match="queued"):
        table.commit(job, epoch, step=10, manifest={})
    assert [found.id for found in table.unticketed(60, now=T0)] == [job]
    assert table.claim(job, "b", 20, 3).epoch == 2


def test_jobs_of_silent_workers_are_reaped(table):
    lost, poison, held, waiting = (submit(table) for _ in range(4))
    for _ in range(2):
        table.claim(poison, "a", 1, 3)
        lose(table, poison)
    for job in (lost, poison, held):
        table.claim(job, "a", 20, 3, now=T0)
    assert lose(table, lost, poison) == [lost, poison]
    assert table.reap({lost: (1, T0 + 20), waiting: (0, None), new_id(): (1, T0)}, 3) == []
    found = table.get(lost)
    assert (found.state, found.attempts, found.owner, found.lease_until) == (JobState.QUEUED, 1, None, None)
    assert table.get(poison).state == JobState.FAILED
    assert "attempts = 3" in table.get(poison).error["detail"]
    assert table.get(held).state == JobState.RUNNING
    assert table.get(waiting).state == JobState.QUEUED
    assert lost in [job.id for job in table.unticketed(60, now=T0)]


def test_a_lease_is_over_when_it_was_watched_for_its_length_whatever_the_clocks_say():
    now = [50.0]
    watch = LeaseWatch(20, clock=lambda: now[0])
    assert watch.lapsed({"a": (1, 0.0), "b": (1, 9e9)}) == {}, "one long past, one far ahead"
    now[0] += 19
    assert watch.lapsed({"a": (1, 20.0), "b": (1, 9e9), "c": (1, 3.0)}) == {}
    now[0] += 1
    assert watch.lapsed({"a": (1, 20.0), "b": (1, 9e9), "c": (1, 3.0)}) == {"b": (1, 9e9)}
    now[0] += 19
    assert watch.lapsed({"a": (2, 20.0), "b": (1, 5.0), "c": (1, 3.0)}) == {"c": (1, 3.0)}
    assert watch.lapsed({}) == {}
    now[0] += 99
    assert watch.lapsed({"a": (2, 20.0)}) == {}, "it had gone, and is new"


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
    table.submit_sweep({}, [large] * 1000)
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


# --- sweeps


def sweep_of(table: JobTable, n: int = 5, **how):
    new = [NewJob(spec(seed=i, tags={"s": "1"}), LAW, "fp32", 4, {"seed": i}) for i in range(n)]
    return table.submit_sweep({"base": {}, "axes": {"seed": list(range(n))}}, new, **how)


def test_a_sweep_is_submitted_once_and_whole(table):
    sweep, jobs, created = sweep_of(table, idempotency_key="s")
    assert created
    assert sweep.size == 5
    assert [job.point["seed"] for job in jobs] == list(range(5))
    assert sweep == table.get_sweep(sweep.id)
    assert sweep.counts["queued"] == 5
    assert not sweep.final
    assert table.find([job.id for job in jobs]) == jobs
    assert {job.sweep for job in jobs} == {sweep.id}
    assert sweep_of(table, idempotency_key="s") == (sweep, jobs, False)
    assert [job.id for job in table.list(sweep=sweep.id, tags=[("s", "1")])[0]] == [job.id for job in jobs][::-1]
    assert table.totals()["submitted"] == 5

    with pytest.raises(TypeError):  # the last member is no JSON: none is submitted
        bad = NewJob(spec(), LAW, "fp32", 4, {"seed": object()})
        table.submit_sweep({}, [NewJob(spec(), LAW, "fp32", 4), bad], idempotency_key="bad")
    assert table.totals()["submitted"] == 5 == table.counts()["queued"]
    assert sweep_of(table, 2, idempotency_key="bad")[2]


def test_members_are_paged_in_the_order_of_the_points(table):
    sweep, jobs, _ = sweep_of(table)
    table.delete(table.cancel(jobs[1].id).id)
    first, cursor = table.sweep_members(sweep.id, limit=3)
    second, end = table.sweep_members(sweep.id, limit=3, cursor=cursor)
    assert [job.id for job in first + second] == [job.id for job in jobs]
    assert end is None
    assert table.get_sweep(sweep.id).counts | {"queued": 0} == {state.value: 0 for state in JobState} | {"cancelled": 1}


def test_a_cancelled_sweep_leaves_what_had_ended(table):
    sweep, jobs, _ = sweep_of(table)
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


# --- processes, threads, versions


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
    found = [answers.get(timeout=60) for _ in processes]
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
    sweep, jobs, _ = sweep_of(tables[0], 40)
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
