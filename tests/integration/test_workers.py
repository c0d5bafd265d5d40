"""Parts of a worker: the autoscaler's decisions, pool and sink; tickets, reaper and events in a real Valkey."""

from __future__ import annotations

import logging
import os
import threading
import time
from argparse import ArgumentTypeError

import numpy as np
import pytest
from kombu.exceptions import OperationalError
from redis import Redis

from leym import tickets
from leym.contract.records import Fenced, Worker
from leym.contract.spec import JobSpec
from leym.events import Events
from leym.frames.layout import arrays_of
from leym.frames.reader import FrameReader
from leym.frames.stores.open import open_store
from leym.frames.writer import FrameWriter
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.conftest import until
from workers.broker import Broker
from workers.celery_pool import SlotPool, Ticket
from workers.claimed_job import HandedBack, Revoked, WorkerContext
from workers.fetch_limit import LOOK_AHEAD, FetchLimit
from workers.quarantine import POLL_S, Quarantine
from workers.reaper import Reaper
from workers.sink import JobSink
from workers.supervisor import up
from workers.supervisor.autoscaler import DRAIN_S, Limits, Observation, WorkerLoad, autoscale_range, decide

LIMITS = Limits(0, 3, idle_s=10)


def load(name="w0", busy=0, waiting=0, speed=1000.0, idle=0.0):
    return WorkerLoad(name, busy, waiting, 4, speed, idle)


def observed(queued=0, cell_steps=0, ready=(), starting=0, overloaded_ticks=0, paused=False):
    return Observation(queued, cell_steps, tuple(ready), starting, overloaded_ticks, paused)


def test_a_waiting_job_starts_the_first_worker_and_a_starting_one_counts():
    assert decide(observed(), LIMITS).start == 0
    assert decide(observed(queued=1), LIMITS).start == 1
    assert decide(observed(queued=100, starting=1), LIMITS).start == 0
    assert decide(observed(queued=1, paused=True), LIMITS).start == 0


def test_the_least_number_of_workers_is_kept():
    limits = Limits(2, 3, idle_s=10)
    assert decide(observed(), limits).start == 2
    assert decide(observed(starting=1), limits).start == 1
    two_idle = [load("a", idle=99), load("b", idle=99)]
    assert decide(observed(ready=two_idle), limits).drain == ()
    assert len(decide(observed(ready=[*two_idle, load("c", idle=99)]), limits).drain) == 1


def test_a_long_backlog_starts_another_worker_only_when_it_stays_and_slots_are_full():
    full = load(busy=4, speed=1000)
    long, short = int(1000 * DRAIN_S * 2), int(1000 * DRAIN_S / 2)
    first = decide(observed(queued=5, cell_steps=long, ready=[full]), LIMITS)
    assert (first.start, first.overloaded_ticks) == (0, 1)
    assert (
        decide(observed(queued=5, cell_steps=long, ready=[full], overloaded_ticks=first.overloaded_ticks), LIMITS).start
        == 1
    )
    assert decide(observed(queued=5, cell_steps=short, ready=[full], overloaded_ticks=1), LIMITS).start == 0
    assert decide(observed(queued=5, cell_steps=long, ready=[load(busy=2)], overloaded_ticks=1), LIMITS).start == 0
    three = [load(str(i), busy=4) for i in range(3)]
    assert decide(observed(queued=5, cell_steps=long * 9, ready=three, overloaded_ticks=1), LIMITS).start == 0


def test_only_workers_idle_for_long_are_drained_and_none_while_jobs_wait():
    fleet = [load("a", idle=11), load("b", busy=1), load("c", idle=9), load("d", waiting=1, idle=99)]
    assert decide(observed(ready=fleet), LIMITS).drain == ("a",)
    assert decide(observed(queued=1, cell_steps=1, ready=fleet), LIMITS).drain == ()


def test_a_machine_may_have_no_worker_because_they_run_elsewhere():
    assert up.parse(["--workers", "0"]).workers == 0
    assert decide(Observation(5, 100, (), 0, 0), Limits(0, 0, idle_s=10)).start == 0
    with pytest.raises(SystemExit):
        up.parse(["--slots", "0"])


