"""`leym doctor` sends live jobs back to before their damage, and changes no running job."""

from __future__ import annotations

import shutil
import time

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from leym.frames.checkpoint import references
from leym.frames.garbage import referenced_keys
from leym.jobs.schema import jobs
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.support.job_world import ANY, DOINGS, EXAMPLES, world
from tests.support.patient import LEASE_S, break_object
from workers.maintenance import doctor
from workers.maintenance.checkup import Checkup


@pytest.mark.parametrize("how", ["gone", "cut", "flipped"])
def test_a_live_job_goes_back_to_the_checkpoint_before_a_bad_one(patient, how):
    job_id = patient.queued()
    before = patient.table.get(job_id)
    newest, previous = references(before.checkpoint)
    patient.break_object(newest["key"], how)
    assert patient.found() == ({} if how == "flipped" else {"checkpoints": (1, 0)}), "its size is right"
    code, checks = patient.look(deep=True)
    assert code == doctor.UNSOUND
    assert checks["checkpoints"].left == 1
    assert f"--repair sends it back to step {previous['step']}" in checks["checkpoints"].examples[0]
    assert patient.table.get(job_id) == before, "an examination changes nothing"
    code, checks = patient.look(deep=True, repair=True)
    assert code == doctor.SOUND
    assert (checks["checkpoints"].found, checks["checkpoints"].repaired) == (1, 1)
    after = patient.table.get(job_id)
    assert (after.checkpoint, after.state, after.epoch) == (previous, "queued", before.epoch)
    assert (after.step, after.manifest) == (before.step, before.manifest), "readers see what they saw"
    assert patient.found(deep=True) == {}
    patient.goes_on(job_id)


def test_a_bad_older_checkpoint_is_not_named_any_more_and_a_job_without_any_starts_again(here):
    first, second = here.queued(), here.queued()
    newest, previous = references(here.table.get(first).checkpoint)
    here.break_object(previous["key"], "gone")
    for ref in references(here.table.get(second).checkpoint):
        here.break_object(ref["key"], "empty")
    assert here.found(repair=True) == {"checkpoints": (2, 2)}
    assert here.table.get(first).checkpoint == newest
    assert here.table.get(second).checkpoint is None
    here.goes_on(first)
    here.goes_on(second)


def test_a_running_job_is_not_changed(patient):
    job_id = patient.running()
    before = patient.table.get(job_id)
    patient.break_object(before.checkpoint["key"], "gone")
    patient.break_object(patient.keys(job_id, "psi")[0], "gone")
    code, checks = patient.look(repair=True)
    assert code == doctor.UNSOUND
    assert patient.table.get(job_id) == before
    for name in ("checkpoints", "frames"):
        assert checks[name].left == 1
        assert "a worker runs it" in checks[name].examples[0]


