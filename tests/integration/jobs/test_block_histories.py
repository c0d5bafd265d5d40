"""Random histories of blocks: whatever happens in whatever order, the counts are those of the members."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from leym.contract.ids import id_after
from leym.contract.member_states import MemberState, MemberStates
from leym.contract.records import FINAL, Fenced, JobState
from tests.support.job_tables import lose, sweep_of


def test_random_histories_lose_no_member(table):
    """Claims, commits, ends, losses, pauses, retries and cancels in any order: the counts are those of the members."""
    rng = np.random.default_rng(5)
    sweep, _, _ = sweep_of(table, 12, 5)
    claims = {}
    for _ in range(250):
        what = rng.integers(10)
        if what == 0:
            table.cancel(id_after(sweep.id, 1 + int(rng.integers(12))))
        elif what == 1 and rng.random() < 0.2:
            table.pause_sweep(sweep.id)
        elif what == 2:
            table.resume_sweep(sweep.id)
        elif what == 3:
            table.retry_sweep(sweep.id)
        elif what <= 6:
            for row in table.blocks(sweep.id):
                if row.state == JobState.QUEUED and (claim := table.claim(row.id, "w", 20, 2)):
                    claims[row.id] = claim
        else:
            for id in list(claims):
                act(table, claims, id, rng)
        jobs = table.sweep_members(sweep.id)[0]
        assert [job.point["seed"] for job in jobs] == list(range(12))
        found = table.get_sweep(sweep.id)
        assert found.counts == {state.value: sum(job.state == state for job in jobs) for state in JobState}
        assert found.counts == table.counts()
        assert found.cell_steps == 1200 * 128
        assert found.cell_steps_done == 128 * sum(job.step for job in jobs)
        waiting = [job for job in jobs if job.state in (JobState.QUEUED, JobState.RUNNING)]
        assert table.backlog()["cell_steps"] == 128 * sum(100 - job.step for job in waiting)
    totals = table.totals()
    ended = sum(job.state in FINAL for job in jobs)
    assert totals["submitted"] - totals["succeeded"] - totals["failed"] - totals["cancelled"] == 12 - ended


def act(table, claims, id, rng):
    """The holder of a block does something."""
    claim = claims[id]
    states = MemberStates.parse(claim.job.member_states, claim.job.members)
    what = rng.random()
    try:
        if what < 0.3:
            claims.pop(id)
            lose(table, id, max_attempts=2)
            return
        states.step[states.live] = np.minimum(np.maximum(states.step[states.live], 0) + 20, 100)
        states.end(states.live[states.step[states.live] == 100], MemberState.SUCCEEDED)
        if what < 0.5 and len(states.live):
            states.end(states.live[:1], MemberState.FAILED, problem={"title": "Not finite"})
        if len(states.live):
            gone = table.commit(id, claim.epoch, step=0, manifest={}, members=states)
            states.end(sorted(gone), MemberState.CANCELLED)
            claims[id] = replace(claim, job=replace(claim.job, member_states=states.text()))
        else:
            claims.pop(id)
            table.finish(id, claim.epoch, JobState.SUCCEEDED, step=0, manifest={}, members=states)
    except (Fenced, KeyError):
        claims.pop(id, None)
