"""One stream of events for many jobs tells each step of each job once and in order, wherever a reader comes in."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from app import many_events
from leym.client import Client, sse
from leym.client.sse import Event, parse_events
from leym.common.backoff import Backoff
from tests.support.api import Api, Pretender, bearer, done, reachable, refused
from tests.support.relay import cutting

DUE = sorted({*range(0, 31, 3), *range(0, 31, 5), *range(0, 31, 10), *range(0, 31, 2)})


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(many_events, "POLL_S", 0.005)
    monkeypatch.setattr(many_events, "PAUSE_S", 0.001)
    monkeypatch.setattr(sse, "RECONNECT", Backoff(0.001, longest_s=0.001))
    with reachable(tmp_path) as found:
        yield found


def stream(api: Api, last_id: str = "", headers: dict[str, str] | None = None, **query: Any) -> Iterator[Event]:
    sent = (headers or {}) | ({"Last-Event-ID": last_id} if last_id else {})
    answer = api.http.get("/v1/events", query_string=query, headers=sent)
    if answer.status_code == 204:
        return
    assert answer.status_code == 200, answer.text
    with answer:
        yield from parse_events(answer.iter_encoded(), last_id)


def facts(events: list[Event], name: str, key: str = "step") -> dict[str, list[Any]]:
    """The values of a key by job, of the events with a name."""
    found: dict[str, list[Any]] = {}
    for event in events:
        if event.name == name:
            data = json.loads(event.data)
            found.setdefault(data["job"], []).append(data[key])
    return found


def test_named_jobs_are_told_to_their_ends(api: Api) -> None:
    jobs = [done(api), done(api, seed=2), api.submit(seed=3)]
    workers = [Pretender(api, jobs[2])]
    workers[0].run(12)
    workers[0].commit()
    events = stream(api, jobs=",".join(jobs), replay="true")
    seen: list[Event] = []
    for event in events:
        seen.append(event)
        if event.name == "frame" and json.loads(event.data) == {"job": jobs[2], "step": 12, **_rest(event)}:
            workers[0].run(30)
            workers[0].finish("failed", {"title": "Diverged", "detail": "NaN", "status": 422})
    assert facts(seen, "frame") == dict.fromkeys(jobs, DUE)
    assert facts(seen, "end", "state") == {jobs[0]: ["succeeded"], jobs[1]: ["succeeded"], jobs[2]: ["failed"]}
    assert facts(seen, "state", "error")[jobs[2]][-1]["title"] == "Diverged"
    assert list(stream(api, seen[-1].id, jobs=",".join(jobs))) == []


def _rest(event: Event) -> dict[str, Any]:
    return {key: value for key, value in json.loads(event.data).items() if key not in ("job", "step")}


def test_a_reader_comes_back_after_every_event(api: Api) -> None:
    jobs = [done(api), done(api, seed=2)]
    names = ",".join(jobs)
    whole = list(stream(api, jobs=names, replay="true"))
    told = [(event.name, event.data) for event in whole if event.name != "state"]
    for i in range(len(whole)):
        rest = list(stream(api, whole[i].id, jobs=names, replay="true"))
        before = [(event.name, event.data) for event in whole[: i + 1] if event.name != "state"]
        assert before + [(event.name, event.data) for event in rest if event.name != "state"] == told, i


def test_connections_cut_a_hundred_times_tell_exactly_what_was_recorded(api: Api) -> None:
    jobs = [api.submit(seed=seed, steps=300) for seed in range(4)]
    workers = [Pretender(api, job) for job in jobs]
    chance = random.Random(0)

    def work() -> None:
        running = list(workers)
        while running:
            worker = chance.choice(running)
            worker.run(min(worker.at + 25, 300))
            if worker.at == 300:
                worker.finish()
                running.remove(worker)
            else:
                worker.commit()
            time.sleep(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    sse.TRIES, tries = 1000, sse.TRIES
    try:
        with cutting(api.url, cuts=100, most=4000) as relay, Client(relay.url) as client:
            seen = list(sse.events(client._http, "/v1/events", params={"jobs": ",".join(jobs), "replay": "true"}))
            assert relay.cuts >= 95
    finally:
        sse.TRIES = tries
    thread.join()
    due = sorted({*range(0, 301, 3), *range(0, 301, 5), *range(0, 301, 2)})
    assert facts(seen, "frame") == dict.fromkeys(jobs, due)
    assert facts(seen, "end") == {job: [300] for job in jobs}


def test_a_filter_follows_what_matches_and_what_joins(api: Api) -> None:
    first = api.submit()
    done(api, seed=9)
    worker = Pretender(api, first)
    worker.run(10)
    worker.commit()
    events = stream(api, state="running")
    [begin] = islice(events, 1)
    assert (begin.name, json.loads(begin.data)["step"]) == ("state", 10)
    second = api.submit(seed=2)
    other = Pretender(api, second)  # it runs now
    joined = next(event for event in events if json.loads(event.data)["job"] == second)
    assert (joined.name, json.loads(joined.data)["state"]) == ("state", "running")
    worker.run(30)
    worker.finish()
    told = [next(events)]
    while told[-1].name != "end":
        told.append(next(events))
    assert facts(told, "frame") == {first: [step for step in DUE if step > 10]}
    other.run(30)
    other.finish()
    rest = []
    for event in stream(api, told[-1].id, state="running"):  # it ended while the reader was away
        rest.append(event)
        if event.name == "end":
            break
    assert facts(rest, "end", "state") == {second: ["succeeded"]}
    assert facts(rest, "frame") == {second: DUE}


def test_progress_tells_steps_without_frames(api: Api) -> None:
    job = api.submit(record=[], observe=None)
    worker = Pretender(api, job)
    events = stream(api, jobs=job, replay="true")
    assert next(events).name == "state"
    for step in (7, 19):
        worker.run(step)
        worker.commit()
        told = next(event for event in events if event.name == "progress" and json.loads(event.data)["step"] == step)
        assert json.loads(told.data) == {"job": job, "step": step, "steps": 30, "observables": {}}
    worker.run(30)
    worker.finish()
    assert [event.name for event in events][-2:] == ["state", "end"]


def test_members_of_a_sweep_are_told_by_their_ids(api: Api) -> None:
    base = {"law": "aurora", "grid": [8, 12], "steps": 10}
    sweep = api.http.post("/v1/sweeps", json={"base": base, "axes": {"seed": [2, 4]}}).json["id"]
    members = {item["id"] for item in api.http.get(f"/v1/jobs?sweep={sweep}").json["items"]}
    api.submit()
    told = list(islice(stream(api, sweep=sweep), 2))
    assert set(facts(told, "state")) == members


def test_refusals(api: Api) -> None:
    job = api.submit()
    refused(api.http.get(f"/v1/events?jobs={'0' * 26}"), 404, "0" * 26)
    refused(api.http.get("/v1/events?jobs=x"), 422, "jobs")
    refused(api.http.get(f"/v1/events?jobs={','.join([job] * 101)}"), 422, "jobs")
    refused(api.http.get(f"/v1/events?jobs={job}&state=running"), 422, "jobs are named", pointer="/state")
    refused(api.http.get("/v1/events?replay=true"), 422, "by name", pointer="/replay")
    refused(api.http.get("/v1/events?sweep=none"), 404, "none")
    refused(api.http.get("/v1/events", headers={"Last-Event-ID": "7"}), 422, "Last-Event-ID")


def test_a_project_is_told_of_its_own_jobs_only(api: Api) -> None:
    theirs = bearer(api.table, "theirs")
    job = api.http.post(
        "/v1/jobs", json={"law": "aurora", "grid": [8, 8], "steps": 1}, headers=bearer(api.table, "ours")
    ).json["id"]
    refused(api.http.get(f"/v1/events?jobs={job}", headers=theirs), 404, job)
    mine = api.http.post("/v1/jobs", json={"law": "aurora", "grid": [8, 8], "steps": 1}, headers=theirs).json["id"]
    told = next(stream(api, f"{job}:0", headers=theirs))
    assert json.loads(told.data)["job"] == mine