@pytest.mark.parametrize("text", ["", "1", "2:1", "a:b", "0:0", "-1:2", "1:2:3", "1:9999999", "1:²"])
def test_a_wrong_range_is_refused(text):
    with pytest.raises(ArgumentTypeError, match="expected min:max"):
        autoscale_range(text)


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
    first.wait(10)
    assert len(runs) == 1
    assert pool.tickets == {}
    assert sorted(log) == ["accepted", "accepted again", "done again fine", "done fine"]


def test_a_job_handed_back_is_not_acknowledged_and_a_revoked_one_ends_without_a_result(pool):
    def hand_back():
        raise HandedBack

    def revoked():
        raise Revoked

    log: list[str] = []
    apply(pool, hand_back, log).wait(10)
    assert log == []
    assert pool.tickets == {}
    apply(pool, revoked, log).wait(10)
    assert log == ["accepted"]


def test_terminate_reaches_the_job_runner(pool):
    Ticket(pool, "job").terminate(signal=15)
    assert pool.job_runner.cancelled == ["job"]


class StubEngine:
    def __init__(self):
        self.cancelled = []

    def cancel(self, run_id):
        self.cancelled.append(run_id)


class StubRun:
    id = "run"


def sink_of(job, table, store):
    context = WorkerContext(
        table=table,
        store=store,
        events=Events(None),
        commit_s=0,
        on_admitted=lambda: None,
        on_progress=lambda: None,
        draining=lambda: False,
    )
    sink = JobSink(job, context, StubEngine())
    sink.run, sink.writer = StubRun(), FrameWriter(store, job.id, job.epoch, arrays_of(job))
    return sink


def test_a_last_attempt_is_made_alone():
    quarantine, begun, ending = Quarantine(), [], threading.Event()
    threads: dict[str, threading.Thread] = {}

    def start(job, suspect=False):
        def run():
            if quarantine.enter(job, suspect, ending.is_set):
                begun.append(job)

        threads[job] = threading.Thread(target=run)
        threads[job].start()

    def has_begun(*jobs):
        for job in jobs:
            threads[job].join(30)
        assert sorted(begun) == sorted(jobs)
        begun.clear()

    start("a")
    start("b")
    has_begun("a", "b")
    start("suspect", True)
    until(lambda: quarantine._waiting == 1)
    start("c")
    quarantine.release("a")
    time.sleep(2 * POLL_S)
    assert begun == [], "b has made no progress, and c waits behind the suspect"
    quarantine.release("b")
    has_begun("suspect")
    start("second", True)
    until(lambda: quarantine._waiting == 1)
    time.sleep(2 * POLL_S)
    assert begun == []
    quarantine.release("suspect")
    has_begun("second")
    quarantine.release("second")
    has_begun("c")
    start("third", True)
    until(lambda: quarantine._waiting == 1)
    ending.set()
    threads["third"].join(30)
    quarantine.release("c")
    assert begun == [], "the worker ended"


def test_an_unexpected_error_in_saving_interrupts_the_job_until_its_lease_expires(tmp_path, caplog):
    table, store = JobTable(f"sqlite:///{tmp_path}/jobs.sqlite"), open_store(tmp_path.as_uri())
    job = table.claim(submit(table, record=[{"field": "phase", "every": 1}]).id, "w", 20, 3).job
    sink = sink_of(job, table, store)
    sink.frames(0, {"phase": np.zeros((3, 3), np.float32)}, {})
    assert sink.outcome.result(0)["state"] == "interrupted"
    assert sink.engine.cancelled == ["run"]
    sink.frames(1, {}, {})
    assert table.get(job.id).state == "running"
    assert "cannot be saved" in caplog.text
    table.close()


