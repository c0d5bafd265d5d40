"""What a project's results take: counted by who writes them, bounded at the next submission, and let go of."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from app import create_app
from leym.contract.problems import Problem
from leym.contract.records import JobState
from leym.contract.spec import JobSpec
from leym.frames.garbage import named_bytes
from leym.frames.layout import job_prefix
from leym.frames.stores.open import open_store
from leym.jobs.quotas import Quotas
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.support.frames import Writing
from tests.support.job_world import World

LAW = {"law": "tiny@" + "0" * 64, "precision": "fp32", "d_state": 3}


def spec(**changes) -> JobSpec:
    return JobSpec.model_validate({"law": "tiny", "grid": (8, 16), "steps": 100, **changes})


@pytest.fixture
def table(url):
    made = JobTable(url)
    yield made
    made.close()


def ended(table: JobTable, stored: int, **changes) -> str:
    """A job that has kept so many bytes."""
    job, _ = table.submit(spec(**changes), **LAW)
    claim = table.claim(job.id, "w", 20, 3)
    manifest = {"version": 1, "arrays": {}}
    table.finish(job.id, claim.epoch, JobState.SUCCEEDED, step=100, manifest=manifest, stored_bytes=stored)
    return job.id


def test_a_project_at_its_bound_submits_nothing_and_what_runs_goes_on(table):
    table.quotas = Quotas(stored_bytes=1000)
    ours, theirs = table.of("ours"), table.of("theirs")
    running, _ = ours.submit(spec(), **LAW)
    claim = table.claim(running.id, "w", 20, 3)
    first = ended(ours, 600)
    table.commit(running.id, claim.epoch, step=5, manifest={}, stored_bytes=399)
    ours.submit(spec(), **LAW)
    table.commit(running.id, claim.epoch, step=6, manifest={}, stored_bytes=400)
    with pytest.raises(Problem, match="results of project 'ours' take 1000 bytes; its quota is 1000") as full:
        ours.submit(spec(), **LAW)
    assert (full.value.status, full.value.retry_after_s) == (429, 60)
    table.commit(running.id, claim.epoch, step=7, manifest={}, stored_bytes=7_000_000_000)
    assert table.get(running.id).stored_bytes == 7_000_000_000
    assert table.stored_bytes() == 7_000_000_600
    theirs.submit(spec(), **LAW)
    table.finish(running.id, claim.epoch, JobState.SUCCEEDED, step=100, manifest={}, stored_bytes=500)
    assert ours.delete(first).stored_bytes == 0
    assert ours.get(first).stored_bytes == 0
    ours.submit(spec(), **LAW)
    assert (ours.stored_bytes(), theirs.stored_bytes()) == (500, 0)


def test_what_expires_is_counted_no_more_and_a_commit_without_bytes_changes_none(table):
    job = ended(table, 600, ttl_s=5)
    table.expire(now=table.get(job).finished_at + 6)
    assert table.stored_bytes() == 0
    other, _ = table.submit(spec(), **LAW)
    claim = table.claim(other.id, "w", 20, 3)
    table.commit(other.id, claim.epoch, step=5, manifest={}, stored_bytes=70)
    table.commit(other.id, claim.epoch, step=6, manifest={})
    assert table.cancel(other.id).stored_bytes == 70
    assert table.stored_bytes() == 70


def test_the_sum_is_read_from_an_index(tmp_path):
    """However many jobs there are, and however large their manifests. PostgreSQL would plan by statistics."""
    table = JobTable(f"sqlite:///{tmp_path}/jobs.sqlite")
    query = "EXPLAIN QUERY PLAN SELECT sum(stored_bytes) FROM leym_jobs WHERE stored_bytes > 0 AND project = 'p'"
    with table.db.read() as connection:
        [plan] = connection.exec_driver_sql(query).all()
    assert "COVERING INDEX leym_jobs_stored" in plan[-1]
    table.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["1", "5", "commit", "checkpoint", "crash", "lost"]), max_size=25))
def test_a_writer_knows_the_bytes_of_what_its_manifest_names(doings):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("leym.frames.layout.SHARD_FRAMES", 4)
        job = Writing(open_store("memory://"))

        def check() -> None:
            row = SimpleNamespace(**{**vars(job.row), "manifest": job.writer.flush(), "checkpoint": None})
            assert job.writer.stored_bytes == named_bytes(row, job.store.scan(job_prefix(row.id)))

        for doing in doings:
            if doing.isdigit():
                job.steps(int(doing))
            elif doing == "commit":
                check()
                job.commit()
            elif doing == "checkpoint":
                job.commit()
                job.checkpoint = job.at
            else:
                if doing == "lost":
                    job.writer.flush()
                job.crash()
                check()
        check()


def test_what_ended_before_bytes_were_counted_is_counted_by_the_collector(table, tmp_path):
    """Rows of an older version, migrated."""
    world = World(open_store(tmp_path.as_uri()), table)
    for n in range(3):
        world.submit()
        world.claim(n)
        world.work(-1, finish=n != 1)  # the one claimed last
    counted = [job.stored_bytes for job in table.find(world.jobs)]
    assert all(counted)
    with table.db.write() as connection:
        connection.execute(sa.text("UPDATE leym_jobs SET stored_bytes = 0"))
    world.collector.collect(dry_run=True, now=world.now)
    assert table.stored_bytes() == 0
    world.collect()
    found = [job.stored_bytes for job in table.find(world.jobs)]
    assert found == [counted[0], 0, counted[2]]  # the one that runs counts at its next commit
    table.delete(world.jobs[0])
    table.count_stored(world.jobs[0], 99)  # a collector that looked before
    assert table.get(world.jobs[0]).stored_bytes == 0
    table.count_stored(world.jobs[2], 99)
    assert table.get(world.jobs[2]).stored_bytes == counted[2]


def test_the_api_says_429_with_the_bytes_and_metrics_the_sum(tmp_path):
    app = create_app(Settings(data=tmp_path, quota_bytes=1000))
    client, table = app.test_client(), app.extensions["leym"].table
    body = {"law": "aurora", "grid": [8, 8], "steps": 10}
    job = client.post("/v1/jobs", json=body).json
    assert job["stored_bytes"] == 0
    claim = table.claim(job["id"], "w", 20, 3)
    table.finish(job["id"], claim.epoch, JobState.SUCCEEDED, step=10, manifest={}, stored_bytes=1001)
    assert client.get(f"/v1/jobs/{job['id']}").json["stored_bytes"] == 1001
    assert "\nleym_stored_bytes 1001.0\n" in client.get("/metrics").text
    for path, sent in (("/v1/jobs", body), ("/v1/sweeps", {"base": body, "axes": {"seed": [1, 2]}})):
        refused = client.post(path, json=sent)
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "60"
        assert refused.content_type == "application/problem+json"
        assert "project 'default' take 1001 bytes; its quota is 1000" in refused.json["detail"]
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert client.post("/v1/jobs", json=body).status_code == 202
