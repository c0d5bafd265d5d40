"""Tickets as Celery's messages, the embedded broker that keeps them, and how many a worker fetches."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from kombu.exceptions import OperationalError
from redis import Redis

from leym import tickets
from leym.settings import Settings
from tests.support.tickets import submit
from workers.fetch_limit import LOOK_AHEAD, FetchLimit


def test_a_ticket_says_what_the_job_is_without_giving_its_task_a_name_of_its_own(settings):
    """Flower counts by the names of tasks, for as long as it lives."""
    job = SimpleNamespace(id="0" * 26, law="tiny@00", precision="fp32", grid=(32, 32), steps=9, priority=4)
    job.is_block = job.is_training = False
    tickets.send(job)
    with Redis.from_url(settings.redis_url) as redis:
        [queue] = [key for key in redis.keys("leym*") if redis.type(key) == b"list"]
        headers = json.loads(redis.lindex(queue, 0))["headers"]
    assert (headers["task"], headers["shadow"]) == (tickets.TASK, None)
    assert headers["argsrepr"] == f"{job.id}: tiny fp32 32x32, 9 steps"
    job.is_block, job.members, job.sweep, job.spec = True, 40, "sweep", {"steps": 9}
    assert tickets.summary(job) == "tiny fp32 32x32, 40 members of sweep sweep, 9 steps each"


def test_a_training_has_a_queue_and_a_task_of_its_own(settings):
    job = SimpleNamespace(
        id="0" * 26, law="small", precision="fp32", grid=(8, 8), steps=9, priority=4, is_training=True
    )
    tickets.send(job)
    with Redis.from_url(settings.redis_url, decode_responses=True) as redis:
        [queue] = [key for key in redis.keys("leym*") if redis.type(key) == "list"]
        headers = json.loads(redis.lindex(queue, 0))["headers"]
    assert queue.startswith("leym.training")
    assert headers["task"] == "leym.train"
    assert headers["argsrepr"] == f"{job.id}: training of small fp32 8x8, 9 updates"
    assert tickets.waiting(settings.redis_url, settings.queue) == 0
    assert tickets.waiting_in_all(settings.redis_url, settings.queue) == 1
    kept = FetchLimit(settings.model_copy(update={"worker": "training"}))
    kept.update([4])
    assert (kept.minimum, kept.current, kept.maximum) == (1, 1, 1)


def test_the_embedded_broker_keeps_its_data_and_requires_its_password(valkey):
    with Redis.from_url(valkey.url, decode_responses=True) as redis:
        found = redis.config_get("*")
    assert found["appendonly"] == "yes"
    assert found["maxmemory-policy"] == "noeviction"
    assert found["bind"] == "127.0.0.1"
    assert found["requirepass"]
    with Redis(port=valkey.port) as stranger, pytest.raises(Exception, match=r"(?i)auth"):
        stranger.ping()
    assert (valkey.folder / "valkey.conf").stat().st_mode & 0o077 == 0


def test_a_full_worker_fetches_a_ticket_that_is_more_urgent_and_no_other(settings, table):
    limit = FetchLimit(settings)
    full = [4] * (limit.minimum - 1) + [9]
    tickets.send(submit(table, priority=4))
    for priorities in ([], full[1:], full):
        limit.update(priorities)
        assert limit.current == limit.minimum
    tickets.send(submit(table, priority=7))  # 4 to 6 share a sub-queue of the transport
    limit.update(full)
    assert limit.current == limit.minimum + 1
    limit.update([*full, 7])  # that ticket was fetched: one more may follow
    assert limit.current == limit.minimum + 2
    limit.update([9] * settings.slots + [4] * LOOK_AHEAD)
    assert limit.current == limit.minimum, "every slot is as urgent"
    limit.update([4] * 100)
    assert limit.current == limit.maximum


def test_a_queued_job_costs_under_2_kB_and_urgent_ones_come_first(settings, table):
    with Redis.from_url(settings.redis_url) as redis:
        job = submit(table)
        tickets.send(job)
        before = redis.info()["used_memory"]
        for _ in range(1000):
            tickets.send(job)
        assert (redis.info()["used_memory"] - before) / 1000 < 2000
        assert tickets.waiting(settings.redis_url, "leym") == 1001
        tickets.send(submit(table, priority=9))
        assert redis.llen("leym") == 1  # the sub-queue that the transport serves first


def test_without_a_broker_sending_says_so(table):
    tickets.configure(Settings(redis_url=""))
    with pytest.raises(OperationalError, match="LEYM_REDIS_URL"):
        tickets.send(submit(table))
