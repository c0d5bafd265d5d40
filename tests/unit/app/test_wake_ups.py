"""When the reader of a row is told to read it again."""

from __future__ import annotations

import pytest

from app import wake_ups
from app.wake_ups import WakeUps
from leym.events import Events


class StubEvents:
    """Events that come when the test says so."""

    is_listening = True

    def __init__(self):
        self.count = 0

    def cursor(self, job_id):
        return str(self.count)

    def wait(self, job_id, cursor, timeout_s):
        return str(self.count)


def test_a_row_is_read_again_after_a_wake_up_only():
    events = StubEvents()
    waiting = WakeUps(events, "job")
    assert [waiting.wait(0.01) for _ in range(5)] == [False] * 5
    events.count += 2
    assert [waiting.wait(0.01) for _ in range(3)] == [True, False, False]


def test_a_wake_up_between_the_cursor_and_the_first_wait_is_not_missed():
    events = StubEvents()
    cursor = events.cursor("job")
    events.count += 1
    assert WakeUps(events, "job", cursor).wait(0.01)


def test_a_lost_wake_up_only_delays_the_next_reading(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(wake_ups.time, "monotonic", lambda: now[0])
    waiting = WakeUps(StubEvents(), "job")
    due = []
    for _ in range(12):
        now[0] += 1.0
        due.append(waiting.wait(1.0))
    assert due == [False, False, False, False, True] * 2 + [False, False]


def test_without_redis_every_wait_ends_in_a_reading():
    events = Events(None)
    waiting = WakeUps(events, "job")
    assert [waiting.wait(0.01) for _ in range(3)] == [True] * 3
    events.close()
