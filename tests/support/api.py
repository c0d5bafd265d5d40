"""What the tests of the API share: an app with a real job table and frame store, and a worker that only pretends."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from werkzeug.serving import make_server

from app import create_app
from app.services import Services
from leym import tickets
from leym.client.sse import Event, parse_events
from leym.contract.identity import SCOPES
from leym.contract.member_states import MemberState, MemberStates
from leym.contract.ranges import unpack_ranges
from leym.contract.records import JobState
from leym.frames.layout import arrays_of
from leym.frames.writer import FrameWriter
from leym.settings import Settings, settings
from tests.support.frames import append_one

SPEC: dict[str, Any] = {
    "law": "aurora",
    "grid": [8, 12],
    "steps": 30,
    "record": [
        {"field": "phase", "every": 3},
        {"field": "channel_power", "every": 5, "dtype": "float16"},
        {"field": "psi", "every": 10},
    ],
    "observe": {"every": 2, "names": ["coherence", "activity"]},
}
PROBLEM = {"title": "Diverged", "detail": "a cell is NaN at step 21", "status": 422}


class Api:
    """One app in a folder of its own, without a broker. url: where it is reached, if it is."""

    url: str

    def __init__(self, data: Path, **more: Any):
        self.app = create_app(Settings(data=data, **({"redis_url": ""} | more)))
        self.http = self.app.test_client()
        self.services: Services = self.app.extensions["leym"]
        self.table, self.store = self.services.table, self.services.store

    def submit(self, **spec: Any) -> str:
        answer = self.http.post("/v1/jobs", json=SPEC | spec)
        assert answer.status_code == 202, answer.text
        return str(answer.json["id"])

    def events(self, job: str, last: int | None = None, by_query: bool = False) -> Iterator[Event]:
        """The events of a stream as they come, until it ends."""
        headers = {} if last is None or by_query else {"Last-Event-ID": str(last)}
        query = {"last_event_id": last} if by_query else {}
        answer = self.http.get(f"/v1/jobs/{job}/events", headers=headers, query_string=query)
        assert answer.status_code == 200, answer.text
        assert answer.mimetype == "text/event-stream"
        with answer:
            yield from parse_events(answer.iter_encoded())


@contextmanager
def opened(data: Path, **more: Any) -> Iterator[Api]:
    api = Api(data, **more)
    yield api
    api.services.events.close()
    api.table.close()
    tickets.configure(settings())


def value(field: str, step: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """What the pretended worker records: different in every cell and at every step."""
    cells = np.arange(np.prod(shape), dtype=np.float64).reshape(shape) + len(field) + step
    found = np.exp(1j * cells) if dtype == "complex64" else np.sin(cells)
    return found.astype(dtype)


def number(name: str, step: int) -> float:
    return len(name) + step / 7


class Pretender:
    """Claims a job, writes frames through the real writer and commits them; its physics is `value`."""

    def __init__(self, api: Api, job_id: str):
        claim = api.table.claim(job_id, "pretender", lease_s=60, max_attempts=9)
        assert claim is not None
        self.api, self.job, self.at = api, claim.job, -1
        self.arrays = arrays_of(self.job)
        self.writer = FrameWriter(
            api.store, job_id, claim.epoch, self.arrays, self.job.manifest, attributes={"device": "pretended"}
        )

    def rewind(self, step: int) -> None:
        self.writer.rewind([0], step)
        self.at = step

    def run(self, until: int) -> None:
        """Steps up to `until`, not yet committed."""
        for step in range(self.at + 1, until + 1):
            due = [array for array in self.arrays if step % array.every == 0]
            fields = {a.name: value(a.name, step, a.shape, a.dtype) for a in due if not a.is_table}
            numbers = {name: number(name, step) for a in due for name in a.columns}
            if due:
                append_one(self.writer, step, fields, numbers)
        self.at = until

    def commit(self) -> None:
        manifest = self.writer.flush()
        step = max(self.at, 0)
        self.api.table.commit(self.job.id, self.job.epoch, step=step, manifest=manifest, observables_last=self.last())
        self.api.services.events.announce(self.job.id, step, "running")
        self.api.store.delete(self.writer.superseded())

    def finish(self, state: str = "succeeded", error: dict[str, Any] | None = None) -> None:
        manifest = self.writer.flush()
        self.api.table.finish(
            self.job.id,
            self.job.epoch,
            JobState(state),
            step=self.at,
            manifest=manifest,
            error=error,
            observables_last=self.last(),
        )
        self.api.services.events.announce(self.job.id, self.at, state)
        self.api.store.delete(self.writer.superseded())

    def last(self) -> dict[str, float]:
        table = next((array for array in self.arrays if array.is_table), None)
        if table is None:
            return {}
        step = max(self.at, 0) // table.every * table.every
        return {name: number(name, step) for name in table.columns}


def done(api: Api, **spec: Any) -> str:
    """A job that has succeeded."""
    job = api.submit(**spec)
    worker = Pretender(api, job)
    worker.run(worker.job.steps)
    worker.finish()
    return job


def run_blocks(api: Api, sweep: str, *, ends: bool = True) -> None:
    """Run every block that has not ended.

    Members with an even seed succeed, the others fail at step 20. The coherence is the step and an eighth of the index.
    """
    plan = api.table.sweep_plan(sweep)
    for row in api.table.blocks(sweep):
        if row.final:
            continue
        claim = api.table.claim(row.id, "pretender", 60, 9)
        assert claim is not None
        indices = unpack_ranges(row.indices or "")
        states = MemberStates.new(len(indices))
        writer = FrameWriter(
            api.store, row.id, claim.epoch, arrays_of(claim.job), {}, {}, members=len(indices), shown=states.step
        )
        odd = np.array(plan.column("seed", indices)) % 2 == 1
        for step in range(0, 31, 10):
            places = np.flatnonzero(~odd) if step > 20 else np.arange(len(indices))
            writer.append(step, places, {}, {"coherence": indices[places] / 8 + step})
        states.step[:] = np.where(odd, 20, 30)
        states.end(np.flatnonzero(odd), MemberState.FAILED, problem=PROBLEM)
        done = {"step": int(states.step.sum()), "manifest": writer.flush(), "members": states}
        if ends:
            states.end(np.flatnonzero(~odd), MemberState.SUCCEEDED, stopped=1)
            api.table.finish(row.id, claim.epoch, JobState.SUCCEEDED, **done)
        else:
            api.table.commit(row.id, claim.epoch, **done)


def refused(answer: Any, status: int, *named: str, pointer: str | None = None) -> dict[str, Any]:
    """An RFC 9457 problem whose words name what is wrong."""
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    body: dict[str, Any] = json.loads(answer.data)
    assert body["status"] == status
    assert body["title"]
    assert body["instance"]
    for words in named:
        assert words in body["detail"], (words, body["detail"])
    if pointer is not None:
        assert pointer in [error["pointer"] for error in body["errors"]], body["errors"]
    return body


ALL = tuple(SCOPES)


def bearer(table, project="default", scopes=ALL):
    return {"Authorization": f"Bearer {table.create_token('test', scopes, project)[1]}"}


@contextmanager
def reachable(data: Path, **more: Any) -> Iterator[Api]:
    """An API that is `opened`, behind a real HTTP server at its `url`."""
    with opened(data, **more) as api:
        server = make_server("127.0.0.1", 0, api.app, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        api.url = f"http://127.0.0.1:{server.port}"
        yield api
        server.shutdown()
        thread.join()
