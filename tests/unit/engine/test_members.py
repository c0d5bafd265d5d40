"""Runs of many members: the bits of each are those of a run of its own, whatever happens to the others."""

from __future__ import annotations

from collections import deque
from time import monotonic, sleep

import numpy as np
import pytest
import torch

from leym.contract.catalog import OBSERVABLES
from leym.contract.spec import ComplexNoise, Observe, RandomState, Recording, Zeros
from leym.engine import pipeline, recorder
from leym.engine.batch import Batch
from leym.engine.run import Members, Run
from leym.engine.states import GroupState
from tests.support.engines import BOTH_KINDS, a_run
from tests.support.recording_sink import MembersSink

RECORD = (Recording(field="psi", every=7), Recording(field="phase", every=5), Recording(field="activity", every=10))
RECORD += (Recording(field="flow", every=15),)
OBSERVE = Observe(every=5, names=tuple(OBSERVABLES))
STARTS = (ComplexNoise(strength=0.3), RandomState(), ComplexNoise(), ComplexNoise(strength=1.0), Zeros())


def members_of(n, *, seed=3):
    gammas = np.linspace(0, 0.05, n).astype(np.float32)
    return Members(np.arange(seed, seed + n, dtype=np.int64), gammas, [STARTS[i % 5] for i in range(n)])


def block(law, n=11, *, id="block", steps=30, grid=(16, 16), priority=4, record=RECORD, **more):
    members = more.pop("members", None) or members_of(n)
    sink = MembersSink(len(members))
    return Run(id, law, "nf4", grid, steps, members, sink, record, OBSERVE, priority, **more)


def single(law, members, place, *, steps=30, grid=(16, 16)):
    return a_run(
        law,
        id=f"single-{place}",
        steps=steps,
        grid=grid,
        seed=int(members.seeds[place]),
        gamma=float(members.gammas[place]),
        initial=members.starts[place],
        record=RECORD,
        observe=OBSERVE,
    )


def assert_same(found, expected, *, since=-1):
    """Compare the results of a member after step `since` with those of a run of its own, bit for bit."""
    assert [step for step in expected.fields if step > since] == list(found.fields)
    for step, fields in found.fields.items():
        assert fields.keys() == expected.fields[step].keys()
        for name, field in fields.items():
            assert np.array_equal(field, expected.fields[step][name], equal_nan=True), (step, name)
        assert found.observables[step] == expected.observables[step]
    assert found.step == expected.step
    assert all(np.array_equal(found.final[name], expected.final[name]) for name in expected.final)


@pytest.fixture(scope="module")
def alone(law):
    """Return the results of members, each run by itself in an otherwise empty engine."""
    from leym.engine.engine import Engine

    found: dict[tuple, MembersSink] = {}

    def results(grid=(16, 16), n=11, steps=30):
        if (grid, n, steps) not in found:
            engine = Engine(1, largest_batch=4, compile=False)
            engine.start()
            members = members_of(n)
            runs = [single(law, members, place, grid=grid, steps=steps) for place in range(n)]
            for run in runs:
                engine.submit(run)
            found[grid, n, steps] = [run.sink.wait() for run in runs]
            engine.stop()
        return found[grid, n, steps]

    return results


@BOTH_KINDS
@pytest.mark.parametrize("grid", [(16, 16), (8, 20)])
def test_members_have_the_bits_of_single_runs(engines, law, alone, grid):
    run = block(law, grid=grid)
    engines(1, largest_batch=4).submit(run)
    run.sink.wait()
    for found, expected in zip(run.sink.members, alone(grid), strict=True):
        assert_same(found, expected)
    assert run.sink.calls == ["admitted"]
    assert max(len(places) for _, places in run.sink.groups) == 4, "members step together"