@pytest.mark.parametrize("how", ["gone", "empty", "cut", "flipped"])
@pytest.mark.parametrize("where", ["first shard", "last shard"])
def test_a_live_job_goes_back_to_before_its_lost_frames(here, where, how):
    job_id = here.queued(7, 7)  # checkpoints at the steps 6 and 15; four frames are a shard
    newest, previous = references(here.table.get(job_id).checkpoint)
    keys = here.keys(job_id, "psi")
    key = keys[0] if where == "first shard" else keys[int(newest["step"]) // 4]
    here.break_object(key, how)
    if how in ("cut", "flipped"):
        assert here.found() == {}
    assert here.found(deep=True) == {"frames": (1, 0)}
    assert here.found(deep=True, repair=True) == {"frames": (1, 1)}
    assert here.table.get(job_id).checkpoint == (None if where == "first shard" else previous)
    assert here.found(deep=True) == {}, "frames that are written again are not damaged"
    here.goes_on(job_id)


def test_a_shard_that_begins_at_the_checkpoint_is_needed_to_resume_from_it(here):
    job_id = here.queued()
    newest, previous = references(here.table.get(job_id).checkpoint)
    assert newest["step"] == 12  # the first of a shard
    here.break_object(here.keys(job_id, "psi")[3], "gone")
    assert here.found(repair=True) == {"frames": (1, 1)}
    assert here.table.get(job_id).checkpoint == previous
    here.goes_on(job_id)


def test_lost_frames_after_the_checkpoint_are_written_again_anyway(here):
    job_id = here.queued(7, 3)  # a checkpoint at step 11; frames 12 and 13 are a shard that is not full
    before = here.table.get(job_id)
    here.break_object(here.keys(job_id, "psi")[-1], "gone")
    assert here.found(repair=True, deep=True) == {}
    assert here.table.get(job_id) == before
    here.goes_on(job_id)


def test_a_job_that_is_claimed_while_it_is_checked_is_not_changed(here, monkeypatch):
    job_id = here.queued()
    here.break_object(here.table.get(job_id).checkpoint["key"], "gone")
    fall_back = JobTable.fall_back

    def claimed_first(table, *found):
        table.claim(job_id, "w", 60, 9)
        fall_back(table, *found)

    monkeypatch.setattr(JobTable, "fall_back", claimed_first)
    before = here.table.get(job_id).checkpoint
    code, checks = here.look(repair=True)
    assert code == doctor.UNSOUND
    assert "claimed meanwhile" in checks["checkpoints"].examples[0]
    assert here.table.get(job_id).checkpoint == before


def test_leases_that_ran_out_long_ago_are_reaped(patient):
    job_id = patient.running()
    assert patient.found() == {}
    for ago, expected in ((LEASE_S / 2, {}), (LEASE_S * 2, {"leases": (1, 0)})):
        with patient.table.db.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(lease_until=time.time() - ago))
        assert patient.found() == expected
    assert patient.table.get(job_id).state == "running"
    patient.break_object(patient.table.get(job_id).checkpoint["key"], "gone")
    assert patient.found(repair=True) == {"leases": (1, 1), "checkpoints": (1, 1)}, (
        "the lease first, then the checkpoint"
    )
    assert patient.table.get(job_id).state == "queued"


@pytest.mark.parametrize("how", ["no folder", "empty folder"])
def test_a_missing_store_starts_no_job_again(here, tmp_path, how):
    job_id = here.queued()
    before = here.table.get(job_id)
    shutil.rmtree(tmp_path / "store")
    if how == "empty folder":
        (tmp_path / "store").mkdir()
    code, checks = here.look(repair=True)
    assert code == doctor.INCOMPLETE
    assert here.table.get(job_id) == before
    assert (tmp_path / "store").exists() == (how == "empty folder")
    assert any("store" in check.error for check in checks.values())


WORK = ("submit", "claim", "claim", "work", "write", "checkpoint", "checkpoint", "silence")
DOING = st.tuples(st.sampled_from(WORK), ANY)
SPOIL = st.tuples(st.integers(0, 999), st.sampled_from(["gone", "empty", "cut", "flipped"]))


@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(DOING, min_size=8, max_size=40), st.lists(SPOIL, min_size=1, max_size=6))
def test_whatever_is_damaged_of_jobs_that_do_not_run_they_end_with_the_right_frames(doings, spoilt):
    with world("memory://") as made:
        made.now = time.time()
        made.submit()
        for name, n in doings:
            DOINGS[name](made, n)
        made.silence()
        named = sorted(key for job in made.table.find(made.jobs) for key in referenced_keys(job))
        for n, how in spoilt if named else []:
            if made.store.head(named[n % len(named)]):
                break_object(made.store, named[n % len(named)], how)
        steps = {job.id: job.step for job in made.table.find(made.jobs)}
        assume(next(made.store.scan("jobs/"), None))  # otherwise the store counts as missing
        for repair in (True, False):
            check = Checkup(made.table, made.store, Settings(redis_url=""), repair=repair, deep=True)
            assert all(found.left == 0 and (repair or not found.found) for found in check.objects())
        for n, job_id in enumerate(made.jobs):
            made.holders.clear()
            made.claim(n)
            while made.holders[0].at <= steps[job_id]:
                made.work(6)
            made.work(6, finish=True)
        made.check()
