"""Events in a real Valkey wake who waits for them."""

from __future__ import annotations

import threading
from collections import Counter

from leym.events import Events
from tests.support.service import until


def test_events_wake_who_waits_and_nobody_else(settings):
    events = Events(settings.redis_url)
    cursor = events.cursor("a")
    assert events.wait("a", cursor, 0.1) == cursor
    threading.Timer(0.2, lambda: events.announce("b", 1, "running")).start()
    assert events.wait("a", cursor, 1.0) == cursor
    assert events.wait(None, cursor, 10.0) != cursor
    events.announce("a", 2, "running")
    woken = events.wait("a", cursor, 10.0)
    assert woken != cursor
    assert events.wait("a", woken, 0.1) == woken
    events.close()


def test_events_without_redis_neither_raise_nor_wait_long(settings):
    for url in (None, "redis://127.0.0.1:1/0"):
        events = Events(url)
        cursor = events.cursor("a")
        events.announce("a", 1, "running")
        assert events.wait("a", cursor, 30.0) == cursor
        events.close()


class CountingEvents(Events):
    """Counts how often waiters look for each job."""

    looked: Counter[str | None]

    def _latest(self, job_id):
        self.looked[job_id] += 1
        return super()._latest(job_id)


def test_a_wake_up_costs_the_waiters_of_other_jobs_nothing(settings):
    events = CountingEvents(settings.redis_url)
    events.looked = Counter()
    cursor = events.cursor("a")
    until(lambda: events.is_listening, what="the listener reads from Redis")
    waiters = [threading.Thread(target=events.wait, args=(f"other {n}", cursor, 60.0)) for n in range(20)]
    for waiter in waiters:
        waiter.start()
    until(lambda: len(events.looked) == 20, what="all wait")
    for step in range(10):
        events.announce("a", step, "running")
        cursor = events.wait("a", cursor, 60.0)
    assert {name: n for name, n in events.looked.items() if name != "a"} == {f"other {n}": 1 for n in range(20)}
    events.close()
    for waiter in waiters:
        waiter.join(60)
        assert not waiter.is_alive()
    waiters.clear()
    assert len(events._conditions) == 0
