"""The REST API on a real job table and frame store: jobs, sweeps, laws, probes, the page, and its own document."""

from __future__ import annotations

import csv
import io
import json
import logging
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from app import create_app, long_poll, metrics, ticket_sender
from app.ticket_sender import BrokerOutage, TicketSender
from leym import tickets
from leym.contract.member_states import MemberState, MemberStates
from leym.contract.records import Job, Worker
from leym.contract.spec import JobSpec, stored_spec
from leym.jobs.schema import jobs
from leym.settings import Settings
from tests.support.api import SPEC, Api, Pretender, done, opened, refused
from tests.support.job_tables import rows_of
from tests.support.laws import random_law
from tests.support.service import until


def test_a_job_from_submit_to_delete(api: Api) -> None:
    answer = api.http.post("/v1/jobs", json=SPEC | {"tags": {"who": "me"}})
    assert answer.status_code == 202
    assert answer.headers["Location"] == answer.json["links"]["self"]
    job = answer.json["id"]
    assert answer.json["state"] == "queued"
    assert answer.json["law"].startswith("aurora@")
    for query in ("tag=who:me", "tag=who=me", "law=aurora", "state=queued", ""):
        assert [j["id"] for j in api.http.get(f"/v1/jobs?{query}").json["items"]] == [job], query
    for query in ("tag=who:you", "law=other", "state=running"):
        assert api.http.get(f"/v1/jobs?{query}").json["items"] == [], query
    refused(api.http.delete(f"/v1/jobs/{job}"), 409, "queued")
    worker = Pretender(api, job)
    worker.run(12)
    worker.commit()
    assert api.http.get(f"/v1/jobs/{job}").json["step"] == 12
    cancelled = api.http.post(f"/v1/jobs/{job}/cancel")
    assert cancelled.status_code == 200
    assert cancelled.json["state"] == "cancelled"
    assert api.http.post(f"/v1/jobs/{job}/cancel").json == cancelled.json
    assert list(api.store.list(f"jobs/{job}/"))
    for _ in range(2):
        assert api.http.delete(f"/v1/jobs/{job}").status_code == 204
    assert not list(api.store.list(f"jobs/{job}/"))
    refused(api.http.get(f"/v1/jobs/{job}"), 410, job)
    refused(api.http.get(f"/v1/jobs/{job}/frames/phase"), 410, job)
    assert api.http.get("/v1/jobs").json["items"] == []


def test_a_repeated_request_finds_the_first_job(api: Api) -> None:
    key = {"Idempotency-Key": "once"}
    first = api.http.post("/v1/jobs", json=SPEC, headers=key)
    again = api.http.post("/v1/jobs", json=SPEC, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json == first.json
    assert again.headers["Location"] == first.headers["Location"]
    refused(api.http.post("/v1/jobs", json=SPEC | {"seed": 9}, headers=key), 422, "once")
    refused(api.http.post("/v1/jobs", json=SPEC, headers={"Idempotency-Key": "x" * 256}), 422, "255")
    assert api.table.totals()["submitted"] == 1


def test_a_broker_that_is_away_stops_no_submission(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path, redis_url="redis://127.0.0.1:1/0") as api, caplog.at_level(logging.WARNING):
        job = api.submit()
        assert [waiting.id for waiting in api.table.unticketed(0, now=2e9)] == [job]
        until(lambda: "broker" in caplog.text)
        Pretender(api, job)
        assert api.http.post(f"/v1/jobs/{job}/cancel").json["state"] == "cancelled"
        ready = api.http.get("/readyz")
        assert ready.status_code == 200
        assert "away" in ready.json["checks"]["broker"]


def test_a_long_poll_answers_when_the_state_changes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_poll, "POLL_S", 0.01)
    job = api.submit()
    assert api.http.get(f"/v1/jobs/{job}?wait=0.05").json["state"] == "queued"
    assert api.http.get(f"/v1/jobs/{job}?wait=60&state=running").json["state"] == "queued"
    began = threading.Timer(0.1, Pretender, (api, job))
    began.start()
    assert api.http.get(f"/v1/jobs/{job}?wait=60").json["state"] == "running"
    began.join()
    api.table.cancel(job)
    assert api.http.get(f"/v1/jobs/{job}?wait=60").json["state"] == "cancelled"


