"""How much one project may have, and how often one caller may ask."""

from __future__ import annotations

import pytest

from app import create_app
from leym.contract.problems import Problem
from leym.contract.records import JobState
from leym.jobs.quotas import Quotas
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.support.job_tables import spec, sweep_of
from tests.support.parallel import at_once

LAW = {"law": "aurora@" + "a1" * 32, "precision": "fp32", "d_state": 4}
T0 = 1_000_000.0


def test_a_project_has_so_many_jobs_that_wait_or_run_and_others_have_their_own(table):
    table.quotas = Quotas(live_jobs=3)
    ours, theirs = table.of("ours"), table.of("theirs")
    jobs = [ours.submit(spec(seed=i), **LAW)[0] for i in range(3)]
    with pytest.raises(
        Problem, match="3 jobs of project 'ours' are queued or running; 1 more would exceed its quota of 3"
    ) as full:
        ours.submit(spec(), **LAW)
    assert (full.value.status, full.value.retry_after_s) == (429, 5)
    theirs.submit(spec(), **LAW)
    with pytest.raises(Problem, match="1 jobs of project 'theirs' are queued or running; 3 more"):
        sweep_of(theirs, 3)
    assert theirs.list_sweeps() == ([], None)
    assert theirs.counts()["queued"] == 1
    claim = table.claim(jobs[0].id, "w", 20, 3)
    table.finish(jobs[0].id, claim.epoch, JobState.SUCCEEDED, step=100, manifest={})
    ours.submit(spec(), **LAW)


def test_a_repeated_request_is_no_new_job(table):
    table.quotas = Quotas(live_jobs=1)
    first, _ = table.submit(spec(), **LAW, idempotency_key="k")
    again, created = table.submit(spec(), **LAW, idempotency_key="k")
    assert again.id == first.id
    assert not created


def test_cell_steps_are_counted_over_a_day(table):
    table.quotas = Quotas(cell_steps_per_day=25_600)  # two jobs of 8 x 16 cells and 100 steps
    table.submit(spec(), **LAW, now=T0)
    table.submit(spec(), **LAW, now=T0 + 40_000)
    with pytest.raises(Problem, match="submitted 25600 cell-steps in the last 24 hours; 128 more") as full:
        table.submit(spec(steps=1), **LAW, now=T0 + 86_399)
    assert (full.value.status, full.value.retry_after_s) == (429, 600)
    table.submit(spec(), **LAW, now=T0 + 86_401)
    table.of("another").submit(spec(steps=200), **LAW, now=T0 + 86_402)


def test_a_full_service_takes_nobodys_jobs(table):
    table.quotas = Quotas(live_jobs_of_all=2)
    table.of("ours").submit(spec(), **LAW)
    table.of("theirs").submit(spec(), **LAW)
    with pytest.raises(Problem, match="2 jobs are queued or running; 1 more would exceed the limit of 2") as full:
        table.of("third").submit(spec(), **LAW)
    assert full.value.status == 503


def test_many_at_once_do_not_pass_a_quota_together(url):
    tables = [JobTable(url) for _ in range(6)]
    for table in tables:
        table.quotas = Quotas(live_jobs=3)
    results = at_once(*(lambda table=table: table.submit(spec(), **LAW) for table in tables))
    assert sum(isinstance(result, Problem) and result.status == 429 for result in results) == 3
    assert tables[0].counts()["queued"] == 3
    for table in tables:
        table.close()


# --- jobs that run


def unticketed(table, now=T0 + 100):
    return [job.id for job in table.unticketed(float("inf"), now=now)]


def test_a_claim_above_the_bound_is_held_back_and_its_ticket_sent_when_there_is_room(table):
    table.quotas = Quotas(running_jobs=2)
    ours, theirs = table.of("ours"), table.of("theirs")
    jobs = [ours.submit(spec(seed=i, priority=i), **LAW, now=T0 + i)[0].id for i in range(5)]
    other = theirs.submit(spec(), **LAW, now=T0 + 9)[0].id
    table.mark_ticketed([*jobs, other], now=T0 + 10)
    first, second = (table.claim(job, "w", 20, 3, now=T0 + 11) for job in jobs[:2])
    assert [table.claim(job, "w", 20, 3, now=T0 + 11) for job in jobs[2:]] == [None] * 3
    assert {table.get(job).state for job in jobs[2:]} == {"queued"}
    assert table.get(jobs[2]).epoch == 0
    assert table.claim(other, "w", 20, 3, now=T0 + 11)  # another project overtakes
    assert unticketed(table) == []
    assert table.count_ticketed() == 0
    table.finish(jobs[0], first.epoch, JobState.SUCCEEDED, step=100, manifest={})
    assert unticketed(table) == [jobs[4]]  # one, the most urgent
    table.hand_back(jobs[1], second.epoch)
    assert unticketed(table) == [jobs[3], jobs[4]]
    assert table.claim(jobs[4], "w", 20, 3)
    assert table.claim(jobs[1], "w", 20, 3)
    table.quotas = Quotas()
    assert unticketed(table) == [jobs[2], jobs[3]]


