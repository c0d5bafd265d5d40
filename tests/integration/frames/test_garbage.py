"""What is removed from the store, and when: never anything that a reader, a live job or a fork needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leym.contract.problems import Problem
from leym.frames.garbage import referenced_keys
from leym.frames.layout import job_prefix
from leym.frames.states import get_state
from leym.frames.stores.open import open_store
from leym.jobs.table import JobTable
from tests.support.command import leym_here
from tests.support.job_tables import spec
from tests.support.job_world import DAY_S, DOING, DOINGS, EXAMPLES, LAW, World, world
from tests.support.parallel import at_once

# what may fall between two things that a collector does; that takes less than the hour for which states are retired
MEANWHILE = st.lists(DOING.filter(lambda doing: doing[0] != "wait"), max_size=12)


def interleave(made: World, doings: list[tuple[str, int]]) -> None:
    """Do them from now on, one before each doing of the store."""
    left = iter(doings)

    def step() -> None:
        made.store.before = lambda: None  # what they do themselves is not interrupted
        for name, n in left:
            DOINGS[name](made, n)
            made.store.before = step
            break

    made.store.before = step


def play(made: World, doings: list[tuple[str, int]], meanwhile: list[tuple[str, int]]) -> None:
    for name, n in doings:
        if name == "collect":
            interleave(made, meanwhile)
        DOINGS[name](made, n)
        made.store.before = lambda: None
        made.check()


def end_everything(made: World) -> None:
    """All jobs end, all writers have gone, and the collector comes by until nothing is due."""
    made.read()
    for n in range(len(made.jobs)):
        made.cancel(n)
    while made.held_up:
        made.tidy(0)
    for _ in range(3):
        made.collect()
        made.wait(9)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(DOING, max_size=45), MEANWHILE)
def test_no_sequence_of_doings_removes_what_is_needed_and_garbage_ends(doings, meanwhile):
    with world("memory://") as made:
        play(made, doings, meanwhile)
        end_everything(made)
        made.check()
        rows = made.table.find(made.jobs)
        assert set(made.store.list("jobs/")) == set().union(*map(referenced_keys, rows)), "and nothing else is left"
        assert list(made.store.list("states/")) == []
        assert all(not referenced_keys(row) for row in rows if row.gone(made.now))


@settings(max_examples=max(2, EXAMPLES // 25), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(DOING, min_size=15, max_size=30), MEANWHILE)
def test_the_same_in_real_stores(store_url, doings, meanwhile):
    with world(store_url) as made:
        play(made, doings, meanwhile)
        end_everything(made)
        made.check()
        assert set(made.store.list("jobs/")) == set().union(*map(referenced_keys, made.table.find(made.jobs)))
        assert list(made.store.list("states/")) == []


@pytest.fixture
def made(store_url):
    with world(store_url) as found:
        yield found


def run(made: World, ttl_s: float | None = None) -> str:
    """A job that has succeeded after eleven steps or so; its id."""
    made.submit(ttl_s)
    made.claim(len(made.jobs) - 1)
    made.work(6, checkpoint=True)
    made.work(3, finish=True)
    return made.jobs[-1]


def test_results_expire_when_their_time_is_over_and_the_record_stays(made):
    job, kept = run(made, ttl_s=DAY_S), run(made)
    before = made.table.get(job)
    assert before.expires_at == before.finished_at + DAY_S
    assert made.table.get(kept).expires_at is None
    made.wait(0.99)
    assert made.collect().expired == []
    assert made.table.get(job) == before
    made.wait(0.01)
    found = made.collect()
    assert found.expired == [job]
    assert found.objects > 0
    assert found.bytes > 0
    assert list(made.store.list(job_prefix(job))) == []
    assert list(made.store.list(job_prefix(kept)))
    after = made.table.get(job)
    assert (after.manifest, after.checkpoint, after.deleted_at) == ({}, None, None)
    assert (after.state, after.step, after.spec) == (before.state, before.step, before.spec)
    assert made.collect().expired == []
    assert "ttl_s = 86400" in after.gone(made.now)


def test_a_live_fork_keeps_its_source_and_its_end_lets_it_go(made):
    source = run(made, ttl_s=DAY_S)
    made.fork(0)
    [fork] = [job for job in made.jobs if job != source]
    with pytest.raises(Problem, match=f"{source} is the start of 1 live jobs .{fork}") as refusal:
        made.table.delete(source)
    assert refusal.value.status == 409
    made.wait(2)
    assert made.collect().expired == []
    made.check()
    made.cancel(1)
    assert made.collect().expired == [source]
    made.table.delete(source)


def test_a_source_that_goes_while_a_fork_is_taken_in_refuses_the_fork(made):
    run(made)
    made.fork(0, during=lambda: made.delete(0))
    assert len(made.jobs) == 1
    run(made, ttl_s=DAY_S)
    made.fork(1, during=lambda: made.wait(2))
    assert len(made.jobs) == 2


def test_an_upload_that_is_retired_while_a_fork_is_taken_in_is_found_again(made):
    made.put_state(5)
    made.wait(2)

    def retired_and_nearly_deleted():
        assert made.collect().states_retired == 1
        assert made.store.head(f"states/{made.states[0]}.npy") is None

    made.fork_upload(0, during=retired_and_nearly_deleted)
    made.wait(0.5)
    for _ in range(3):
        made.collect()
        made.check()
    made.cancel(0)
    made.wait(2)
    assert made.collect().states_retired == 1, "the one that was restored"
    assert get_state(made.store, made.states[0]).size == 72, "and once more"
    made.wait(2)
    made.collect()
    made.wait(0.1)
    made.collect()
    assert list(made.store.list("states/")) == []
    with pytest.raises(Problem, match="no uploaded state"):
        get_state(made.store, made.states[0])


def test_an_upload_sent_again_is_kept_from_then_on(made):
    made.put_state(5)
    made.wait(0.9)
    made.put_state(5)
    made.wait(0.9)
    assert made.collect().states_retired == 0


def test_what_a_zombie_left_goes_and_what_the_holder_writes_stays(made):
    made.submit()
    made.claim(0)
    made.work(6, checkpoint=True)
    made.silence()
    made.claim(0)
    made.work(1)  # its first commit sweeps up; then the zombie wakes up
    assert len(made.holders) == 2
    zombie, holder = made.holders
    made.work(0, commit=False)
    made.work(1, commit=False)
    keys = set(made.store.list(job_prefix(zombie.job.id)))
    made.collect()
    left = set(made.store.list(job_prefix(zombie.job.id)))
    assert keys - left
    assert all(key.split("/")[-1].split(".")[1] == "1" for key in keys - left)
    assert {key for key in keys if key.split("/")[-1].split(".")[1] == "2"} <= left, "the holder may yet commit it"
    made.check()
    assert holder.job.epoch == 2


def test_objects_of_jobs_that_the_table_does_not_know_stay(made):
    made.store.put(f"{job_prefix('z' * 26)}psi/000000.1", b"of another table")
    found = made.collect()
    assert (found.unknown_jobs, found.objects) == (1, 0)
    assert list(made.store.list(job_prefix("z" * 26)))


def test_the_last_two_checkpoints_stay_while_the_job_lives_and_one_when_it_has_succeeded(made):
    made.submit()
    made.claim(0)
    for _ in range(3):
        made.work(2, checkpoint=True)

    def there() -> set[int]:
        made.collect()
        made.check()
        keys = made.store.list(job_prefix(made.jobs[0]))
        return {int(key.split("/")[-1].split(".")[0]) for key in keys if "/checkpoints/" in key}

    assert there() == {5, 8}
    made.silence()
    assert there() == {5, 8}
    made.claim(0)
    assert there() == {5, 8}, "of an epoch that is over"
    made.holders = made.holders[-1:]
    made.work(1, finish=True)
    assert len(there()) == 1
    assert max(there()) > 8


def test_collectors_at_once_do_no_harm(made):
    for _ in range(6):
        run(made, ttl_s=DAY_S)
        made.put_state(len(made.jobs))
    kept = run(made)
    made.wait(2)
    found = at_once(*[made.collect] * 3)
    assert sorted(job for one in found for job in one.expired) == sorted(made.jobs[:-1]), "each once"
    made.wait(1)
    made.collect()
    assert {key.split("/")[1] for key in made.store.list("jobs/")} == {kept}
    assert list(made.store.list("states/")) == []
    made.check()


def test_the_default_ttl_is_of_jobs_that_state_none_and_a_repeated_request_is_still_one(url):
    table = JobTable(url)
    first, _ = table.submit(spec(), **LAW, idempotency_key="k")
    table.ttl_s = 50.0
    again, created = table.submit(spec(), **LAW, idempotency_key="k")
    assert not created
    assert again.id == first.id
    assert first.spec["ttl_s"] is None
    assert table.submit(spec(), **LAW)[0].spec["ttl_s"] == 50
    assert table.submit(spec(ttl_s=7), **LAW)[0].spec["ttl_s"] == 7
    table.close()


def test_expiry_forks_and_deletion_exclude_each_other_on_every_database(url):
    table = JobTable(url)
    now = 1_000_000.0
    for round in range(12):
        source, _ = table.submit(spec(ttl_s=5), **LAW, now=now)
        claim = table.claim(source.id, "w", 20, 3, now=now)
        ref = {"key": "k", "step": 100}
        table.finish(source.id, claim.epoch, "succeeded", step=100, manifest={}, checkpoint=ref, now=now)
        initial = {"kind": "state", "job": source.id, "step": 100}
        remove = (lambda s=source: table.delete(s.id, now=now)) if round % 2 else lambda: table.expire(now=now + 6)
        submitted, _ = at_once(lambda i=initial: table.submit(spec(initial=i), **LAW, now=now + 1), remove)
        left = table.get(source.id)
        if isinstance(submitted, Exception):
            assert submitted.status == 422
            assert left.checkpoint is None
        else:
            assert left.checkpoint == ref
            assert left.deleted_at is None
        for job in table.list()[0]:
            table.cancel(job.id)
    table.close()


def test_leym_gc_tells_what_it_would_do_and_does_it(tmp_path):
    table, store = JobTable(f"sqlite:///{tmp_path}/jobs.sqlite"), open_store((tmp_path / "store").as_uri())
    made = World(store, table)
    job = run(made, ttl_s=DAY_S)  # ended decades ago, by the world's clock

    def gc(*options: str) -> dict:
        done = leym_here("gc", "--json", *options, LEYM_DATA=str(tmp_path))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    there = set(store.list("jobs/"))
    would = gc("--dry-run")
    assert would["expired"] == [job]
    assert would["objects"] == len(there)
    assert set(store.list("jobs/")) == there
    assert table.get(job).manifest
    assert gc() == would
    assert list(store.list("jobs/")) == []
    assert not Path(tmp_path / "store" / "jobs" / job).exists()
    table.close()