def test_sweeps(api: Api) -> None:
    body = {"base": SPEC, "axes": {"gamma": [0.0, 0.5], "seed": {"start": 7, "count": 3}}}
    refused(api.http.post("/v1/sweeps", json=body | {"axes": {"gamma": [0, -1]}}), 422, "-1", pointer="/axes/gamma")
    refused(api.http.post("/v1/sweeps", json=body | {"axes": {"seed": {"count": 10**7}}}), 422, "1000000")
    assert api.table.totals()["submitted"] == 0
    answer = api.http.post("/v1/sweeps", json=body, headers={"Idempotency-Key": "s"})
    assert answer.status_code == 202
    assert answer.json["counts"]["queued"] == answer.json["size"] == 6
    at = answer.headers["Location"]
    assert api.http.post("/v1/sweeps", json=body, headers={"Idempotency-Key": "s"}).json["id"] == answer.json["id"]
    members = api.http.get(f"{at}/jobs").json["items"]
    assert [m["point"] for m in members] == [{"gamma": g, "seed": s} for g in (0.0, 0.5) for s in (7, 8, 9)]
    (block,) = api.table.blocks(answer.json["id"])
    assert api.http.get(f"/v1/jobs/{block.id}").status_code == 404  # the row of a block is no job
    claim = api.table.claim(block.id, "w", 60, 9)
    states = MemberStates.new(6)
    states.step[4] = 30
    states.end([4], MemberState.SUCCEEDED)
    api.table.commit(block.id, claim.epoch, step=0, manifest={}, members=states)
    assert api.http.get(f"/v1/jobs/{members[4]['id']}").json["state"] == "succeeded"
    assert api.http.get(f"/v1/jobs/{members[3]['id']}").json["state"] == "running"
    assert api.http.post(f"/v1/jobs/{members[3]['id']}/cancel").json["state"] == "cancelled"
    refused(api.http.delete(f"/v1/jobs/{members[4]['id']}"), 409, "delete the sweep")
    cancelled = api.http.post(f"{at}/cancel").json
    assert cancelled["state"] == "cancelled"
    assert (cancelled["counts"]["succeeded"], cancelled["counts"]["cancelled"]) == (1, 5)
    assert [s["id"] for s in api.http.get("/v1/sweeps").json["items"]] == [answer.json["id"]]


def test_the_table_of_a_sweep_of_version_0_1_0(api: Api) -> None:
    sweep, rows = rows_of(api.table, 6, observe={"every": 2, "names": ["coherence"]}, steps=30)
    worker = Pretender(api, rows[4].id)
    worker.run(30)
    worker.finish()
    at = f"/v1/sweeps/{sweep.id}"
    table = api.http.get(f"{at}/table").json["items"]
    assert [row["point"] for row in table] == [{"seed": i} for i in range(6)]
    lines = list(csv.DictReader(io.StringIO(api.http.get(f"{at}/table?format=csv").text)))
    assert [int(x["seed"]) for x in lines] == list(range(6))
    assert [x["state"] for x in lines] == [r["state"] for r in table]
    assert float(lines[4]["coherence"]) == table[4]["observables"]["coherence"] == worker.last()["coherence"]
    assert lines[0]["coherence"] == ""


def test_laws_workers_and_queue(api: Api) -> None:
    law = api.http.get("/v1/laws").json["items"][0]
    assert law["name"] == "aurora"
    assert law["grid_multiple"] == 4
    assert api.http.get("/v1/laws/aurora").json == law == api.http.get(f"/v1/laws/{law['ref']}").json
    api.submit()
    queue = api.http.get("/v1/queue").json
    assert queue["states"]["queued"] == 1
    assert queue["cell_steps"] == queue["queued_cell_steps"] == 8 * 12 * 30
    assert queue["buckets"][0]["grid"] == [8, 12]
    api.table.heartbeat(Worker("w", "here", 1, "cpu", "ready", slots=4, busy=1))
    assert [w["name"] for w in api.http.get("/v1/workers").json["items"]] == ["w"]
    assert api.http.get("/readyz").json["checks"] | {"broker": ""} == {
        "table": "ok",
        "store": "ok",
        "broker": "",
        "workers": "1",
    }
    assert api.http.get("/healthz").json == {"status": "ok"}


def test_metrics_parse_and_count(api: Api) -> None:
    done(api)
    api.submit()
    text = api.http.get("/metrics").text
    samples = {
        (s.name, *sorted(s.labels.items())): s.value for f in text_string_to_metric_families(text) for s in f.samples
    }
    assert samples[("leym_job_table_up",)] == 1
    assert samples[("leym_jobs", ("state", "queued"))] == 1
    assert samples[("leym_jobs_submitted_total",)] == 2
    assert samples[("leym_jobs_finished_total", ("state", "succeeded"))] == 1
    assert samples[("leym_cell_steps_total",)] == 8 * 12 * 30
    assert samples[("leym_job_duration_seconds_count",)] == 1
    assert samples[("leym_job_duration_seconds_bucket", ("le", "+Inf"))] == 1


