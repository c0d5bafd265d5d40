"""Leases of jobs: who holds a job, whose writes count, and when another may have it."""

from __future__ import annotations

import pytest

from leym.contract.ids import new_id
from leym.contract.problems import Problem
from leym.contract.records import Fenced, JobState
from leym.jobs.lease_watch import LeaseWatch
from tests.support.job_tables import T0, frames, lose, submit
from tests.support.parallel import at_once


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
    table.ticketed([job], now=T0)
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
    assert watch.silent({"a": (1, 0.0), "b": (1, 9e9)}) == {}, "one long past, one far ahead"
    now[0] += 19
    assert watch.silent({"a": (1, 20.0), "b": (1, 9e9), "c": (1, 3.0)}) == {}
    now[0] += 1
    assert watch.silent({"a": (1, 20.0), "b": (1, 9e9), "c": (1, 3.0)}) == {"b": (1, 9e9)}
    now[0] += 19
    assert watch.silent({"a": (2, 20.0), "b": (1, 5.0), "c": (1, 3.0)}) == {"c": (1, 3.0)}
    assert watch.silent({}) == {}
    now[0] += 99
    assert watch.silent({"a": (2, 20.0)}) == {}, "it had gone, and is new"
