"""The sink of a claimed job when saving fails, for a while or for good."""

from __future__ import annotations

import numpy as np

from leym.common.backoff import Backoff
from leym.events import Events
from leym.frames.layout import arrays_of
from leym.frames.reader import FrameReader
from leym.frames.stores.open import open_store
from leym.frames.writer import FrameWriter
from leym.jobs.table import JobTable
from tests.support.tickets import submit
from workers.claimed_job import Place
from workers.host import HandBack
from workers.sink import JobSink


class StubEngine:
    def __init__(self):
        self.cancelled = []

    def cancel(self, run_id):
        self.cancelled.append(run_id)


class StubRun:
    id = "run"


def sink_of(job, table, store):
    place = Place(
        table=table,
        store=store,
        events=Events(None),
        commit_s=0,
        admitted=lambda: None,
        proven=lambda: None,
        handed_back=HandBack,
        draining=lambda: False,
    )
    sink = JobSink(job, place, StubEngine())
    sink.run, sink.writer = StubRun(), FrameWriter(store, job.id, job.epoch, arrays_of(job))
    return sink


def test_a_defect_in_saving_ends_the_jobs_stay_and_leaves_it_to_its_lease(tmp_path, caplog):
    table, store = JobTable(f"sqlite:///{tmp_path}/jobs.sqlite"), open_store(tmp_path.as_uri())
    job = table.claim(submit(table, record=[{"field": "phase", "every": 1}]).id, "w", 20, 3).job
    sink = sink_of(job, table, store)
    sink.frames(0, {"phase": np.zeros((3, 3), np.float32)}, {})
    assert sink.outcome.result(0)["state"] == "left"
    assert sink.engine.cancelled == ["run"]
    sink.frames(1, {}, {})
    assert table.get(job.id).state == "running"
    assert "cannot be saved" in caplog.text
    table.close()


def test_a_store_that_fails_for_a_while_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.claimed_job.RETRY", Backoff(0.01, longest_s=0.01))
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