def test_the_page_needs_nothing_from_elsewhere(api: Api) -> None:
    answer = api.http.get("/")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "//" not in answer.text.replace("<!doctype", "")
    assert "style=" not in answer.text
    linked = [part for part in answer.text.split('"') if part.startswith("static/")]
    assert len(linked) > 3
    for path in linked:
        asset = api.http.get(f"/{path}")
        assert asset.status_code == 200
        assert "immutable" in asset.headers["Cache-Control"]
        _, _, name = path.removeprefix("static/").partition("/")
        for other in (f"/static/{name}", f"/static/v-0123/{name}"):
            checked = api.http.get(other)
            assert checked.headers["Cache-Control"] == "no-cache"
            assert api.http.get(other, headers={"If-None-Match": checked.headers["ETag"]}).status_code == 304
    refused(api.http.get("/static/page.html"), 404)
    refused(api.http.get("/static/../wsgi.py"), 404)


def test_the_app_does_not_import_torch(tmp_path: Path) -> None:
    code = (
        "import sys, app.errors, app.gunicorn, app.wsgi; sys.exit('torch' in sys.modules or 'workers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_answer_tells_browsers_to_load_and_frame_nothing_by_it(tmp_path):
    client = create_app(Settings(data=tmp_path)).test_client()
    for path in ("/", "/docs", "/openapi.json", "/healthz", "/v1/jobs", "/v1/jobs/none", "/nothing", "/metrics"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["Referrer-Policy"] == "no-referrer", path
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy, path
        assert "frame-ancestors 'none'" in policy, path
        assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0], path


def test_a_job_from_anothers_state_inherits_the_gamma_and_precision_that_it_leaves_out(api: Api) -> None:
    parent = done(api, gamma=0.25, precision="fp32")
    initial = {"kind": "state", "job": parent, "step": 20}

    def spec_of(**spec: object) -> tuple[object, object]:
        found = api.http.get(f"/v1/jobs/{api.submit(initial=initial, **spec)}").json["spec"]
        return found["gamma"], found["precision"]

    assert spec_of() == (0.25, "fp32")
    assert spec_of(gamma=0.01) == (0.01, "fp32")  # a default that is stated is a statement
    assert spec_of(precision="bf16") == (0.25, "bf16")
    keyed, fork = {"Idempotency-Key": "fork"}, SPEC | {"initial": initial}
    first, again = (api.http.post("/v1/jobs", json=fork, headers=keyed) for _ in range(2))
    assert (again.status_code, again.json["id"]) == (202, first.json["id"])
    sweep = {"base": SPEC | {"initial": initial}, "axes": {"initial.step": [0, 10]}}
    answer = api.http.post("/v1/sweeps", json=sweep)
    assert answer.status_code == 202, answer.text
    members = api.http.get(f"/v1/sweeps/{answer.json['id']}/jobs").json["items"]
    assert [(m["spec"]["gamma"], m["spec"]["initial"]["step"]) for m in members] == [(0.25, 0), (0.25, 10)]
    assert api.http.get(f"/v1/jobs/{api.submit()}").json["spec"]["gamma"] == 0.01


def test_an_axis_of_the_start_state_is_one_of_the_default_start(api: Api) -> None:
    answer = api.http.post("/v1/sweeps", json={"base": SPEC, "axes": {"initial.strength": [0.1, 0.2]}})
    assert answer.status_code == 202, answer.text
    members = api.http.get(f"/v1/sweeps/{answer.json['id']}/jobs").json["items"]
    assert [m["spec"]["initial"] for m in members] == [
        {"kind": "complex_noise", "strength": 0.1},
        {"kind": "complex_noise", "strength": 0.2},
    ]
    kinds = {"base": SPEC, "axes": {"initial.kind": ["random", "zeros"]}}
    assert api.http.post("/v1/sweeps", json=kinds).status_code == 202
    zeros = {"base": SPEC | {"initial": {"kind": "zeros"}}, "axes": {"initial.strength": [0.1]}}
    refused(api.http.post("/v1/sweeps", json=zeros), 422, "initial.strength", pointer="/axes/initial.strength")


def test_a_job_stored_with_a_webhook_by_an_earlier_version_still_opens(api: Api) -> None:
    job = api.submit()
    stored = api.table.get(job).spec | {"webhook": {"url": "https://example.org/told"}}
    with api.table.db.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(spec=json.dumps(stored)))
    worker = Pretender(api, job)  # reads the spec as a worker does
    worker.run(30)
    worker.finish()
    assert api.http.get(f"/v1/jobs/{job}").json["state"] == "succeeded"
    assert api.http.get(f"/v1/jobs/{job}/frames").status_code == 200
    assert stored_spec(stored).steps == 30
    assert api.table.queue_events() == 0  # nobody was promised a call
    assert api.http.post("/v1/jobs", json=SPEC | {"webhook": None}).status_code == 202  # as old clients send it


