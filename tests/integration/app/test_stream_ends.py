"""Streams of frames that are refused, that fail, and whose client or service goes away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from app import shutdown, websocket
from leym.client import Client, ProblemError
from leym.frames.stores.base import Missing
from tests.support.api import SPEC, Api, Pretender, bearer, done, refused
from tests.support.streams import STEPS, opened_stream, parsed, quick_api, read_all


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with quick_api(tmp_path) as found:
        yield found


def test_refusals_come_before_the_upgrade(api: Api) -> None:
    job = done(api)
    for path, status, words in (
        (f"/v1/jobs/{job}/stream?field=phase", 426, "ws://"),
        (f"/v1/jobs/{job}/stream?field=density", 404, "this job records"),
        (f"/v1/jobs/{job}/stream?field=psi&dtype=u8", 422, "psi"),
        (f"/v1/jobs/{job}/stream?field=phase&fps=1000", 422, "fps"),
        ("/v1/jobs/none/stream?field=phase", 404, "none"),
    ):
        refused(api.http.get(path), status, words)
    behind_a_proxy = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Connection": "close"}
    answer = api.http.get(f"/v1/jobs/{job}/stream?field=phase", headers=behind_a_proxy)
    refused(answer, 426, "proxy_set_header Upgrade")
    assert answer.headers["Upgrade"] == "websocket"
    with Client(api.url) as client, pytest.raises(ProblemError, match="this job records"):
        next(client.job(job).live("density"))


def test_pages_of_other_sites_open_no_stream(api: Api) -> None:
    job = done(api)
    url = f"ws{api.url.removeprefix('http')}/v1/jobs/{job}/stream?field=phase"
    with pytest.raises(InvalidStatus) as refusal, connect(url, origin="https://evil.example", proxy=None):
        pass
    assert refusal.value.response.status_code == 403
    with connect(url, origin=api.url, proxy=None) as stream:
        assert len(read_all(stream)[0]) == len(STEPS)


def test_a_stream_needs_the_token_of_its_project(api: Api) -> None:
    headers = bearer(api.table)
    other = bearer(api.table, "other")
    answer = api.http.post("/v1/jobs", json=SPEC, headers=headers)
    job = answer.json["id"]
    api.table.cancel(job)
    url = f"ws{api.url.removeprefix('http')}/v1/jobs/{job}/stream?field=phase"
    cookie = {"Cookie": f"leym_token={headers['Authorization'].removeprefix('Bearer ')}"}
    for sent, status in (({}, 401), (other, 404), ({"Authorization": "Bearer no"}, 401)):
        with pytest.raises(InvalidStatus) as refusal, connect(url, additional_headers=sent, proxy=None):
            pass
        assert refusal.value.response.status_code == status
    for sent in (headers, cookie):
        with connect(url, additional_headers=sent, proxy=None) as stream:
            assert read_all(stream)[1]["state"] == "cancelled"


def test_streams_of_a_caller_are_limited(tmp_path: Path) -> None:
    with quick_api(tmp_path, streams=4, streams_each=2) as api, ExitStack() as stack:
        job = api.submit()
        for _ in range(2):
            stack.enter_context(opened_stream(api, job))
        with pytest.raises(InvalidStatus) as refusal, opened_stream(api, job):
            pass
        assert refusal.value.response.status_code == 429
        assert refusal.value.response.headers["Retry-After"]
        stack.close()
        end = time.monotonic() + 60
        while time.monotonic() < end:  # the places of closed streams are free again
            try:
                with opened_stream(api, job):
                    return
            except InvalidStatus:
                time.sleep(0.01)
        raise AssertionError("the streams of a caller that has left still count")


def test_an_error_in_the_middle_is_a_typed_message(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job = api.submit()
    worker = Pretender(api, job)
    worker.run(9)
    worker.commit()
    with opened_stream(api, job) as stream:
        assert [parsed(stream.recv(60))[0]["step"] for _ in range(4)] == [0, 3, 6, 9]

        def missing(*_: Any) -> bytes:
            raise Missing("shard")

        for name in ("get", "get_range"):
            monkeypatch.setattr(api.store, name, missing)
        worker.run(15)
        worker.commit()
        _, last = read_all(stream)
    assert (last["type"], last["status"], last["title"]) == ("error", 503, "Frames unreadable")
    assert stream.close_code == 1011


def test_deleted_results_end_a_stream_with_an_error(api: Api) -> None:
    job = done(api)
    with opened_stream(api, job, fps=0.1) as stream:  # the last frame follows after ten seconds
        assert parsed(stream.recv(60))[0]["step"] == 0
        assert api.http.delete(f"/v1/jobs/{job}").status_code == 204
        _, last = read_all(stream)
    assert (last["type"], last["status"]) == ("error", 410)
    assert stream.close_code == 1008


def test_a_stopping_service_asks_its_viewers_to_come_back(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job = api.submit()
    with opened_stream(api, job) as stream:
        monkeypatch.setattr(shutdown, "_is_stopping", lambda: True)
        with pytest.raises(ConnectionClosed):
            stream.recv(60)
    assert stream.close_code == 1001


def test_a_client_that_is_gone_frees_its_thread(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers no ping: its network is gone, and no packet says so."""
    monkeypatch.setattr(websocket, "PING_S", 0.02)
    monkeypatch.setattr(websocket, "SILENCE_S", 0.1)
    job = api.submit()
    with opened_stream(api, job) as stream:
        stream.protocol.recv_frame = lambda frame: None
        limit = api.app.extensions["leym-streams"]
        end = time.monotonic() + 60
        while limit._open and time.monotonic() < end:
            time.sleep(0.01)
        assert not limit._open
