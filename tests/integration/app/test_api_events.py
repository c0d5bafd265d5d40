"""The event stream tells every committed step exactly once and in order, wherever a reader comes in."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from app import event_stream, shutdown
from app.timeline import Timeline
from leym.client.sse import Event
from tests.support.api import Api, Pretender, done, number, opened

DUE = sorted({*range(0, 31, 3), *range(0, 31, 5), *range(0, 31, 10), *range(0, 31, 2)})


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(event_stream, "POLL_S", 0.005)
    with opened(tmp_path) as found:
        yield found


def frames(events: list[Event]) -> list[int]:
    """The steps of the frame events, each of which must say what was recorded at its step."""
    steps = []
    for event in events:
        if event.name != "frame":
            continue
        data = json.loads(event.data)
        step = data["step"]
        assert event.id == str(step)
        assert data["fields"] == [f for f, n in (("phase", 3), ("channel_power", 5), ("psi", 10)) if step % n == 0]
        due = ("coherence", "activity") if step % 2 == 0 else ()
        assert data["observables"] == {name: number(name, step) for name in due}
        steps.append(step)
    return steps


def states(events: list[Event]) -> list[dict[str, Any]]:
    return [json.loads(event.data) for event in events if event.name == "state"]


class Follower(threading.Thread):
    """Reads a stream while the job runs."""

    def __init__(self, api: Api, job: str):
        super().__init__(daemon=True)
        self.api, self.job = api, job
        self.events: list[Event] = []
        self.start()

    def run(self) -> None:
        for event in self.api.events(self.job):
            self.events.append(event)

    def until(self, step: int) -> None:
        """Wait for the event of this step; the time is only against hanging."""
        end = time.monotonic() + 240
        while not any(event.id == str(step) for event in list(self.events)):
            assert self.is_alive()
            assert time.monotonic() < end
            time.sleep(0.002)

    def ended(self) -> list[Event]:
        self.join(240)
        assert not self.is_alive()
        return self.events


def test_a_reader_who_is_there_from_the_beginning(api: Api) -> None:
    job = api.submit()
    follower = Follower(api, job)
    worker = Pretender(api, job)
    for until in range(0, 30, 4):
        worker.run(until)
        worker.commit()
    worker.run(30)
    worker.finish()
    events = follower.ended()
    assert frames(events) == DUE
    seen = [state["state"] for state in states(events)]
    assert seen[-1] == "succeeded"
    assert set(seen) <= {"queued", "running", "succeeded"}
    assert len(seen) == len(set(seen))
    assert [event.name for event in events[-2:]] == ["state", "end"]
    assert states(events)[-1] == {"id": job, "state": "succeeded", "step": 30, "steps": 30, "error": None}


@pytest.mark.parametrize("by_query", [False, True])
def test_a_reader_comes_back_at_every_possible_step(api: Api, by_query: bool) -> None:
    job = done(api)
    for last in range(-1, 33 if by_query else 30):
        seen = list(api.events(job, last if last >= 0 else None, by_query))
        assert frames(seen) == [step for step in DUE if step > last]
        assert [event.name for event in seen[-2:]] == ["state", "end"]
        assert seen[-1].id == str(max(last, 30))


@pytest.mark.parametrize(
    ("spec", "end"),
    [
        ({}, 30),
        ({"record": [{"field": "phase", "every": 7}], "observe": None}, 30),  # the last frame is that of step 28
        ({"record": [], "observe": None}, 30),  # no frame has an id
    ],
)
def test_a_reader_who_has_the_end_of_a_job_is_not_asked_to_come_back(api: Api, spec: dict[str, Any], end: int) -> None:
    """An EventSource sends the last id that it got, again and again, until the answer is no stream."""
    job = done(api, **spec)
    last = list(api.events(job))[-1]
    assert (last.name, last.id) == ("end", str(end))
    at = f"/v1/jobs/{job}/events"
    answer = api.http.get(at, headers={"Last-Event-ID": last.id})
    assert (answer.status_code, answer.data, answer.headers["Cache-Control"]) == (204, b"", "no-store")
    assert [event.name for event in api.events(job, end - 1)][-1] == "end", "this reader lacks the end"


def test_a_job_that_never_began_ends_its_stream_for_good(api: Api) -> None:
    job = api.submit()
    api.http.post(f"/v1/jobs/{job}/cancel")
    last = list(api.events(job))[-1]
    assert (last.name, last.id) == ("end", "0")
    assert api.http.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": last.id}).status_code == 204


def test_a_reader_who_is_at_the_last_step_of_a_job_that_runs_is_sent_its_end(api: Api) -> None:
    job = api.submit()
    worker = Pretender(api, job)
    worker.run(30)
    worker.commit()
    with api.http.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": "30"}) as answer:
        assert answer.status_code == 200, "the job has not ended yet"
        worker.finish()
        assert b"event: end" in answer.data


def test_the_header_wins_over_the_query(api: Api) -> None:
    job = done(api)  # a browser that reconnects repeats the query of the first request
    answer = api.http.get(f"/v1/jobs/{job}/events?last_event_id=3", headers={"Last-Event-ID": "27"})
    assert [line for line in answer.text.splitlines() if line.startswith("id:")] == ["id: 28", "id: 30"]
    for wrong in ("x", "-1", "1.5", "٣"):
        assert api.http.get(f"/v1/jobs/{job}/events", query_string={"last_event_id": wrong}).status_code == 422


def test_readers_that_are_cut_off_again_and_again_miss_nothing(api: Api) -> None:
    job = api.submit()
    worker = Pretender(api, job)
    seen: list[Event] = []
    for until in (3, 4, 11, 12, 19, 27):
        worker.run(until)
        worker.commit()
        stream = api.events(job, int(seen[-1].id) if seen else None)
        for event in stream:
            if event.name == "frame":
                seen.append(event)
                if event.id == str(max(step for step in DUE if step <= until)):
                    break
        stream.close()  # type: ignore[attr-defined]
    worker.run(30)
    worker.finish()
    seen += api.events(job, int(seen[-1].id))
    assert frames(seen) == DUE


def test_a_resume_from_a_checkpoint_repeats_and_skips_nothing(api: Api) -> None:
    job = api.submit()
    follower = Follower(api, job)
    first = Pretender(api, job)
    first.run(20)
    first.commit()
    follower.until(20)
    api.table.reap(api.table.leases(), 9)  # the first one has gone silent
    second = Pretender(api, job)
    second.rewind(10)
    for until in (12, 15, 19, 20, 21, 26):
        second.run(until)
        second.commit()
        late = Timeline(api.table.get(job))
        assert list(late.steps(-1)) == [step for step in DUE if step <= max(20, until)]
    follower.until(26)
    second.run(30)
    second.finish()
    events = follower.ended()
    assert frames(events) == DUE
    assert all(a < b for a, b in pairwise(frames(events)))


def test_a_step_is_told_when_all_of_it_can_be_read(api: Api) -> None:
    """One array may be ahead of another in a commit; if the job ends so, every committed frame is announced."""
    job = api.submit(record=[{"field": "phase", "every": 3}, {"field": "coherence", "every": 2}], observe=None)
    worker = Pretender(api, job)
    worker.run(12)
    manifest = worker.writer.flush()
    ahead = json.loads(json.dumps(manifest))
    ahead["arrays"]["coherence"] = {"committed": 0, "runs": [], "partial": None}
    assert list(Timeline(_with(api, job, ahead)).steps(-1)) == []
    api.table.commit(job, worker.job.epoch, step=12, manifest=manifest)
    running = api.table.get(job)
    assert list(Timeline(running).steps(-1)) == [0, 2, 3, 4, 6, 8, 9, 10, 12]
    api.table.finish(job, worker.job.epoch, "failed", step=12, manifest=ahead, error={"title": "lost", "detail": "x"})  # type: ignore[arg-type]
    events = list(api.events(job))
    told = [json.loads(event.data) for event in events if event.name == "frame"]
    assert [t["step"] for t in told] == [0, 3, 6, 9, 12]
    assert all(t["fields"] == ["phase"] for t in told)
    assert states(events)[-1]["error"]["title"] == "lost"


def _with(api: Api, job: str, manifest: dict[str, Any]) -> Any:
    from dataclasses import replace

    return replace(api.table.get(job), manifest=manifest)


def test_cancelled_and_deleted_jobs_end_their_streams(api: Api) -> None:
    job = api.submit()
    follower = Follower(api, job)
    worker = Pretender(api, job)
    worker.run(9)
    worker.commit()
    follower.until(9)
    api.http.post(f"/v1/jobs/{job}/cancel")
    events = follower.ended()
    assert frames(events) == [step for step in DUE if step <= 9]
    assert states(events)[-1]["state"] == "cancelled"
    assert events[-1].name == "end"
    api.http.delete(f"/v1/jobs/{job}")
    assert api.http.get(f"/v1/jobs/{job}/events").status_code == 410


def test_a_job_that_records_nothing_tells_its_states(api: Api) -> None:
    job = done(api, record=[], observe=None)
    assert [event.name for event in api.events(job)] == ["state", "end"]


def test_silence_has_heartbeats_and_a_process_that_ends_lets_go(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.01)
    job = api.submit()
    with api.http.get(f"/v1/jobs/{job}/events") as answer:
        parts = answer.iter_encoded()
        assert next(parts).startswith(b"retry: ")
        assert b"event: state" in next(parts)
        assert next(parts).startswith(b":")
        assert next(parts).startswith(b":")
        monkeypatch.setattr(shutdown, "_is_stopping", lambda: True)
        list(parts)  # ends
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Accel-Buffering"] == "no"
