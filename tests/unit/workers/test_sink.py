"""The sink of a claimed job when saving fails, for a while or for good, and when a deadline passes."""

from __future__ import annotations

import time

import numpy as np
import pytest

from leym.common.backoff import Backoff
from leym.engine.states import GroupState
from leym.events import Events
from leym.frames.layout import arrays_of
from leym.frames.reader import FrameReader
from leym.frames.stores.open import open_store
from leym.frames.writer import FrameWriter
from leym.jobs.table import JobTable
from tests.support.job_tables import sweep_of
from tests.support.tickets import submit
from workers.claimed_job import WorkerContext
from workers.sink import JobSink

ONE = np.zeros(1, np.int64)  # the only member of a job


class StubEngine:
    def __init__(self):
        self.cancelled = []

    def cancel(self, run_id):
        self.cancelled.append(run_id)


class StubRun:
    id, device_s = "run", 0.0


def sink_of(job, table, store, commit_s=0.0):
    context = WorkerContext(
        table=table,
        store=store,
        events=Events(None),
        commit_s=commit_s,
        on_admitted=lambda: None,
        on_progress=lambda: None,
        draining=lambda: False,
    )
    sink = JobSink(job, context, StubEngine())
    sink.run, sink.writer = StubRun(), FrameWriter(store, job.id, job.epoch, arrays_of(job))
    return sink


def test_an_unexpected_error_in_saving_interrupts_the_job_until_its_lease_expires(tmp_path, caplog):
    table, store = JobTable(f"sqlite:///{tmp_path}/jobs.sqlite"), open_store(tmp_path.as_uri())
    job = table.claim(submit(table, record=[{"field": "phase", "every": 1}]).id, "w", 20, 3).job
    sink = sink_of(job, table, store)
    sink.frames(0, ONE, {"phase": np.zeros((3, 3), np.float32)[None]}, {})
    assert sink.outcome.result(0)["state"] == "interrupted"
    assert sink.engine.cancelled == ["run"]
    sink.frames(1, ONE, {}, {})
    assert table.get(job.id).state == "running"
    assert "cannot be saved" in caplog.text
    table.close()


def test_a_store_that_fails_for_a_while_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.claimed_job.RETRY", Backoff(0.01, longest_s=0.01))
    table, store = JobTable(f"sqlite:///{tmp_path}/jobs.sqlite"), open_store(tmp_path.as_uri())
    job = table.claim(submit(table, record=[{"field": "phase", "every": 1}]).id, "w", 20, 3).job
    put, failures = store.put, iter([OSError(28, "No space left on device")] * 5)

    def failing(key, *parts):
        for failure in failures:
            raise failure
        put(key, *parts)

    monkeypatch.setattr(store, "put", failing)
    sink = sink_of(job, table, store)
    frames = np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)
    for step, frame in enumerate(frames):
        sink.frames(step, ONE, {"phase": frame[None]}, {})
    sink.finished(GroupState(2, ONE, {"psi": np.zeros((1, 64, 64, 4), np.complex64)}))
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
    sink.frames(0, ONE, {"phase": frames[0][None]}, {})

    def after_another_commit(end):
        def ended(*args, **kwargs):
            sink.frames(1, ONE, {"phase": frames[1][None]}, {})
            return end(*args, **kwargs)

        return ended

    monkeypatch.setattr(table, "finish", after_another_commit(table.finish))
    monkeypatch.setattr(table, "fail_overdue", after_another_commit(table.fail_overdue))
    sink.fail_if_overdue()
    assert sink.outcome.result(0)["state"] == "failed"
    assert table.get(job_id).state == "failed"
    assert np.array_equal(FrameReader(store, table.get(job_id)).read("phase")[1], frames)
    table.close()


@pytest.mark.parametrize(
    ("after_s", "step", "commits"),
    [
        (0.0, 0, False),  # the first frame of a run that may end at once
        (0.2, 0, True),  # slow from the start
        (0.2, 100, True),  # 2 s in all
        (0.2, 500, False),  # 0.4 s in all
        (0.9, 950, False),
        (1.01, 990, True),  # no frame waits longer than `commit_s`
    ],
)
def test_the_first_commit_is_left_to_the_end_of_a_run_that_is_short(tmp_path, monkeypatch, after_s, step, commits):
    table, store = JobTable(f"sqlite:///{tmp_path}/jobs.sqlite"), open_store(tmp_path.as_uri())
    job = table.claim(submit(table, record=[{"field": "phase", "every": 100}]).id, "w", 20, 3).job
    assert job.steps == 1000
    sink = sink_of(job, table, store, commit_s=1.0)
    now = time.monotonic()
    sink._admitted_at = now
    monkeypatch.setattr("workers.sink.time.monotonic", lambda: now + after_s)
    sink.progress(step, ONE)
    assert bool(table.get(job.id).manifest) == commits
    table.close()


@pytest.mark.parametrize(("part", "commits"), [(0.1, True), (0.5, False)])
def test_the_first_commit_of_a_block_goes_by_the_steps_of_its_members(tmp_path, monkeypatch, part, commits):
    table, store = JobTable(f"sqlite:///{tmp_path}/jobs.sqlite"), open_store(tmp_path.as_uri())
    _, [block], _ = sweep_of(table, 4, per_block=4)
    job = table.claim(block.id, "w", 20, 3).job
    of_one = table.sweep_plan(job.sweep).job(0).steps
    assert job.steps == 4 * of_one
    sink = sink_of(job, table, store, commit_s=1.0)
    now = time.monotonic()
    sink._admitted_at = now
    monkeypatch.setattr("workers.sink.time.monotonic", lambda: now + 0.2)
    sink._advance(np.arange(4), round(part * of_one))
    assert sink.wants_commit() == commits
    table.close()
