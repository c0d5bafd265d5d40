"""Blocks of a sweep in a worker: every member has the results of a job of its own, whatever happens on the way."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from leym.contract.ids import id_after
from leym.contract.member_states import MemberState, MemberStates
from leym.contract.records import Fenced
from leym.frames.states import put_state
from leym.settings import Settings
from tests.support.service import until
from tests.support.site import Site
from workers.maintenance.checkup import Checkup

AXES = {"gamma": [0.0, 0.02], "seed": {"start": 3, "count": 4}}  # eight members


@pytest.fixture
def site(place, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = Site(*place, tmp_path)
    yield made
    made.table.close()
    torch.set_num_threads(threads)


@pytest.fixture
def here(tmp_path):
    """On SQLite and files only."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = Site(f"sqlite:///{tmp_path / 'jobs.sqlite'}", (tmp_path / "store").as_uri(), tmp_path)
    yield made
    made.table.close()
    torch.set_num_threads(threads)


def members_of(site: Site, sweep_id: str):
    return [site.table.member(sweep_id, i) for i in range(site.table.get_sweep(sweep_id).size)]


def assert_same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(found[name], values, equal_nan=True), name


@pytest.mark.parametrize("per_block", [1, 3, 8])
def test_members_have_the_results_of_single_jobs(here, per_block):
    sweep_id = here.sweep(AXES, per_block=per_block)
    here.run_all(sweep_id)
    assert here.table.get_sweep(sweep_id).counts["succeeded"] == 8
    for index, member in enumerate(members_of(here, sweep_id)):
        assert member.id == id_after(sweep_id, 1 + index)
        assert (member.state, member.step, member.point["seed"]) == ("succeeded", 60, 3 + index % 4)
        assert_same(here.everything(member), here.everything(here.single(member)))


def test_a_law_with_a_memory_and_members_of_several_shapes(tmp_path):
    site = Site(f"sqlite:///{tmp_path / 'jobs.sqlite'}", (tmp_path / "store").as_uri(), tmp_path, "UNET_CONVLSTM")
    sweep_id = site.sweep({"seed": [5, 6], "steps": [20, 40], "initial.strength": [0.1, 0.8]})
    site.run_all(sweep_id)
    for member in members_of(site, sweep_id):
        assert member.step == member.point["steps"]
        assert_same(site.everything(member), site.everything(site.single(member)))
    site.table.close()


def test_a_block_whose_worker_ends_goes_on_with_the_same_bits(site):
    sweep_id = site.sweep(AXES, steps=400, per_block=8)
    [block] = site.table.blocks(sweep_id)
    runner = site.runner()
    thread = site.start(runner, block.id)
    until(lambda: site.table.get_sweep(sweep_id).counts["succeeded"] >= 4, what="the first members")
    runner.drain()
    thread.join()
    [row] = site.table.blocks(sweep_id)
    assert row.state == "queued"
    states = MemberStates.parse(row.member_states, row.members)
    assert 4 <= states.count(MemberState.SUCCEEDED) < 8
    assert row.step == states.steps_done
    finished = {member.id: site.everything(member) for member in members_of(site, sweep_id) if member.final}
    site.run_all(sweep_id)
    assert site.table.get_sweep(sweep_id).counts["succeeded"] == 8
    whole = site.sweep(AXES, steps=400, per_block=8)
    site.run_all(whole)
    for member, same in zip(members_of(site, sweep_id), members_of(site, whole), strict=True):
        assert_same(site.everything(member), site.everything(same))
        if member.id in finished:
            assert_same(finished[member.id], site.everything(member))
    [row] = site.table.blocks(sweep_id)
    assert not list(site.store.list(f"jobs/{row.id}/checkpoints/")), "members that have ended need none"


def test_lost_checkpoints_of_a_block_change_no_bit(here, caplog):
    sweep_id = here.sweep(AXES, steps=400, per_block=8)
    [block] = here.table.blocks(sweep_id)
    runner = here.runner()
    thread = here.start(runner, block.id)
    until(lambda: (here.table.blocks(sweep_id)[0].checkpoint or {}).get("groups"), what="a checkpoint")
    runner.drain()
    thread.join()
    [row] = here.table.blocks(sweep_id)
    assert row.checkpoint["groups"]
    here.store.delete([group["key"] for group in row.checkpoint["groups"]])
    here.run_all(sweep_id)
    assert "goes back to step" in caplog.text
    for index in (0, 3, 7):
        member = here.table.member(sweep_id, index)
        assert_same(here.everything(member), here.everything(here.single(member)))


def test_a_member_that_turns_non_finite_fails_alone(here):
    file = io.BytesIO()
    np.save(file, np.full((8, 8, here.laws.resolve("tiny").manifest.d_state), 3e38, np.complex64))
    huge = {"kind": "upload", "id": put_state(here.store, file.getvalue())}
    starts = [{"kind": "complex_noise"}, huge, {"kind": "random"}]
    sweep_id = here.sweep({"initial": starts, "seed": [1, 2]}, per_block=6)
    here.run_all(sweep_id)
    counts = here.table.get_sweep(sweep_id).counts
    assert (counts["succeeded"], counts["failed"]) == (4, 2)
    [row] = here.table.blocks(sweep_id)
    assert row.state == "succeeded"
    for index, member in enumerate(members_of(here, sweep_id)):
        if index in (2, 3):
            assert member.state == "failed"
            assert "not finite from step 1 on" in member.error["detail"]
        else:
            assert_same(here.everything(member), here.everything(here.single(member)))