@BOTH_KINDS
def test_blocks_and_single_runs_share_batches_without_changing_a_bit(engines, law, alone):
    engine, members = engines(8, largest_batch=4), members_of(11)
    runs = [block(law, id="first"), single(law, members, 2), block(law, id="second"), single(law, members, 7)]
    for run in runs:
        engine.submit(run)
    for run in runs:
        run.sink.wait()
    for found, expected in zip(runs[2].sink.members, alone(), strict=True):
        assert_same(found, expected)
    assert_same(runs[1].sink, alone()[2])
    assert_same(runs[3].sink, alone()[7])


@BOTH_KINDS
def test_a_member_that_diverges_fails_alone(engines, law, alone):
    members = members_of(11)
    bad = np.full((16, 16, 2), np.nan, np.complex64)
    members.starts = [bad if place in (2, 9) else start for place, start in enumerate(members.starts)]
    run = block(law, members=members)
    engines(1, largest_batch=4).submit(run)
    run.sink.wait()
    for place, (found, expected) in enumerate(zip(run.sink.members, alone(), strict=True)):
        if place in (2, 9):
            assert found.calls == ["failed"]
            assert "not finite from step 1 on" in found.problem.detail
            assert list(found.fields) == [0]
        else:
            assert_same(found, expected)


@BOTH_KINDS
def test_dropped_members_leave_and_the_others_go_on(engines, law, alone):
    engine = engines(1, largest_batch=4)
    engine.warm(law, "nf4", (16, 16))
    run = block(law, steps=30)
    launch, launches = engine._pipeline.launch, []

    def dropping(*arguments):
        burst = launch(*arguments)
        launches.append(burst)
        if len(launches) == 3:
            engine.drop("block", np.array([1, 8]))  # one has a slot, the other waits for one
        return burst

    engine._pipeline.launch = dropping
    engine.submit(run)
    for place in set(range(11)) - {1, 8}:
        assert_same(run.sink.members[place].wait(), alone()[place])
    assert not run.sink.members[1].over.is_set()
    assert run.sink.members[8].fields == {}
    assert engine.info()["members"] == 0


@BOTH_KINDS
def test_a_drained_block_goes_on_elsewhere_with_the_same_bits(engines, law, alone):
    engine = engines(1, largest_batch=4)
    run = block(law, n=11, steps=30)
    launch, launches = engine._pipeline.launch, []

    def stopping(*arguments):
        if sum(member.over.is_set() for member in run.sink.members) >= 4:
            launches.append(1)
        if len(launches) == 4:  # the second group of members is on its way
            engine.draining = engine._stopping = True
        return launch(*arguments)

    engine._pipeline.launch = stopping
    engine.submit(run)
    engine._thread.join(240)
    engine.drain()
    assert run.sink.calls[-1] == "released"
    resumed: dict[int, tuple[int, dict]] = {
        place: max(member.checkpoints.items())
        for place, member in enumerate(run.sink.members)
        if member.checkpoints and not member.over.is_set()
    }
    ended = [place for place, member in enumerate(run.sink.members) if member.over.is_set()]
    assert resumed
    groups = deque(
        GroupState(step, np.array([place]), {name: array[None] for name, array in arrays.items()})
        for place, (step, arrays) in resumed.items()
    )
    rest = block(law, n=11, steps=30, resumed=groups, ended=np.array(ended, np.int64))
    other = engines(1, largest_batch=4)
    other.submit(rest)
    for place in set(range(11)) - set(ended):
        found = rest.sink.members[place].wait()
        assert_same(found, alone()[place], since=resumed[place][0] if place in resumed else -1)
    for place in ended:
        assert_same(run.sink.members[place], alone()[place])


@pytest.mark.parametrize("where", ["advance", "record"])
def test_a_block_loses_nothing_when_memory_runs_out(engines, law, monkeypatch, where):
    expected = block(law, n=11)
    engines(1, largest_batch=2).submit(expected)
    expected.sink.wait()
    advance, record, calls = Batch.advance, pipeline.record, []

    def short(batch):
        if batch.size > 2 and batch.groups:
            calls.append(1)
            if len(calls) > 5:
                raise torch.OutOfMemoryError("stand-in: tried to allocate 8.00 GiB")

    def failing_advance(self, steps):
        short(self)
        advance(self, steps)

    def failing_record(batch, groups, stream):
        if groups and groups[0].step:
            short(batch)
        return record(batch, groups, stream)

    if where == "advance":
        monkeypatch.setattr(Batch, "advance", failing_advance)
    else:
        monkeypatch.setattr(pipeline, "record", failing_record)
    run = block(law, n=11)
    engine = engines(1, largest_batch=4, checkpoint_s=0.0)
    engine.submit(run)
    run.sink.wait()
    assert len(calls) > 5
    assert run.computed_by["batch_size"] == 2
    for found, same in zip(run.sink.members, expected.sink.members, strict=True):
        assert_same(found, same)


