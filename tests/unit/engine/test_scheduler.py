"""Who goes first: urgency, age and remaining work; an urgent run on a full engine; shares of the device."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from leym.contract.spec import Recording
from leym.engine.scheduler import AGE_S, WaitQueue, makes_room, next_batch, share_of
from leym.engine.states import Checkpoint
from tests.support.engines import BOTH_KINDS, a_run, alone

SLOW = (Recording(field="psi", every=200),)


def test_the_line_goes_by_level_then_by_work_left_then_by_arrival(law):
    line = WaitQueue()
    half_done = Checkpoint(90, {"psi": np.zeros((16, 16, 2))})
    for id, more in {
        "long": {"steps": 100},
        "short": {"steps": 20},
        "nearly over": {"steps": 100, "start": half_done},
        "small": {"steps": 100, "grid": (8, 8)},
        "as long": {"steps": 100},
        "urgent": {"steps": 9999, "priority": 5},
    }.items():
        line.add(a_run(law, id=id, **more))
    now = line.ordered(0.0)[0].since
    order = [entry.run.id for entry in line.ordered(now)]
    assert order == ["urgent", "nearly over", "short", "small", "long", "as long"]
    line.drop({"urgent", "short"})
    assert len(line) == 4
    assert {run.id for run in line} == {"long", "nearly over", "small", "as long"}


def test_who_has_waited_long_enough_goes_before_anybody_new(law):
    line = WaitQueue()
    line.add(a_run(law, id="old", priority=0, steps=10**6))
    [old] = line.ordered(0.0)
    now = old.since + 10 * AGE_S + 1  # a moment late: times are rounded
    fresh = type(old)(a_run(law, id="fresh", priority=9, steps=1), now, 2)
    assert min((old, fresh), key=lambda entry: entry.order(now)) is old
    assert min((old, fresh), key=lambda entry: entry.order(now - AGE_S)) is fresh or fresh.level(now) == 9


@pytest.mark.slow
@BOTH_KINDS
def test_an_urgent_run_on_a_full_engine_starts_within_two_bursts_and_costs_nobody_a_bit(engines, law, monkeypatch):
    expected = {seed: alone(engines, law, slots=2, steps=1000, seed=seed, record=SLOW) for seed in (1, 2)}
    engine = engines(slots=2)
    engine.warm(law, "nf4", (16, 16))
    low = [a_run(law, id=f"low-{seed}", steps=1000, seed=seed, record=SLOW, priority=2) for seed in (1, 2)]
    for run in low:
        engine.submit(run)
        assert run.sink.began.wait(240)
    bursts: list[int] = []
    launch = engine._launch

    def counted(batch):
        bursts.append(sum(group.run.id == "urgent" for group in batch.groups))
        launch(batch)

    monkeypatch.setattr(engine, "_launch", counted)
    urgent = a_run(law, id="urgent", steps=30, priority=3)
    engine.submit(urgent)
    assert np.array_equal(urgent.sink.wait().psi(), alone(engines, law, slots=2, steps=30))
    assert bursts.index(1) <= 2
    assert not any(run.sink.over.is_set() for run in low)
    assert engine.info()["swapped_out"] == 1
    for seed, run in zip((1, 2), low, strict=True):
        assert np.array_equal(run.sink.wait().psi(), expected[seed])
    assert [run.sink.calls for run in low] == [["admitted", "finished"]] * 2, "nothing tells them apart"


@BOTH_KINDS
def test_what_is_swapped_out_when_the_engine_drains_is_checkpointed(engines, law):
    engine = engines(slots=1)
    low, high = (a_run(law, id=f"p{p}", steps=100_000, record=(), priority=p) for p in (1, 7))
    for run in (low, high):
        engine.submit(run)
        assert run.sink.began.wait(240)
    engine.drain()
    for run in (low, high):
        assert run.sink.calls[-1] == "released"
        assert len(run.sink.checkpoints) == 1
    [(step, arrays)] = low.sink.checkpoints.items()
    rest = a_run(law, steps=step + 5, start=Checkpoint(step, arrays), record=())
    whole = a_run(law, steps=step + 5, record=())
    for run in (rest, whole):
        engines(slots=1).submit(run)
    assert np.array_equal(rest.sink.wait().last, whole.sink.wait().last)


def seat(id, priority, level=None, steps=100, step=0, grid=(16, 16), members=1):
    run = SimpleNamespace(id=id, priority=priority, steps=steps, grid=grid, steps_left=0)
    return SimpleNamespace(run=run, level=priority if level is None else level, step=step, places=range(members))


def a_batch(*groups, size=4):
    return SimpleNamespace(groups=list(groups), busy=sum(len(g.places) for g in groups), size=size, charged_s=0.0)


def test_room_is_made_by_the_least_urgent_with_most_to_do_and_never_by_an_equal_or_one_who_waited_long():
    batch = a_batch(seat("aged", 1, level=6), seat("far", 3, step=90), seat("near", 3, step=10), seat("high", 7))
    assert makes_room([batch], SimpleNamespace(priority=4)).id == "near"
    assert makes_room([batch], SimpleNamespace(priority=3)) is None
    batch.groups = [group for group in batch.groups if group.run.priority != 3]
    assert makes_room([batch], SimpleNamespace(priority=6)) is None
    assert makes_room([batch], SimpleNamespace(priority=7)).id == "aged"


def test_the_device_is_shared_by_time_urgency_and_fill_however_long_a_step_takes():
    """StepRunner of 1 s against bursts of 10 ms: the small grid is not starved by the large one."""
    large, small = a_batch(*[seat("l", 4)] * 4), a_batch(*[seat("s", 4)] * 4)
    urgent, sparse = a_batch(*[seat("u", 6)] * 4), a_batch(seat("n", 4))
    took = {id(large): 1.0, id(small): 0.01, id(urgent): 0.1, id(sparse): 0.05}
    had = dict.fromkeys(took, 0.0)
    for _ in range(40_000):
        batch = next_batch([large, small, urgent, sparse])
        batch.charged_s += took[id(batch)] / share_of(batch)
        had[id(batch)] += took[id(batch)]
    total = sum(had.values())
    for batch, due in ((large, 1), (small, 1), (urgent, 2), (sparse, 0.25)):
        assert abs(had[id(batch)] / total - due / 4.25) < 0.01
    assert next_batch([a_batch()]) is None
