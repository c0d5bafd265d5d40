"""Bursts queued on the device before earlier ones are settled: the same bits, and an order that can be seen.

test_engine.py and test_scheduler.py run such engines too, where their tests say `BOTH_KINDS`.
"""

from __future__ import annotations

from time import sleep

import numpy as np
import pytest

from leym.contract.spec import Recording
from leym.engine.engine import Engine
from leym.engine.pipeline import BurstPipeline
from tests.support.engines import KINDS, a_run
from tests.support.laws import random_law


@pytest.mark.parametrize("architecture", ["UNET_CONVLSTM", "NCA"])
def test_bits_are_those_of_an_engine_that_waits(architecture, engines, tmp_path):
    """All rows are recorded together here, one by one there; slots are refilled and universes moved meanwhile."""
    law = random_law(tmp_path / "law", architecture, **KINDS[architecture])
    record = (Recording(field="psi", every=4), Recording(field="coherence", every=6), Recording(field="phase", every=9))
    found = []
    for ahead in (False, True):
        engine = engines(slots=4, ahead=ahead)
        runs = [a_run(law, id=str(i), seed=i, steps=20 + 7 * i, record=record) for i in range(10)]
        for run in runs:
            engine.submit(run)
        found.append([run.sink.wait() for run in runs])
    for waited, ahead in zip(*found, strict=True):
        assert list(waited.fields) == list(ahead.fields)
        for step, fields in waited.fields.items():
            assert fields.keys() == ahead.fields[step].keys()
            assert all(np.array_equal(field, ahead.fields[step][name]) for name, field in fields.items())
        assert all(np.array_equal(waited.final[name], ahead.final[name]) for name in waited.final)


@pytest.mark.parametrize("ahead", [True, False])
def test_the_next_burst_is_launched_before_the_last_one_is_settled(ahead, engines, law, monkeypatch):
    order: list[str] = []
    launch, settle = BurstPipeline.launch, Engine._settle

    def launched(self, *arguments):
        order.append("launch")
        return launch(self, *arguments)

    def settled(self, burst):
        order.append("settle")
        settle(self, burst)

    monkeypatch.setattr(BurstPipeline, "launch", launched)
    monkeypatch.setattr(Engine, "_settle", settled)
    engine = engines(ahead=ahead)
    run = a_run(law, steps=28)  # a frame every 7 steps
    engine.submit(run)
    run.sink.wait()
    engine.stop()
    assert order[:4] == (
        ["launch", "launch", "settle", "launch"] if ahead else ["launch", "settle", "launch", "settle"]
    )
    assert order.count("launch") == order.count("settle"), "nothing is left in flight"


def test_a_run_that_is_cancelled_with_a_burst_in_flight_gets_nothing_of_it(engines, law, monkeypatch):
    engine = engines(slots=2, ahead=True)
    doomed = a_run(law, id="doomed", steps=10_000, record=(Recording(field="psi", every=1),))
    other = a_run(law, id="other", steps=60)
    launch, heard = engine._pipeline.launch, []

    def cancelling(batch, *arguments):
        burst = launch(batch, *arguments)
        if len(doomed.sink.fields) > 3 and not heard:
            engine._results._changed.acquire()  # nothing is delivered in this moment
            heard.append(max(doomed.sink.fields))
            engine._results._changed.release()
            engine.cancel("doomed")
        return burst

    monkeypatch.setattr(engine._pipeline, "launch", cancelling)
    for run in (doomed, other):
        engine.submit(run)
    other.sink.wait()
    sleep(0.1)
    assert doomed.sink.calls == ["admitted"]
    assert max(doomed.sink.fields) <= heard[0] + 2, "but what was on its way"
