"""Quotes come from what similar jobs have taken; what is not known is null, and says why."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from leym.cli.main import app as cli
from leym.client import Client
from leym.contract.records import Worker
from leym.jobs.schema import jobs
from tests.support.api import SPEC, Api, Pretender, opened, reachable, refused

BARE = {"law": "aurora", "grid": [8, 12], "steps": 100}


@pytest.fixture
def api(tmp_path):
    with opened(tmp_path, price_per_device_hour=36.0) as found:
        yield found


def beat(api: Api, **more: Any) -> None:
    worker = {"name": "w", "host": "h", "pid": 1, "device": "cpu", "state": "ready", "slots": 2}
    api.table.heartbeat(Worker(**worker | more))


def has_run(api: Api, seconds: float, device_s: float = 0.0, **spec: Any) -> str:
    """A job of its own that succeeded after so many seconds."""
    answer = api.http.post("/v1/jobs", json=BARE | spec)
    job = str(answer.json["id"])
    claim = api.table.claim(job, "w", 60, 9, now=1000.0)
    steps = claim.job.steps
    api.table.finish(job, claim.epoch, "succeeded", step=steps, manifest={}, device_s=device_s, now=1000.0 + seconds)
    return job


def quote(api: Api, **spec: Any) -> dict[str, Any]:
    answer = api.http.post("/v1/quotes", json={"job": BARE | spec})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def test_nothing_is_invented(api):
    found = quote(api)
    unknown = ("steps_per_s", "wait_s", "run_s", "start_at", "finish_at", "device_seconds", "cost", "basis")
    assert [found[key] for key in unknown] == [None] * len(unknown)
    assert "no similar job has succeeded yet" in found["reason"]
    assert "no worker is alive" in found["reason"]
    assert (found["members"], found["cell_steps"], found["bytes"]) == (1, 9600, 0)
    assert quote(api, **{k: SPEC[k] for k in ("steps", "record")})["bytes"] > 0


def test_a_job_is_quoted_by_those_of_its_bucket_scaled_to_its_length(api):
    beat(api)
    for seconds in (10.0, 11.0, 12.0, 13.0, 20.0):
        has_run(api, seconds, device_s=seconds / 2)
    has_run(api, 500.0, grid=[16, 12])  # another bucket
    found = quote(api)
    assert found["basis"] == "bucket"
    assert found["reason"] is None
    assert 10.0 < found["run_s"]["p50"] < 15.0  # the newest took longer
    assert 15.0 < found["run_s"]["p90"] < 30.0
    assert found["steps_per_s"]["p50"] == pytest.approx(100 / found["run_s"]["p50"])
    assert found["device_seconds"]["p50"] == pytest.approx(6.0)
    assert found["cost"]["p50"] == pytest.approx(6.0 / 3600 * 36)
    assert found["start_at"]["p50"] < found["finish_at"]["p50"] < found["finish_at"]["p90"]
    assert quote(api, steps=200)["run_s"]["p50"] == pytest.approx(2 * found["run_s"]["p50"])


def test_without_jobs_of_the_bucket_those_of_the_law_count_by_cell_steps(api):
    beat(api)
    for _ in range(3):
        has_run(api, 10.0)
    found = quote(api, grid=[16, 24], steps=50)
    assert (found["basis"], found["run_s"]["p50"]) == ("law", pytest.approx(20.0))


def test_the_wait_counts_what_is_as_urgent_or_more(api):
    for _ in range(3):
        has_run(api, 10.0)
    beat(api, slots=1, busy=1, cell_steps_per_s=960.0)
    assert quote(api)["wait_s"]["p50"] < 0.2
    for _ in range(2):
        assert api.http.post("/v1/jobs", json=BARE | {"priority": 5}).status_code == 202
    found = quote(api)["wait_s"]
    assert found["p50"] == pytest.approx(20, rel=0.1)
    assert found["p90"] > 1.3 * found["p50"]
    assert quote(api, priority=6)["wait_s"]["p50"] < 0.2
    beat(api, slots=4, busy=0)
    assert quote(api)["wait_s"]["p50"] < 0.2


def test_a_sweep_takes_its_device_seconds_and_no_less_than_its_longest_member(api):
    beat(api)
    for _ in range(3):
        has_run(api, 10.0, device_s=2.0)
    for n, seconds in ((2, 10.0), (100, 200.0)):
        body = {"sweep": {"base": BARE, "axes": {"seed": {"start": 0, "count": n}}}}
        found = api.http.post("/v1/quotes", json=body).json
        assert (found["members"], found["cell_steps"]) == (n, n * 9600)
        assert found["run_s"]["p50"] == pytest.approx(seconds)
        assert found["device_seconds"]["p50"] == pytest.approx(2.0 * n)


def test_a_wrong_spec_is_refused_where_it_stands_in_the_request(api):
    refused(api.http.post("/v1/quotes", json={"job": BARE | {"law": "nothing"}}), 422, pointer="/job/law")
    refused(api.http.post("/v1/quotes", json={"job": BARE | {"steps": 0}}), 422, pointer="/job/steps")
    refused(api.http.post("/v1/quotes", json={}), 422, "one job or one sweep")
    assert api.http.get("/v1/jobs").json["items"] == []


def test_predictions_are_compared_with_what_jobs_took(api):
    for _ in range(3):
        has_run(api, 10.0)  # without a prediction
    quote(api)  # has the newest samples from the table
    has_run(api, 20.0)
    text = api.http.get("/metrics").text
    assert "leym_quote_error_ratio_count 1.0" in text
    assert 'leym_quote_error_ratio_bucket{le="0.5"} 1.0' in text
    assert 'leym_quote_error_ratio_bucket{le="0.33"} 0.0' in text


def test_an_interrupted_job_is_no_sample(api):
    for _ in range(3):
        job = has_run(api, 10.0)
    with api.table.db.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(epoch=2))
    assert quote(api)["run_s"] is None


def test_a_member_of_a_fidelity_job_is_no_sample(api):
    for _ in range(3):
        answer = api.http.post("/v1/laws/aurora/fidelity", json={"precision": "nf4", "plan": "small"})
        claim = api.table.claim(answer.json["id"], "w", 60, 9, now=1000.0)
        api.table.finish(claim.job.id, 1, "succeeded", step=1, manifest={}, now=1001.0)
    assert quote(api)["run_s"] is None


def test_the_pretended_worker_of_other_tests_leaves_samples(api):
    for seed in range(3):
        worker = Pretender(api, api.submit(seed=seed))
        worker.run(30)
        worker.finish()
    assert quote(api, **{key: SPEC[key] for key in ("grid", "steps")})["basis"] == "bucket"


def test_the_sdk_and_the_command_quote(tmp_path):
    with reachable(tmp_path) as api, Client(api.url) as client:
        beat(api)
        for _ in range(3):
            has_run(api, 10.0)
        assert client.quote("aurora", grid=(8, 12), steps=100)["run_s"]["p50"] == pytest.approx(10.0)
        assert client.quote_sweep("aurora", {"seed": [1, 2]}, grid=(8, 12), steps=100)["members"] == 2
        arguments = ["--url", api.url, "quote", "aurora", "--grid", "8x12", "--steps", "100"]
        done = CliRunner().invoke(cli, [*arguments, "--json"])
        assert json.loads(done.stdout)["run_s"]["p50"] == pytest.approx(10.0)
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0
        assert "finish_at" in done.stdout
