"""The pool that hands Celery's messages to the host: copies of a ticket, acknowledgements, termination."""

from __future__ import annotations

import threading

import pytest

from workers.celery_pool import SlotPool, Ticket
from workers.host import Cancelled, HandBack


class StubHost:
    def __init__(self):
        self.cancelled = []

    def cancel(self, job_id):
        self.cancelled.append(job_id)


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr(SlotPool, "on_start", lambda self: None)
    made = SlotPool(4)
    made.tickets, made.lock, made.host = {}, threading.Lock(), StubHost()
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
        pool.announce("job")
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
        raise HandBack

    def cancelled():
        raise Cancelled

    log: list[str] = []
    apply(pool, hand_back, log).wait(240)
    assert log == []
    assert pool.tickets == {}
    apply(pool, cancelled, log).wait(240)
    assert log == ["accepted"]


def test_terminate_reaches_the_host(pool):
    Ticket(pool, "job").terminate(signal=15)
    assert pool.host.cancelled == ["job"]
