"""What an operator asks over HTTP: workers that fell silent, bytes per project, and the newest events."""

from __future__ import annotations

import time

from sqlalchemy import update

from leym.contract.records import Worker
from leym.jobs.schema import jobs
from tests.support.api import Api, Pretender, bearer, done, refused, run_blocks


def test_a_worker_that_fell_silent_is_listed_as_lost(api: Api) -> None:
    now = time.time()
    api.table.heartbeat(Worker("alive", "here", 1, "cpu", "ready"), now)
    api.table.heartbeat(Worker("silent", "there", 2, "cpu", "ready", slots=4, busy=3), now - 3600)
    assert [worker["name"] for worker in api.http.get("/v1/workers").json["items"]] == ["alive"]
    found = api.http.get("/v1/workers?lost=true").json["items"]
    assert [(worker["name"], worker["state"]) for worker in found] == [("alive", "ready"), ("silent", "lost")]
    api.table.remove_worker("silent")
    assert len(api.http.get("/v1/workers?lost=true").json["items"]) == 1, "it took leave"


def test_projects_see_their_own_bytes_and_an_admin_those_of_all(api: Api) -> None:
    job = done(api)
    with api.table.db.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(stored_bytes=1234))
    api.submit(seed=1)
    [mine] = api.http.get("/v1/usage").json["items"]
    assert (mine["project"], mine["live"]) == ("default", 1)
    assert mine["stored_bytes"] == 1234
    other = bearer(api.table, "other", ["read"])
    assert api.http.get("/v1/usage", headers=other).json["items"] == []
    boss = bearer(api.table, "other", ["read", "admin"])
    assert api.http.get("/v1/usage", headers=boss).json["items"] == [mine]
    refused(api.http.get("/v1/usage"), 401)


def test_the_log_tells_the_newest_events_first(api: Api) -> None:
    first = done(api)
    second = api.submit(seed=1)
    Pretender(api, second)
    sweep = api.http.post(
        "/v1/sweeps",
        json={"base": {"law": "aurora", "grid": [8, 8], "steps": 30, "observe": {"every": 10, "names": ["coherence"]}},
              "axes": {"seed": {"start": 0, "count": 2}}},
    ).json["id"]  # fmt: skip
    run_blocks(api, sweep)
    events = api.http.get("/v1/log").json["items"]
    assert [event["at"] for event in events] == sorted((event["at"] for event in events), reverse=True)
    told = [(event["job"], event["event"]) for event in events]
    assert told.index((first, "succeeded")) > told.index((second, "submitted"))
    assert next(event for event in events if event["job"] == second)["worker"] == "pretender"
    assert {event["sweep"] for event in events} == {None, sweep}
    assert len(api.http.get("/v1/log?limit=2").json["items"]) == 2
    other = bearer(api.table, "other", ["read"])
    assert api.http.get("/v1/log", headers=other).json["items"] == []