def test_a_cancelled_member_leaves_and_the_others_go_on(here):
    sweep_id = here.sweep(AXES, steps=2000, per_block=8)
    [block] = here.table.blocks(sweep_id)
    runner = here.runner(checkpoint_s=60)
    thread = here.start(runner, block.id)
    until(lambda: here.table.member(sweep_id, 1).step > 0, what="the first steps")
    for index in (1, 6):  # one that has a slot, one that waits for it
        cancelled = here.table.cancel(id_after(sweep_id, 1 + index))
        assert cancelled.state == "cancelled"
    thread.join(240)
    runner.drain()
    counts = here.table.get_sweep(sweep_id).counts
    assert (counts["succeeded"], counts["cancelled"]) == (6, 2)
    assert here.table.member(sweep_id, 1).step < 2000
    assert here.table.member(sweep_id, 6).step == 0
    member = here.table.member(sweep_id, 7)
    assert_same(here.everything(member), here.everything(here.single(member)))


STOP = ({"when": {"observable": "overlap", "below": 0.9}, "for": 3},)


def test_a_rule_stops_members_at_the_step_that_their_observables_say(here):
    free = here.sweep(AXES, steps=200, per_block=8)
    here.run_all(free)
    sweep_id = here.sweep(AXES, steps=200, per_block=8, stop=STOP)
    here.run_all(sweep_id)
    stopped = 0
    for member, whole in zip(members_of(here, sweep_id), members_of(here, free), strict=True):
        reader = here.everything(whole)
        below = reader["overlap"] < 0.9
        held = np.flatnonzero(below[2:] & below[1:-1] & below[:-2]) + 2
        expected = int(reader["observed steps"][held[0]]) if len(held) else 200
        assert member.state == "succeeded"
        assert member.step == expected
        stopped += expected < 200
        assert here.table.blocks(sweep_id)[0].step == sum(one.step for one in members_of(here, sweep_id))
        steps, frames = here.reader(member).read("psi")
        assert steps.tolist() == list(range(0, expected + 1, 20))
        assert np.array_equal(frames, reader["psi"][: len(steps)])
    assert stopped > 0
    [row] = here.table.blocks(sweep_id)
    assert np.count_nonzero(MemberStates.parse(row.member_states, 8).stopped) == stopped


def test_a_rule_counts_on_after_the_worker_ended(here):
    whole = here.sweep(AXES, steps=200, per_block=8, stop=STOP)
    here.run_all(whole)
    sweep_id = here.sweep(AXES, steps=200, per_block=8, stop=STOP)
    while (block := here.table.blocks(sweep_id)[0]).state == "queued" and block.epoch < 12:
        run_on(here, sweep_id, block)
    here.run_all(sweep_id)
    assert here.table.blocks(sweep_id)[0].epoch > 2, "it was interrupted"
    found, expected = ([member.step for member in members_of(here, of)] for of in (sweep_id, whole))
    assert found == expected


def run_on(site, sweep_id, block):
    """Run a part of a block, and let the worker end then."""
    runner = site.runner()
    thread = site.start(runner, block.id)
    until(lambda: runner.engine.info()["members"] or not thread.is_alive(), what="members in slots")
    runner.drain()
    thread.join()


def test_a_late_holder_of_a_block_is_refused(here):
    sweep_id = here.sweep(AXES, per_block=8)
    [block] = here.table.blocks(sweep_id)
    first = here.table.claim(block.id, "zombie", 20, 3)
    here.table.reap(here.table.leases(), 3)
    here.run_all(sweep_id)
    states = MemberStates.new(8)
    states.end(range(8), MemberState.FAILED)
    with pytest.raises(Fenced):
        here.table.commit(block.id, first.epoch, step=0, manifest={}, members=states)
    assert here.table.get_sweep(sweep_id).counts["succeeded"] == 8


def test_a_stopped_member_stays_at_the_step_of_its_last_recording(here):
    """The engine has made more steps by the time the rule is applied: its reports of them do not count."""
    sweep_id = here.sweep(AXES, steps=200, per_block=8, stop=STOP)
    [block] = here.table.blocks(sweep_id)
    runner = here.runner(checkpoint_s=60)
    claimed = []
    start = runner._start

    def reporting(sink):
        frames = sink.frames

        def frames_then_progress(step, places, *results):
            frames(step, places, *results)
            sink.progress(step + 3, places)

        sink.frames = frames_then_progress
        claimed.append(sink)
        start(sink)

    runner._start = reporting
    runner.run(block.id, block.id)
    runner.drain()
    stopped = [member for member in members_of(here, sweep_id) if member.step < 200]
    assert claimed
    assert stopped
    assert all(member.step % 10 == 0 for member in stopped)


def test_the_doctor_finds_damage_in_the_results_of_a_block(here):
    sweep_id = here.sweep(AXES, per_block=8)
    here.run_all(sweep_id)
    [block] = here.table.blocks(sweep_id)
    checkup = Checkup(here.table, here.store, Settings(), repair=False, deep=True)
    assert not any(check.found for check in checkup.objects())
    [lost] = here.store.list(f"jobs/{block.id}/phase/")
    here.store.delete([lost])
    found = {check.name: check for check in checkup.objects()}
    assert found["results"].found == 1
    assert block.id in str(found["results"].examples)
