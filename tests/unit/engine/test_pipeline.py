"""Bursts queued on the device before earlier results are delivered: everything that holds without holds with it."""

from __future__ import annotations

from time import sleep

import numpy as np
import pytest

from leym.contract.spec import Recording
from leym.engine.pipeline import Flights
from tests.support.laws import random_law
from tests.unit.engine import test_engine as at_once
from tests.unit.engine import test_scheduler as schedule
from tests.unit.engine.test_engine import a_run, law  # noqa: F401 -- `law` is a fixture
from tests.unit.engine.test_engine import engines as engines_at_once  # noqa: F401

SAME = (
    at_once.test_every_due_frame_and_observable_comes_once_and_in_order,
    at_once.test_activity_compares_with_the_step_before,
    at_once.test_drain_checkpoints_running_and_releases_waiting_runs_and_they_go_on_elsewhere,
    at_once.test_short_runs_do_not_wait_for_long_ones_and_free_slots_are_refilled,
    at_once.test_the_more_urgent_run_gets_the_next_slot,
    at_once.test_cancel_evicts_running_and_waiting_runs_without_another_word,
    at_once.test_info_counts_work_and_says_what_a_result_rests_on,
    schedule.test_what_is_swapped_out_when_the_engine_drains_is_checkpointed,
)


@pytest.fixture
def engines(engines_at_once):  # noqa: F811
    """Engines that work ahead."""
    return lambda slots=4, **options: engines_at_once(slots, **({"ahead": True} | options))


@pytest.mark.parametrize("test", SAME, ids=lambda test: test.__name__.removeprefix("test_"))
def test_as_at_once(test, engines, law):  # noqa: F811
    test(engines, law)


def test_a_slow_sink(engines, law, monkeypatch):  # noqa: F811
    at_once.test_a_slow_sink_gives_up_its_slot_and_loses_nothing(engines, law, monkeypatch)


def test_an_urgent_run(engines, law, monkeypatch):  # noqa: F811
    schedule.test_an_urgent_run_on_a_full_engine_starts_within_two_bursts_and_costs_nobody_a_bit(
        engines, law, monkeypatch
    )


def test_a_state_that_is_not_finite(engines, law):  # noqa: F811
    at_once.test_a_state_that_turns_non_finite_fails_its_own_run_with_the_step_named(False, engines, law)


@pytest.mark.parametrize("architecture", ["UNET_CONVLSTM", "NCA"])
def test_bits_are_those_of_an_engine_that_waits(architecture, engines, engines_at_once, tmp_path):  # noqa: F811
    """All rows are recorded together here, one by one there; slots are refilled and universes moved meanwhile."""
    law = random_law(tmp_path / "law", architecture, **at_once.KINDS[architecture])  # noqa: F811
    record = (Recording(field="psi", every=4), Recording(field="coherence", every=6), Recording(field="phase", every=9))
    found = []
    for make in (engines_at_once, engines):
        engine = make(slots=4)
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
def test_the_next_flight_starts_before_the_one_before_is_told(ahead, engines, law, monkeypatch):  # noqa: F811
    order: list[str] = []
    start, settle = Flights.start, Flights._settle

    def started(self, batch, k, cost, checkpoint_s):
        order.append("start")
        start(self, batch, k, cost, checkpoint_s)

    def settled(self, flight):
        order.append("told")
        settle(self, flight)

    monkeypatch.setattr(Flights, "start", started)
    monkeypatch.setattr(Flights, "_settle", settled)
    engine = engines(ahead=ahead)
    run = a_run(law, steps=28)  # a frame every 7 steps
    engine.submit(run)
    run.sink.wait()
    engine.stop()
    # `started` is noted before the call, in which the flight before is told
    assert order[:4] == (["start", "start", "told", "start"] if ahead else ["start", "told", "start", "told"])
    assert order.count("start") == order.count("told"), "nothing is left under way"


def test_who_is_cancelled_while_a_flight_is_under_way_hears_nothing_of_it(engines, law, monkeypatch):  # noqa: F811
    engine = engines(slots=2)
    doomed = a_run(law, id="doomed", steps=10_000, record=(Recording(field="psi", every=1),))
    other = a_run(law, id="other", steps=60)
    start, heard = engine._flights.start, []

    def cancelling(batch, *arguments):
        start(batch, *arguments)
        if len(doomed.sink.fields) > 3 and not heard:
            engine._courier._changed.acquire()  # nothing is delivered in this moment
            heard.append(max(doomed.sink.fields))
            engine._courier._changed.release()
            engine.cancel("doomed")

    monkeypatch.setattr(engine._flights, "start", cancelling)
    for run in (doomed, other):
        engine.submit(run)
    other.sink.wait()
    sleep(0.1)
    assert doomed.sink.calls == ["admitted"]
    assert max(doomed.sink.fields) <= heard[0] + 2, "but what was on its way"
