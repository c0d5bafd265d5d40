"""A device whose memory is full: batches become smaller or fewer, and no run loses anything."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from leym.contract.spec import Observe, Recording
from leym.engine.batch import Batch
from leym.engine.bucket import Bucket
from tests.support.engines import a_run, alone

EVERY = (Recording(field="psi", every=3),)


def out_of_memory(*_):
    raise torch.OutOfMemoryError("stand-in: tried to allocate 8.00 GiB")


def psi(run) -> np.ndarray:
    fields = run.sink.fields
    return np.stack([fields[step]["psi"] for step in sorted(fields) if fields[step]])


def several(engine, law, n=6, **more):
    runs = [a_run(law, id=str(i), seed=i, steps=30 + 5 * i, record=EVERY, **more) for i in range(n)]
    for run in runs:
        engine.submit(run)
    return runs


def test_a_bucket_that_does_not_fit_is_made_with_smaller_batches(engines, law, monkeypatch):
    warm = Batch.warm
    monkeypatch.setattr(Batch, "warm", lambda self: out_of_memory() if self.size > 2 else warm(self))
    engine = engines(slots=8)
    for run in several(engine, law):
        assert np.array_equal(
            run.sink.wait().psi(), alone(engines, law, seed=int(run.id), steps=run.steps, record=EVERY)
        )
        assert engine.attributes(run)["batch_size"] == 2
    said = engine.info()["degraded"]
    assert [reason.split(": ")[1] for reason in said] == [
        f"no memory for batches of {n}; now of {n // 2}" for n in (8, 4)
    ]


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("where", ["advance", "record"])
def test_what_a_batch_loses_in_a_burst_is_stepped_again_and_told_once(where, ahead, engines, law, monkeypatch):
    """The sink refuses a frame that comes twice."""
    expected = [alone(engines, law, seed=i, steps=30 + 5 * i, record=EVERY) for i in range(6)]
    advance, calls = Batch.advance, []

    def short_of_memory(self, k):
        if where == "record":
            advance(self, k)
        if self.size > 2 and self.groups:
            calls.append(k)
            if len(calls) > 9:
                for tensor in (
                    self.state,
                    self.origin,
                    self.tensors.clock,
                    self.tensors.good,
                ):  # nothing of it can be trusted
                    tensor.zero_()
                out_of_memory()
        if where == "advance":
            advance(self, k)

    monkeypatch.setattr(Batch, "advance", short_of_memory)
    engine = engines(slots=8, ahead=ahead, checkpoint_s=0.0)
    observe = Observe(every=5, names=("overlap",))
    runs = several(engine, law, observe=observe)
    for run, frames in zip(runs, expected, strict=True):
        sink = run.sink.wait()
        assert sink.calls[-1] == "finished"
        assert sink.step == run.steps
        assert np.array_equal(psi(run), frames)
        assert [s for s, o in sink.observables.items() if o] == list(range(0, run.steps + 1, 5))
        assert engine.attributes(run)["batch_size"] == 2
    assert len(calls) == 11, "lost at 8 and again at 4"
    assert len(engine.info()["degraded"]) == 2, "lost at 8 and again at 4"


def test_a_batch_more_that_does_not_fit_is_waited_for(engines, law, monkeypatch):
    monkeypatch.setattr("leym.engine.batch_size.filling_size", lambda *_, **__: 2)
    make, made = Batch.__init__, []

    def one_only(self, *arguments):
        if made:
            out_of_memory()
        make(self, *arguments)
        made.append(self)

    monkeypatch.setattr(Batch, "__init__", one_only)
    engine = engines(slots=8)
    runs = several(engine, law)
    assert all(run.sink.wait().calls[-1] == "finished" for run in runs)
    [bucket] = engine.info()["buckets"]
    assert bucket["full"]
    assert bucket["slots"] == 2
    assert not engine.info()["degraded"]


def test_idle_buckets_go_before_a_batch_becomes_smaller(engines, law, monkeypatch):
    engine = engines(slots=4)
    engine.warm(law, "fp32", (16, 16))
    warm = Bucket.warm
    monkeypatch.setattr(Bucket, "warm", lambda self: out_of_memory() if len(engine.buckets) else warm(self))
    run = a_run(law)
    engine.submit(run)
    run.sink.wait()
    assert engine.attributes(run)["batch_size"] == 4
    assert not engine.info()["degraded"]
    assert [bucket["precision"] for bucket in engine.info()["buckets"]] == ["nf4"]


def test_a_universe_that_fits_nowhere_fails_and_others_go_on(engines, law, monkeypatch):
    advance = Batch.advance
    monkeypatch.setattr(
        Batch, "advance", lambda self, k: out_of_memory() if self.grid == (32, 32) and self.groups else advance(self, k)
    )
    engine = engines(slots=4)
    large, small = a_run(law, id="large", grid=(32, 32)), a_run(law, id="small")
    for run in (large, small):
        engine.submit(run)
    assert large.sink.wait().calls[-1] == "failed"
    assert "no memory for one universe" in large.sink.problem.detail
    assert "8.00 GiB" in large.sink.problem.detail
    assert small.sink.wait().calls[-1] == "finished"
