"""Tickets as Celery's messages: what Flower makes of their events."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest
from redis import Redis

from leym import tickets
from leym.settings import Settings
from workers.broker import Broker


@pytest.fixture
def valkey(tmp_path):
    broker = Broker(tmp_path)
    child = broker.start(os.environ)
    yield broker
    child.end(10)


def test_a_ticket_says_what_the_job_is_without_giving_its_task_a_name_of_its_own(valkey):
    """Flower counts by the names of tasks, for as long as it lives."""
    tickets.configure(Settings(redis_url=valkey.url))
    job = SimpleNamespace(id="0" * 26, law="tiny@00", precision="fp32", grid=(32, 32), steps=9, priority=4)
    try:
        tickets.send(job)
    finally:
        tickets.configure(Settings())
    with Redis.from_url(valkey.url) as redis:
        [queue] = [key for key in redis.keys("leym*") if redis.type(key) == b"list"]
        headers = json.loads(redis.lindex(queue, 0))["headers"]
    assert (headers["task"], headers["shadow"]) == (tickets.TASK, None)
    assert headers["argsrepr"] == f"{job.id}: tiny fp32 32x32, 9 steps"
