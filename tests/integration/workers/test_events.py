"""Events in a real Valkey wake who waits for them."""

from __future__ import annotations

import threading

from leym.events import Events


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
