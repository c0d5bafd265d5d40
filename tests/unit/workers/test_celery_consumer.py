"""Events of tasks: those that come together are published together, and none is kept back."""

from __future__ import annotations

import pytest

from workers.celery_consumer import EVENTS_S, TicketConsumer


class StubHub:
    """Runs what was asked for when the test says so."""

    def __init__(self):
        self.soon, self.later = [], []

    def call_soon(self, callback, *args):
        self.soon.append((callback, args))

    def call_later(self, delay, callback, *args):
        self.later.append((delay, callback, args))

    def run(self):
        for queue in (self.soon, self.later):
            while queue:
                *_, callback, args = queue.pop(0)
                callback(*args)


class StubDispatcher:
    def __init__(self):
        self.flushed = 0

    def flush(self):
        self.flushed += 1


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("workers.celery_consumer.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def consumer():
    made = TicketConsumer.__new__(TicketConsumer)
    made.hub, made.event_dispatcher = StubHub(), StubDispatcher()
    return made


def test_events_of_a_short_time_are_one_message(consumer, clock):
    for round_ in (1, 2, 3):
        for _ in range(10):
            consumer.on_send_event_buffered()
            clock[0] += EVENTS_S / 20
        assert consumer.event_dispatcher.flushed == round_ - 1
        assert len(consumer.hub.soon) == 1
        consumer.hub.run()
        assert consumer.event_dispatcher.flushed == round_
        clock[0] += EVENTS_S


def test_a_flush_that_was_lost_with_the_hub_keeps_no_later_event_back(consumer, clock):
    consumer.on_send_event_buffered()
    consumer.hub.soon.clear()
    clock[0] += EVENTS_S
    consumer.on_send_event_buffered()
    [(call_later, arguments)] = consumer.hub.soon
    call_later(*arguments)
    assert [delay for delay, *_ in consumer.hub.later] == [EVENTS_S]


def test_the_end_keeps_no_event_back(consumer, monkeypatch):
    monkeypatch.setattr("celery.worker.consumer.Consumer.stop", lambda self: None)
    consumer.on_send_event_buffered()
    consumer.stop()
    assert consumer.event_dispatcher.flushed == 1
