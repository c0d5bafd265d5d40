"""The pool that passes Celery's tickets to the JobRunner: copies of a ticket, acknowledgements, termination."""

from __future__ import annotations

import threading

import pytest

from workers.celery_pool import SlotPool, Ticket
from workers.claimed_job import HandedBack, Revoked


class StubRunner:
    def __init__(self):
        self.cancelled = []

    def cancel(self, job_id):
        self.cancelled.append(job_id)


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr(SlotPool, "on_start", lambda self: None)
    made = SlotPool(4)
    made.tickets, made.lock, made.job_runner = {}, threading.Lock(), StubRunner()
    yield made
    made.executor.shutdown()


def apply(pool, body, log, copy=""):
    return pool.on_apply(
        body,
        callback=lambda outcome: log.append(f"done{copy} {outcome}"),
        accept_callback=lambda pid, at: log.append(f"accepted{copy}"),
        correlation_id="job",
    )


def test_a_ticket_delivered_again_while_its_job_runs_shares_the_outcome_and_runs_nothing(pool):
    go, log, runs = threading.Event(), [], []

    def body():
        runs.append(1)
        pool.accept("job")
        go.wait()
        return "fine"

    first = apply(pool, body, log)
    assert apply(pool, body, log, copy=" again") is first
    go.set()
    first.wait(240)
    assert len(runs) == 1
    assert pool.tickets == {}
    assert sorted(log) == ["accepted", "accepted again", "done again fine", "done fine"]


def test_a_job_handed_back_is_not_acknowledged_and_a_revoked_one_ends_without_a_result(pool):
    def hand_back():
        raise HandedBack

    def revoked():
        raise Revoked

    log: list[str] = []
    apply(pool, hand_back, log).wait(240)
    assert log == []
    assert pool.tickets == {}
    apply(pool, revoked, log).wait(240)
    assert log == ["accepted"]


def test_an_error_while_celery_ends_a_task_is_logged_with_its_job(pool, caplog):
    def fail(outcome):
        raise ConnectionError("the broker is away")

    ended = pool.on_apply(lambda: "fine", callback=fail, accept_callback=lambda pid, at: None, correlation_id="job")
    with pytest.raises(ConnectionError):
        ended.f.result(240)
    pool.executor.shutdown()
    [record] = [one for one in caplog.records if one.levelname == "ERROR"]
    assert "ticket job" in record.message
    assert "the broker is away" in str(record.exc_info[1])


def test_terminate_reaches_the_job_runner(pool):
    Ticket(pool, "job").terminate(signal=15)
    assert pool.job_runner.cancelled == ["job"]