def test_a_store_that_fails_for_a_while_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.claimed_job.RETRY_PAUSE_S", (0.01, 0.01))
    table, store = JobTable(f"sqlite:///{tmp_path}/jobs.sqlite"), open_store(tmp_path.as_uri())
    job = table.claim(submit(table, record=[{"field": "phase", "every": 1}]).id, "w", 20, 3).job
    put, failures = store.put, iter([OSError(28, "No space left on device")] * 5)

    def failing(key, data):
        for failure in failures:
            raise failure
        put(key, data)

    monkeypatch.setattr(store, "put", failing)
    sink = sink_of(job, table, store)
    frames = np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)
    for step, frame in enumerate(frames):
        sink.frames(step, {"phase": frame}, {})
    sink.finished(2, {"psi": np.zeros((64, 64, 4), np.complex64)})
    assert sink.outcome.result(0)["state"] == "succeeded"
    assert np.array_equal(FrameReader(store, table.get(job.id)).read("phase")[1], frames)
    table.close()


def test_a_deadline_keeps_frames_that_are_committed_while_it_acts(tmp_path, monkeypatch):
    table, store = JobTable(f"sqlite:///{tmp_path}/jobs.sqlite"), open_store(tmp_path.as_uri())
    job_id = submit(table, record=[{"field": "phase", "every": 1}], deadline_s=60).id
    with table.db.write() as connection:  # a minute later, as the table sees it
        connection.exec_driver_sql("UPDATE leym_jobs SET created_at = created_at - 61, deadline_at = deadline_at - 61")
    sink = sink_of(table.claim(job_id, "w", 20, 3).job, table, store)
    frames = np.random.default_rng(0).normal(size=(2, 64, 64)).astype(np.float32)
    sink.frames(0, {"phase": frames[0]}, {})

    def after_another_commit(end):
        def ended(*args, **kwargs):
            sink.frames(1, {"phase": frames[1]}, {})
            return end(*args, **kwargs)

        return ended

    monkeypatch.setattr(table, "finish", after_another_commit(table.finish))
    monkeypatch.setattr(table, "fail_overdue", after_another_commit(table.fail_overdue))
    sink.fail_if_overdue()
    assert sink.outcome.result(0)["state"] == "failed"
    assert table.get(job_id).state == "failed"
    assert np.array_equal(FrameReader(store, table.get(job_id)).read("phase")[1], frames)
    table.close()


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("broker"))
    child = broker.start(os.environ)
    yield broker
    child.end(10)


@pytest.fixture
def settings(valkey, tmp_path):
    made = Settings(data=tmp_path, redis_url=valkey.url)
    with Redis.from_url(valkey.url) as redis:
        redis.flushall()
    tickets.configure(made)
    yield made
    tickets.configure(Settings())


@pytest.fixture
def table(settings):
    made = JobTable(settings.database)
    yield made
    made.close()


def submit(table, **spec):
    wanted = JobSpec(law="tiny", grid=(64, 64), steps=1000, **spec)
    job, _ = table.submit(wanted, law="tiny@" + "0" * 64, precision="nf4", d_state=4)
    return job


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


def test_the_reaper_sends_missing_tickets_and_takes_jobs_from_silent_workers(settings, table, caplog):
    events = Events(None)
    reaper = Reaper(table, events, settings)
    jobs = [submit(table) for _ in range(3)]
    late = jobs[0].created_at + 100
    table.ticketed([jobs[0].id])
    assert jobs[0].id not in {job.id for job in table.unticketed(float("inf"), now=late)}
    assert {job.id for job in table.unticketed(float("inf"), now=late)} == {jobs[1].id, jobs[2].id}
    table.claim(jobs[0].id, "gone", 0.0, 3, now=jobs[0].created_at)
    assert reaper.reap(table.leases()) == [jobs[0].id]
    assert table.get(jobs[0].id).state == "queued"
    assert "fell silent" in caplog.text
    table.ticketed([jobs[1].id, jobs[2].id])
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
    table.ticketed([job.id])
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
    table.ticketed([job.id for job in jobs])
    assert reaper.send_missing() == 0
    with Redis.from_url(settings.redis_url) as redis:
        redis.flushall()
    assert reaper.send_missing() == 5
    assert tickets.waiting(settings.redis_url, "leym") == 5
    assert "sending 5 again" in caplog.text


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