def test_what_was_accepted_under_a_key_is_answered_under_it_whatever_has_changed_since(tmp_path: Path) -> None:
    random_law(tmp_path / "laws" / "mine", "MLP")
    spec = SPEC | {"law": "mine"}
    requests = {
        "/v1/jobs": spec,
        "/v1/sweeps": {"base": spec, "axes": {"seed": [1, 2]}},
        "/v1/laws/mine/fidelity": {"precision": "nf4", "grid": [8, 8], "members": 4, "steps": 300},
    }
    key = {"Idempotency-Key": "again"}
    with opened(tmp_path) as api:
        made = {
            path: api.http.post(path, json=body, headers={"Idempotency-Key": path}) for path, body in requests.items()
        }
        ids = {path: answer.json["id"] for path, answer in made.items()}
        assert [answer.status_code for answer in made.values()] == [202] * 3
        api.http.post(f"/v1/jobs/{ids['/v1/jobs']}/cancel")
        api.http.delete(f"/v1/jobs/{ids['/v1/jobs']}")
        api.http.post(f"/v1/sweeps/{ids['/v1/sweeps']}/cancel")
        api.http.post(f"/v1/jobs/{ids['/v1/laws/mine/fidelity']}/cancel")

    def replay(api: Api) -> None:
        for path, body in requests.items():
            answer = api.http.post(path, json=body, headers={"Idempotency-Key": path})
            assert (answer.status_code, answer.json["id"]) == (202, ids[path]), answer.text
            assert answer.headers["Location"] == made[path].headers["Location"]

    with opened(tmp_path, disk_free_min=2**62) as full:  # nothing new is taken in
        replay(full)
        refused(full.http.post("/v1/jobs", json=spec, headers=key), 507)
    shutil.rmtree(tmp_path / "laws" / "mine")
    random_law(tmp_path / "laws" / "mine", "MLP", seed=5)  # another version under the name
    with opened(tmp_path) as api:
        replay(api)
    shutil.rmtree(tmp_path / "laws" / "mine")
    with opened(tmp_path) as api:
        replay(api)
        refused(api.http.post("/v1/jobs", json=spec, headers=key), 422, "mine", pointer="/law")
        other = api.http.post("/v1/jobs", json=spec | {"seed": 9}, headers={"Idempotency-Key": "/v1/jobs"})
        refused(other, 422, "used before")
        assert api.table.totals()["submitted"] == 4


def test_every_ticket_that_the_broker_does_not_take_is_counted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = JobSpec.model_validate(SPEC)
    jobs = [api.table.submit(spec, law="aurora@" + "a1" * 32, precision="fp32", d_state=4)[0] for _ in range(4)]
    taken: list[str] = []
    counted: list[float] = []

    def send(job: Job) -> None:
        if job.id == refused_id:
            raise OperationalError("away")
        taken.append(job.id)

    class Here:
        def inc(self, by: float) -> None:
            """Apps of earlier tests may still be counting, in threads of their own."""
            if threading.current_thread() is threading.main_thread():
                counted.append(by)

    assert "leym_tickets_left_total" in api.http.get("/metrics").text
    monkeypatch.setattr(metrics, "TICKETS_LEFT", Here())
    monkeypatch.setattr(tickets, "send", send)
    for some, away, outage_s, left in (
        (jobs[:1], jobs[0], 2.0, 1),  # the only one
        (jobs, jobs[3], 2.0, 1),  # the last one
        (jobs, jobs[0], 2.0, 4),  # those after it are not tried
        (jobs, jobs[0], 0.0, 1),  # the outage is over before the next one
    ):
        refused_id = away.id
        monkeypatch.setattr(ticket_sender, "OUTAGE_S", outage_s)
        taken.clear(), counted.clear()
        TicketSender(api.table, BrokerOutage())._send_tickets(some)
        assert counted == [left]
        assert len(taken) == len(some) - left
