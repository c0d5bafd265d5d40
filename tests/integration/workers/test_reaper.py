"""The reaper: missing tickets, silent workers, deadlines, and one leader at a time."""

from __future__ import annotations

import logging
import time

import pytest
from redis import Redis

from leym import tickets
from leym.contract.records import Fenced, Worker
from leym.events import Events
from tests.support.tickets import submit
from workers.reaper import Reaper


def test_the_reaper_sends_missing_tickets_and_takes_jobs_from_silent_workers(settings, table, caplog):
    events = Events(None)
    reaper = Reaper(table, events, settings)
    jobs = [submit(table) for _ in range(3)]
    late = jobs[0].created_at + 100
    table.mark_ticketed([jobs[0].id])
    assert jobs[0].id not in {job.id for job in table.unticketed(float("inf"), now=late)}
    assert {job.id for job in table.unticketed(float("inf"), now=late)} == {jobs[1].id, jobs[2].id}
    table.claim(jobs[0].id, "gone", 0.0, 3, now=jobs[0].created_at)
    assert reaper.reap(table.leases()) == [jobs[0].id]
    assert table.get(jobs[0].id).state == "queued"
    assert "fell silent" in caplog.text
    table.mark_ticketed([jobs[1].id, jobs[2].id])
    assert reaper.send_missing() == 1
    assert tickets.waiting(settings.redis_url, "leym") == 1


def test_a_deadline_acts_when_it_passes_though_no_worker_lives(settings, table):
    """A waiting job, and one of a silent worker, fail although nobody claims them."""
    events = Events(settings.redis_url)
    waiting, claimed = (submit(table, deadline_s=60) for _ in range(2))
    free = submit(table)
    claim = table.claim(claimed.id, "silent", 1000, 3)
    cursor = events.cursor(waiting.id)
    assert table.fail_overdue(now=waiting.created_at + 59) == []
    with table.db.write() as connection:  # a minute later, as the table sees it
        connection.exec_driver_sql("UPDATE leym_jobs SET deadline_at = deadline_at - 61")
    Reaper(table, events, settings).run_once()
    for job in (waiting, claimed):
        found = table.get(job.id)
        assert (found.state, found.error["errors"][0]["pointer"]) == ("failed", "/deadline_s")
        assert found.error["detail"] == "deadline_s = 60 passed before the job ended"
    assert events.wait(waiting.id, cursor, 5) != cursor
    with pytest.raises(Fenced):
        table.commit(claimed.id, claim.epoch, step=1, manifest={})
    assert table.get(free.id).state == "queued"
    assert table.totals()["failed"] == 2
    events.close()


def test_one_reaper_is_the_leader_and_another_takes_over_with_the_leases_it_has_watched(settings, table):
    settings = settings.model_copy(update={"lease_s": 0.2, "heartbeat_s": 100.0})
    supervisor, first, second = (Reaper(table, Events(None), settings, name) for name in (None, "b", "a"))
    assert [reaper.is_leader() for reaper in (supervisor, first, second)] == [True, False, False]
    for name, started_at in (("a", 20.0), ("b", 10.0)):
        table.heartbeat(Worker(name, "host", 7, "cpu", "ready", started_at=started_at))
    table.heartbeat(Worker("c", "host", 8, "cpu", "starting", started_at=1.0))
    assert [reaper.is_leader() for reaper in (supervisor, first, second)] == [False, True, False]
    job = submit(table)
    table.mark_ticketed([job.id])
    table.claim(job.id, "gone", 9e9, 3)  # a clock far ahead
    second.run_once()
    time.sleep(0.25)
    second.run_once()
    assert table.get(job.id).state == "running"
    table.remove_worker("b")
    second.run_once()
    assert table.get(job.id).state == "queued"
    assert tickets.waiting(settings.redis_url, "leym") == 1


def test_a_wiped_queue_is_filled_again(settings, table, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr("workers.reaper.RESEND_AFTER_S", -1.0)
    reaper = Reaper(table, Events(None), settings)
    jobs = [submit(table) for _ in range(5)]
    for job in jobs:
        tickets.send(job)
    table.mark_ticketed([job.id for job in jobs])
    assert reaper.send_missing() == 0
    with Redis.from_url(settings.redis_url) as redis:
        redis.flushall()
    assert reaper.send_missing() == 5
    assert tickets.waiting(settings.redis_url, "leym") == 5
    assert "sending 5 again" in caplog.text


def test_a_reaper_wakes_when_a_deadline_passes_and_not_a_period_later(settings, table, monkeypatch):
    monkeypatch.setattr("workers.reaper.PERIOD_S", 60.0)
    settings = settings.model_copy(update={"lease_s": 1000.0})
    job = submit(table, deadline_s=0.5)
    reaper = Reaper(table, Events(None), settings)
    reaper.start()
    reaper.wake()
    until = time.monotonic() + 30
    while table.get(job.id).state != "failed" and time.monotonic() < until:
        time.sleep(0.02)
    reaper.stop()
    assert table.get(job.id).state == "failed"
