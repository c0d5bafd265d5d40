"""The record of a job says why it does not advance, who holds it, and what has happened to it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from leym.contract.records import Worker
from leym.jobs.history import KEPT
from tests.support.api import SPEC, Api, Pretender, opened, run_blocks


@pytest.fixture
def api(tmp_path):
    with opened(tmp_path) as found:
        yield found


def beat(api: Api, name: str = "w:1", **more: Any) -> None:
    api.table.heartbeat(Worker(**{"name": name, "host": "h", "pid": 1, "device": "cpu", "state": "ready"} | more))


def reason(api: Api, job: str) -> Any:
    return api.http.get(f"/v1/jobs/{job}").json["reason"]


def events(api: Api, job: str) -> list[tuple[str, Any, Any, Any]]:
    items = api.http.get(f"/v1/jobs/{job}/history").json["items"]
    assert [item["at"] for item in items] == sorted(item["at"] for item in items)
    return [(item["event"], item["worker"], item["attempt"], item["step"]) for item in items]


def test_a_job_that_waits_says_for_what(api):
    first = api.submit()
    assert reason(api, first)["code"] == "no_worker"
    assert "leym up" in reason(api, first)["text"]
    beat(api, state="starting")
    assert reason(api, first) == {"code": "no_ready_worker", "text": "no worker is ready yet: starting"}
    beat(api)
    later, urgent = api.submit(), api.submit(priority=9)
    texts = [reason(api, job)["text"] for job in (urgent, first, later)]
    assert texts == [f"waiting for a slot, {n} ahead" for n in (0, 1, 2)]
    assert [job["reason"] for job in api.http.get("/v1/jobs").json["items"]] == [None] * 3


def test_a_running_job_says_what_its_worker_does_before_it_steps(api):
    job = api.submit()
    held = api.table.claim(job, "w:1", 60, 9).job
    assert reason(api, job)["code"] == "worker_silent"
    key = {"law": held.law.partition("@")[2], "precision": held.precision, "grid": [8, 12]}
    for info, code in (({"loading": [key]}, "compiling"), ({"waiting_runs": [job]}, "slot")):
        beat(api, info=info)
        found = reason(api, job)
        assert (found["code"], "w:1" in found["text"]) == (code, True)
    beat(api, info={"loading": [key | {"grid": [8, 8]}], "waiting_runs": ["0" * 26]})
    assert reason(api, job) is None
    assert api.http.get(f"/v1/jobs/{job}").json["worker"] == "w:1"


def test_a_job_over_the_running_quota_of_its_project_says_so(tmp_path):
    with opened(tmp_path, quota_running=1) as api:
        beat(api)
        running, waiting = api.submit(), api.submit()
        assert api.table.claim(running, "w:1", 60, 9)
        assert api.table.claim(waiting, "w:1", 60, 9) is None
        assert reason(api, waiting) == {
            "code": "quota",
            "text": "project 'default' runs as many jobs as it may (LEYM_QUOTA_RUNNING = 1)",
        }


def test_a_paused_member_says_how_to_go_on(api):
    base = {"law": "aurora", "grid": [8, 12], "steps": 30, "observe": {"every": 10, "names": ["coherence"]}}
    sweep = api.http.post("/v1/sweeps", json={"base": base, "axes": {"seed": [2, 4]}}).json["id"]
    member = api.http.get(f"/v1/sweeps/{sweep}/members/1").json["id"]
    api.http.post(f"/v1/sweeps/{sweep}/pause", json={})
    assert reason(api, member)["code"] == "paused"
    assert f"/v1/sweeps/{sweep}/resume" in reason(api, member)["text"]
    api.http.post(f"/v1/sweeps/{sweep}/resume", json={})
    run_blocks(api, sweep)
    assert [event for event, *_ in events(api, member)] == ["submitted", "paused", "resumed", "claimed", "succeeded"]


def test_the_history_names_every_claim_and_how_it_ended(api):
    job = api.submit()
    first = api.table.claim(job, "a:1", 60, 9)
    api.table.commit(job, first.epoch, step=10, manifest={}, device_s=0.25)
    assert api.table.hand_back(job, first.epoch)
    api.table.claim(job, "b:2", 60, 9)
    assert api.table.reap(api.table.leases(), 9) == [job]
    third = api.table.claim(job, "c:3", 60, 9)
    problem = {"title": "Diverged", "detail": "a cell is NaN", "status": 422}
    api.table.finish(job, third.epoch, "failed", step=12, manifest={}, error=problem, device_s=0.5)
    assert events(api, job) == [
        ("submitted", None, None, None),
        ("claimed", "a:1", 1, 0),
        ("queued", "a:1", None, 10),
        ("claimed", "b:2", 1, 10),
        ("queued", "b:2", None, 10),
        ("claimed", "c:3", 2, 10),
        ("failed", None, None, 12),
    ]
    items = api.http.get(f"/v1/jobs/{job}/history").json["items"]
    assert [items[n]["why"] for n in (2, 4, 6)] == [
        "the worker ended, and handed it back",
        "its worker fell silent",
        "a cell is NaN",
    ]
    record = api.http.get(f"/v1/jobs/{job}").json
    assert (record["device_seconds"], record["worker"], record["reason"]) == (0.5, "c:3", None)
    assert api.http.get(f"/v1/jobs/{'0' * 26}/history").status_code == 404


def test_the_history_of_a_job_that_is_claimed_without_end_stays_short(api):
    job = api.submit()
    for n in range(3 * KEPT):
        claim = api.table.claim(job, f"w:{n}", 60, 10**6)
        api.table.hand_back(job, claim.epoch)
    kept = events(api, job)
    assert KEPT <= len(kept) <= 3 * KEPT + 2
    assert kept[-2][:2] == ("claimed", f"w:{3 * KEPT - 1}")


def test_a_member_has_its_share_of_the_device_seconds_of_its_block(api):
    sweep = {"base": {k: SPEC[k] for k in ("law", "grid", "steps")}, "axes": {"seed": [1, 2, 3, 4]}}
    made = api.http.post("/v1/sweeps", json=sweep).json["id"]
    blocks = api.table.blocks(made)
    claim = api.table.claim(blocks[0].id, "w", 60, 9)
    api.table.commit(claim.job.id, claim.epoch, step=0, manifest={}, device_s=2.0)
    of_all = [m["device_seconds"] for m in api.http.get(f"/v1/sweeps/{made}/jobs").json["items"]]
    assert sum(of_all) == pytest.approx(2.0)


def test_a_deadline_is_known_in_advance(api):
    now = time.time()
    assert api.table.next_deadline() is None
    job = api.submit(deadline_s=100)
    api.submit(deadline_s=500)
    assert api.table.next_deadline() == pytest.approx(now + 100, abs=5)
    Pretender(api, job).finish()
    assert api.table.next_deadline() == pytest.approx(now + 500, abs=5)
