"""Sweeps of blocks in the job table: members have no rows, and are jobs like any other all the same."""

from __future__ import annotations

import pytest

from leym.contract.ids import id_after
from leym.contract.member_states import MemberState, MemberStates
from leym.contract.problems import Problem
from leym.contract.ranges import unpack_ranges
from leym.contract.records import Fenced, JobState
from leym.jobs.quotas import Quotas
from tests.support.job_tables import T0, blocks_of, lose, plan_of, spec, submit, sweep_of

POISON = {"max_attempts": 3}


def commit(table, claim, steps, *, ended=(), problem=None, **more):
    """Commit a block as its holder does: members by place, those in `ended` at their end."""
    states = MemberStates.parse(claim.job.member_states, claim.job.members)
    states.step[:] = steps
    for place, state in ended:
        states.end([place], state, problem=problem)
    return table.commit(claim.job.id, claim.epoch, step=0, manifest={"version": 2}, members=states, **more), states


def member_states(table, sweep):
    return [str(job.state) for job in table.sweep_members(sweep.id, 1000)[0]]


def test_a_member_is_a_job(table):
    plan = plan_of({"gamma": [0.5, 1], "seed": {"start": 7, "count": 3}, "initial.strength": [0.1, 0.2]})
    sweep, rows, _ = table.submit_sweep(plan, blocks_of(plan, 5))
    ids = [id_after(sweep.id, 1 + i) for i in range(12)]
    for i, id in enumerate(ids):
        job = table.get(id)
        assert job == table.member(sweep.id, i)
        assert (job.id, job.sweep, job.state, job.step, job.steps, job.members) == (id, sweep.id, "queued", 0, 100, 1)
        assert job.spec == plan.job(i).model_dump(mode="json", exclude={"webhook"})
        assert job.point == plan.point(i)
        assert (job.block, job.place, job.results, job.is_block) == (rows[i // 5].id, i % 5, rows[i // 5].id, False)
    assert [job.id for job in table.find([ids[3], rows[0].id, ids[0]])] == [ids[3], rows[0].id, ids[0]]
    assert table.get(rows[1].id).is_block
    with pytest.raises(Problem, match="there is no job"):
        table.get(id_after(sweep.id, 13))
    with pytest.raises(Problem, match="there is no job"):
        table.of("others").get(ids[0])
    with pytest.raises(Problem, match=r"index = 12: sweep .* has the members 0 to 11"):
        table.member(sweep.id, 12)


def test_members_are_listed_with_their_sweep_only(table):
    sweep, _, _ = sweep_of(table, 5)
    single = submit(table)
    assert [job.id for job in table.list()[0]] == [single]
    forward, cursor = table.sweep_members(sweep.id, 3)
    rest, end = table.sweep_members(sweep.id, 3, cursor)
    assert [job.point["seed"] for job in forward + rest] == list(range(5))
    assert end is None
    backward, cursor = table.list(sweep=sweep.id, limit=3)
    rest, end = table.list(sweep=sweep.id, limit=3, cursor=cursor)
    assert [job.point["seed"] for job in backward + rest] == [4, 3, 2, 1, 0]
    assert end is None
    table.cancel(id_after(sweep.id, 2))
    found, cursor = table.list(sweep=sweep.id, state="queued", limit=3)
    assert [job.point["seed"] for job in found] == [4, 3, 2]
    assert [job.point["seed"] for job in table.list(sweep=sweep.id, state="queued", limit=3, cursor=cursor)[0]] == [0]
    for how, n in (
        ({"law": "aurora"}, 5),
        ({"law": "other"}, 0),
        ({"tags": [("s", "1")]}, 5),
        ({"tags": [("s", "2")]}, 0),
    ):
        assert len(table.list(sweep=sweep.id, **how)[0]) == n
    assert table.counts() == dict.fromkeys(JobState, 0) | {"queued": 5, "cancelled": 1}
    assert table.backlog()["jobs"] == 5
    assert table.backlog()["cell_steps"] == 500 * 8 * 16
    assert table.buckets()[0]["jobs"] == 5
    assert table.count_work("default") == (6, 1)


def test_a_commit_says_how_far_each_member_is(table):
    sweep, rows, _ = sweep_of(table, 3)
    claim = table.claim(rows[0].id, "w", 20, 3)
    assert (claim.job.members, claim.job.indices, claim.job.member_states) == (3, "0-2", None)
    problem = {"title": "Not finite", "status": 500}
    gone, _ = commit(
        table, claim, [10, 100, 30], ended=[(1, MemberState.SUCCEEDED), (2, MemberState.FAILED)], problem=problem
    )
    assert gone == frozenset()
    first, second, third = table.sweep_members(sweep.id)[0]
    assert [(j.state, j.step) for j in (first, second, third)] == [("running", 10), ("succeeded", 100), ("failed", 30)]
    assert (first.error, third.error) == (None, problem)
    row = table.get(rows[0].id)
    assert (row.step, row.attempts) == (140, 1)
    assert table.get_sweep(sweep.id).cell_steps_done == 140 * 128
    assert table.backlog()["cell_steps"] == 90 * 128
    totals = table.totals()
    assert (totals["succeeded"], totals["failed"], totals["cell_steps"]) == (1, 1, 140 * 128)
    assert table.latencies()["total"]["count"] == 2
    states = MemberStates.parse(row.member_states, 3)
    states.step[0] = 100
    states.end([0], MemberState.SUCCEEDED)
    table.finish(rows[0].id, claim.epoch, JobState.FAILED, step=0, manifest={}, members=states)
    found = table.get_sweep(sweep.id)
    assert found.final
    assert (found.counts["succeeded"], found.counts["failed"]) == (2, 1)
    assert found.cell_steps_done == 230 * 128
    assert table.counts() | {"succeeded": 2, "failed": 1} == table.counts()
    assert table.latencies()["total"]["count"] == 3


def test_members_that_have_not_ended_end_with_their_block(table):
    sweep, rows, _ = sweep_of(table, 5, 5)
    claim = table.claim(rows[0].id, "w", 20, 3)
    commit(table, claim, 50, ended=[(0, MemberState.SUCCEEDED)])
    error = {"title": "Law gone", "status": 500}
    table.finish(rows[0].id, claim.epoch, JobState.FAILED, step=0, manifest={}, error=error)
    assert member_states(table, sweep) == ["succeeded"] + 4 * ["failed"]
    assert table.member(sweep.id, 4).error == error
    assert table.get_sweep(sweep.id).counts | {"succeeded": 1, "failed": 4} == table.get_sweep(sweep.id).counts
    assert len(table.list(sweep=sweep.id, state="failed")[0]) == 4
    assert table.totals()["failed"] == 4


def test_a_cancelled_member_stays_cancelled_and_its_holder_hears_of_it(table):
    sweep, rows, _ = sweep_of(table, 3)
    ids = [id_after(sweep.id, 1 + i) for i in range(3)]
    assert table.cancel(ids[2]).state == JobState.CANCELLED  # while its block waits
    claim = table.claim(rows[0].id, "w", 20, 3)
    assert MemberStates.parse(claim.job.member_states, 3).live.tolist() == [0, 1]
    assert table.cancelled_members([rows[0].id]) == {rows[0].id: frozenset({2})}
    assert table.cancel(ids[0]).state == JobState.CANCELLED  # while its block runs
    assert table.cancel(ids[0]).state == JobState.CANCELLED
    gone, _ = commit(table, claim, [40, 60, 60], ended=[(0, MemberState.SUCCEEDED)])  # the holder has not heard yet
    assert gone == {0, 2}
    assert [(j.state, j.step) for j in table.sweep_members(sweep.id)[0]] == [
        ("cancelled", 0), ("running", 60), ("cancelled", 0)
    ]  # fmt: skip
    assert table.totals()["cancelled"] == 2
    assert table.totals()["succeeded"] == 0
    assert table.cancel(ids[1]).state == JobState.CANCELLED  # the last one: the block ends, and its holder is fenced
    assert table.get(rows[0].id).state == JobState.CANCELLED
    with pytest.raises(Fenced):
        commit(table, claim, 100)
    assert table.cancel(ids[1]).step == 60
    assert table.get_sweep(sweep.id).counts["cancelled"] == 3


def test_a_poisonous_member_is_found_by_halving(table):
    """A worker dies whenever it runs member 5."""
    sweep, _, _ = sweep_of(table, 8, 8)
    claims = 0
    while ids := [job.id for job in table.unticketed(0, now=2e9)]:
        for id in ids:
            claim = table.claim(id, "w", 20, **POISON)
            if claim is None:
                continue
            claims += 1
            here = unpack_ranges(claim.job.indices)
            states = MemberStates.parse(claim.job.member_states, claim.job.members)
            if 5 in here[states.live]:
                lose(table, id, **POISON)
            else:
                states.step[states.live] = 100
                states.end(states.live, MemberState.SUCCEEDED)
                table.finish(id, claim.epoch, JobState.SUCCEEDED, step=0, manifest={}, members=states)
    assert member_states(table, sweep) == 5 * ["succeeded"] + ["failed"] + 2 * ["succeeded"]
    assert table.member(sweep.id, 5).error["title"] == "Poison job"
    counts = table.get_sweep(sweep.id).counts
    assert (counts["succeeded"], counts["failed"], sum(counts.values())) == (7, 1, 8)
    assert claims == 3 + 2 * 3  # its three attempts, then two halves of 4, 2 and 1 members
    assert (table.totals()["submitted"], table.totals()["succeeded"], table.totals()["failed"]) == (8, 7, 1)
    assert table.list(sweep=sweep.id, state="failed")[0] == [table.member(sweep.id, 5)]


def test_a_split_block_starts_again_without_its_checkpoint(table):
    sweep, rows, _ = sweep_of(table, 4, 4)
    claim = table.claim(rows[0].id, "w", 20, 1)
    commit(table, claim, 20, checkpoint={"bytes": 7, "step": 20}, stored_bytes=10)
    lose(table, rows[0].id, max_attempts=1)
    old, new = table.blocks(sweep.id)
    assert (old.checkpoint, old.stored_bytes, old.attempts, old.state) == (None, 3, 0, "queued")
    assert (new.indices, new.members, new.steps, new.step, new.attempts) == ("2-3", 2, 200, 0, 0)
    assert (new.manifest, new.checkpoint, new.member_states, new.epoch) == ({}, None, None, 0)
    assert new.spec["seed"] == 2
    assert (new.created_at, new.priority, new.law) == (old.created_at, old.priority, old.law)
    assert [job.block for job in table.sweep_members(sweep.id)[0]] == [old.id, old.id, new.id, new.id]
    assert [job.step for job in table.sweep_members(sweep.id)[0]] == [20, 20, 0, 0]
    assert table.backlog()["cell_steps"] == (2 * 80 + 2 * 100) * 128
    assert table.get_sweep(sweep.id).cell_steps == 400 * 128


def test_a_sweep_pauses_and_resumes(table):
    sweep, rows, _ = sweep_of(table, 5)
    claim = table.claim(rows[0].id, "w", 20, 3)
    commit(table, claim, 30, checkpoint={"bytes": 1, "step": 30})
    assert table.pause_sweep(sweep.id, now=T0) == [rows[0].id]
    assert table.pause_sweep(sweep.id) == []
    assert member_states(table, sweep) == 5 * ["paused"]
    assert table.get_sweep(sweep.id).paused_at == T0
    with pytest.raises(Fenced):
        commit(table, claim, 40)
    assert table.claim(rows[1].id, "w", 20, 3) is None
    assert table.unticketed(0, now=2e9) == []
    assert [row.id for row in table.resume_sweep(sweep.id)] == [row.id for row in rows]
    assert table.resume_sweep(sweep.id) == []
    again = table.claim(rows[0].id, "w", 20, 3)
    assert (again.job.checkpoint["step"], again.job.attempts) == (30, 1)
    assert table.get_sweep(sweep.id).paused_at is None


def test_the_priority_of_a_sweep_changes_while_it_runs(table):
    sweep, rows, _ = sweep_of(table, 7)
    table.claim(rows[0].id, "w", 20, 3)
    table.cancel(id_after(sweep.id, 7))  # the only member of the last block
    assert [(row.id, row.priority) for row in table.set_sweep_priority(sweep.id, 9)] == [(rows[1].id, 9)]
    assert [row.priority for row in table.blocks(sweep.id)] == [9, 9, 4]
    assert table.member(sweep.id, 0).priority == 9


def test_failed_members_run_again(table):
    sweep, rows, _ = sweep_of(table, 6)
    claims = [table.claim(row.id, "w", 20, 3) for row in rows]
    _, states = commit(table, claims[0], 50, ended=[(1, MemberState.FAILED)])  # its block still runs
    error = {"title": "Deadline passed", "status": 422}
    done = MemberStates.new(3)
    done.end([0], MemberState.SUCCEEDED)
    table.finish(rows[1].id, claims[1].epoch, JobState.FAILED, step=0, manifest={}, error=error, members=done)
    n, new = table.retry_sweep(sweep.id, now=T0)
    assert (n, [row.indices for row in new]) == (3, ["1", "4-5"])
    assert member_states(table, sweep) == ["running", "queued", "running", "succeeded", "queued", "queued"]
    assert table.retry_sweep(sweep.id)[0] == 0
    states.step[[0, 2]] = 100
    states.end([0, 2], MemberState.SUCCEEDED)
    table.finish(rows[0].id, claims[0].epoch, JobState.SUCCEEDED, step=0, manifest={}, members=states)
    assert member_states(table, sweep) == ["succeeded", "queued", "succeeded", "succeeded", "queued", "queued"]
    for row in new:
        claim = table.claim(row.id, "w", 20, 3)
        table.finish(row.id, claim.epoch, JobState.SUCCEEDED, step=0, manifest={}, members=None)
    assert table.get_sweep(sweep.id).counts | {"succeeded": 6} == dict.fromkeys(JobState, 0) | {"succeeded": 6}
    totals = table.totals()
    assert totals["submitted"] == 9 == totals["succeeded"] + totals["failed"] + totals["cancelled"]


def test_a_sweep_is_cancelled_and_deleted_as_a_whole(table):
    sweep, rows, _ = sweep_of(table, 6, 2)
    claim = table.claim(rows[0].id, "w", 20, 3)
    commit(table, claim, 50, ended=[(1, MemberState.SUCCEEDED)])
    with pytest.raises(Problem, match="has not ended; cancel it before"):
        table.delete_sweep(sweep.id)
    assert table.cancel_sweep(sweep.id, now=T0) == 5
    assert table.cancel_sweep(sweep.id) == 0
    assert member_states(table, sweep) == ["cancelled", "succeeded"] + 4 * ["cancelled"]
    assert table.totals()["cancelled"] == 5
    with pytest.raises(Problem, match=r"is a member of sweep .*; delete the sweep"):
        table.delete(id_after(sweep.id, 1))
    source = {"initial": {"kind": "state", "job": id_after(sweep.id, 2), "step": 100}}
    fork = submit(table, **source)
    assert table.dependencies().jobs == {rows[0].id: [fork]}
    with pytest.raises(Problem, match=r"1 live jobs .* start from members"):
        table.delete_sweep(sweep.id)
    table.cancel(fork)
    assert table.delete_sweep(sweep.id) == [row.id for row in rows]
    assert table.delete_sweep(sweep.id) == []
    assert table.get(id_after(sweep.id, 2)).deleted_at is not None
    assert table.get_sweep(sweep.id).counts["cancelled"] == 5
    with pytest.raises(Problem, match="its results were deleted"):
        table.submit(spec(**source), law=rows[0].law, precision="fp32", d_state=4)


def test_members_depend_on_what_each_of_them_starts_from(table):
    sources = [submit(table), submit(table)]
    state = {"kind": "upload", "id": "ab" * 32}
    plan = plan_of({"initial": [{"kind": "state", "job": source, "step": 3} for source in sources] + [state]})
    _, (row,), _ = table.submit_sweep(plan, blocks_of(plan))
    found = table.dependencies()
    assert found.jobs == {source: [row.id] for source in sources}
    assert found.states == {"ab" * 32}


def test_a_project_runs_members_up_to_its_quota(table):
    sweep, rows, _ = sweep_of(table, 6)
    table.quotas = Quotas(running_jobs=5)
    assert table.claim(rows[0].id, "w", 20, 3)
    assert table.claim(rows[1].id, "w", 20, 3) is None  # 3 + 3 > 5
    single = submit(table)
    assert table.claim(single, "w", 20, 3)
    assert [job.id for job in table.unticketed(float("inf"), now=T0 + 100)] == []
    table.quotas = Quotas(running_jobs=6)
    table.cancel(single)
    assert [job.id for job in table.unticketed(float("inf"), now=T0 + 100)] == [rows[1].id]
    table.quotas = Quotas(running_jobs=1)
    table.cancel_sweep(sweep.id)
    other = sweep_of(table, 3)[1]
    assert table.claim(other[0].id, "w", 20, 3)  # alone it may run, or it never would


def test_overdue_members_fail_with_their_block(table):
    plan = plan_of({"seed": [1, 2, 3]}, {"deadline_s": 60})
    sweep, rows, _ = table.submit_sweep(plan, blocks_of(plan), now=T0)
    claim = table.claim(rows[0].id, "w", 20, 3, now=T0)
    commit(table, claim, 100, ended=[(0, MemberState.SUCCEEDED)])
    assert [job.id for job in table.fail_overdue(now=T0 + 61)] == [rows[0].id]
    assert member_states(table, sweep) == ["succeeded", "failed", "failed"]
    assert table.member(sweep.id, 1).error["title"] == "Deadline passed"
    assert table.totals()["failed"] == 2 == table.get_sweep(sweep.id).counts["failed"]


def test_a_project_takes_over_sweeps(table):
    sweep, _, _ = sweep_of(table.of("old"), 5)
    assert table.take_over("old", "new") == (5, 1)
    assert table.of("new").get(id_after(sweep.id, 3)).project == "new"