@BOTH_KINDS
def test_an_urgent_run_gets_the_slots_of_a_block_which_goes_on_later(engines, law, alone):
    engine = engines(1, largest_batch=4)
    low = block(law, id="low", n=11, priority=1)
    launch, urgent, launches = engine._pipeline.launch, single(law, members_of(11), 5), []
    urgent.priority = 8

    def submitting(*arguments):
        launches.append(1)
        if len(launches) == 3:
            engine._seating.waiting.add(urgent)
        return launch(*arguments)

    engine._pipeline.launch = submitting
    engine.submit(low)
    urgent.sink.wait()
    assert not all(member.over.is_set() for member in low.sink.members)
    low.sink.wait()
    assert engine.info()["swapped_out"] == 1
    assert_same(urgent.sink, alone()[5])
    for found, expected in zip(low.sink.members, alone(), strict=True):
        assert_same(found, expected)


def test_a_block_takes_one_batch_and_leaves_room_for_other_runs(engines, law):
    engine = engines(4, largest_batch=4)
    engine.warm(law, "nf4", (16, 16))
    large = block(law, n=40, steps=200, record=())
    engine.submit(large)
    short = a_run(law, id="short", steps=20, record=())
    engine.submit(short)
    short.sink.wait()
    assert not all(member.over.is_set() for member in large.sink.members)
    assert engine.info()["buckets"][0]["slots"] <= 8
    large.sink.wait()


def test_a_slow_sink_holds_a_block_back_and_loses_nothing(engines, law, alone, monkeypatch):
    monkeypatch.setattr("leym.engine.delivery.LIMIT", 30_000)
    engine = engines(1, largest_batch=4)
    run = block(law)
    take = run.sink.frames

    def frames(step, *arguments):
        until = monotonic() + 60
        while not run.sink.groups and not engine._seating.parked and monotonic() < until:
            sleep(0.001)  # the first delivery lasts until so much waits behind it
        take(step, *arguments)

    run.sink.frames = frames
    engine.submit(run)
    run.sink.wait()
    assert engine.info()["parked"] >= 1
    for found, expected in zip(run.sink.members, alone(), strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("together", [1, 2**40])
def test_groups_in_alternating_rows_record_their_own_members(engines, law, together, monkeypatch):
    """The rows of both groups together fill the batch, but not in the order of the groups.

    `together`: bytes of states that are recorded in one go.
    """
    monkeypatch.setattr(recorder, "RECORDED_TOGETHER", together)
    engine = engines(1, largest_batch=4)
    engine.warm(law, "nf4", (16, 16))
    engine.stop()  # its thread would step whatever it finds in the batch
    [batch] = next(iter(engine.buckets.values())).batches
    one, two = block(law, id="one", n=2), block(law, id="two", n=2, members=members_of(2, seed=50))
    fillers = [batch.admit(a_run(law, id=str(row))) for row in range(3)]
    batch.leave(fillers[0])
    batch.leave(fillers[2])
    first = batch.admit(one, 2)
    batch.leave(fillers[1])
    groups = [first, batch.admit(two, 2)]
    assert [group.rows.tolist() for group in groups] == [[0, 2], [1, 3]]
    for group, recorded in recorder.record(batch, groups, engine.stream):
        fields, _ = recorded.fetch()
        assert np.array_equal(
            np.concatenate([fields["psi"].real, fields["psi"].imag], -1), group.run.draw(group.places)
        )