def test_a_ticket_that_was_used_up_before_its_sender_noted_it_is_sent_again(table):
    table.quotas = Quotas(running_jobs=1)
    jobs = [table.submit(spec(seed=i), **LAW, now=T0)[0].id for i in range(2)]
    claim = table.claim(jobs[0], "w", 20, 3, now=T0)
    assert table.claim(jobs[1], "w", 20, 3, now=T0 + 2) is None
    table.mark_ticketed(jobs, now=T0 + 1)  # sent before it was held back
    table.cancel(jobs[0])
    assert claim
    assert unticketed(table) == [jobs[1]]
    table.mark_ticketed(jobs, now=T0 + 3)  # sent after that
    assert unticketed(table) == []
    assert table.count_ticketed() == 1


def test_a_project_with_many_that_wait_keeps_out_no_other(table):
    table.quotas = Quotas(running_jobs=1)
    for i in range(5):
        table.of("ours").submit(spec(seed=i, priority=9), **LAW, now=T0)
    other = table.of("theirs").submit(spec(priority=0), **LAW, now=T0 + 1)[0].id
    found = [job.id for job in table.unticketed(float("inf"), limit=2, now=T0 + 100)]
    assert len(found) == 2
    assert other in found


def test_many_claims_at_once_do_not_pass_the_bound_together(url):
    tables = [JobTable(url) for _ in range(6)]
    jobs = [tables[0].submit(spec(seed=i), **LAW)[0].id for i in range(6)]
    for table in tables:
        table.quotas = Quotas(running_jobs=2)
    claims = at_once(*(lambda t=t, j=j: t.claim(j, "w", 20, 3) for t, j in zip(tables, jobs, strict=True)))
    assert sum(claim is not None for claim in claims) == 2
    assert tables[0].counts()["running"] == 2
    for table in tables:
        table.close()


# --- over HTTP


def test_the_api_says_429_with_the_bound_and_when_to_come_again(tmp_path):
    client = create_app(Settings(data=tmp_path, quota_jobs=1)).test_client()
    body = {"law": "aurora", "grid": [8, 8], "steps": 10}
    assert client.post("/v1/jobs", json=body).status_code == 202
    refused = client.post("/v1/jobs", json=body)
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "5"
    assert refused.content_type == "application/problem+json"
    assert "quota of 1" in refused.json["detail"]


def test_rates_are_counted_per_token_and_not_for_probes(tmp_path):
    app = create_app(Settings(data=tmp_path, rate="3/minute"))
    table, client = app.extensions["leym"].table, app.test_client()
    ada, bob = ({"Authorization": f"Bearer {table.create_token(name, ['read'])[1]}"} for name in ("ada", "bob"))
    assert [client.get("/v1/jobs", headers=ada).status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = client.get("/v1/queue", headers=ada)  # all routes together
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.content_type == "application/problem+json"
    assert "3 per 1 minute" in refused.json["detail"]
    assert client.get("/v1/jobs", headers=bob).status_code == 200
    assert {client.get("/healthz").status_code for _ in range(8)} == {200}


def test_rates_count_over_all_processes(closed_valkey, tmp_path):
    """Two applications are two processes to Redis."""
    settings = Settings(data=tmp_path, rate="4/minute", redis_url=closed_valkey)
    clients = [create_app(settings).test_client() for _ in range(2)]
    found = [clients[i % 2].get("/v1/jobs").status_code for i in range(6)]
    assert found == [200] * 4 + [429] * 2


@pytest.fixture
def closed_valkey(tmp_path):
    """The URL of a Valkey of this test's own."""
    import os

    from workers.broker import Broker

    broker = Broker(tmp_path / "valkey")
    child = broker.start(os.environ)
    yield broker.url
    child.end(5)
