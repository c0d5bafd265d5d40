"""The transport of the SDK against a real HTTP server that loses answers, cuts streams and refuses requests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leym.client import Client, Job, ProblemError, ServiceUnreachable, Sweep, UnexpectedAnswer
from leym.client.sse import Event, events, parse_events
from tests.support.scripted_server import JOB, Scripted, answers, hang_up, says, streams


def test_a_submit_whose_answer_was_lost_is_repeated_with_the_same_key(scripted: Callable[..., Scripted]) -> None:
    server = scripted(hang_up, answers(503, {"title": "Busy"}), answers(202, JOB))
    with Client(server.url) as client:
        job = client.submit("aurora", steps=10)
    assert job.id == JOB["id"]
    keys = [headers["idempotency-key"] for _, _, headers, _ in server.requests]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len({body for _, _, _, body in server.requests}) == 1


def test_two_submits_have_two_keys(scripted: Callable[..., Scripted]) -> None:
    server = scripted(answers(202, JOB), answers(202, JOB))
    with Client(server.url) as client:
        client.submit("aurora", steps=10)
        client.submit("aurora", steps=10)
    first, second = (headers["idempotency-key"] for _, _, headers, _ in server.requests)
    assert first != second


def test_an_intervention_whose_answer_was_lost_is_repeated_with_the_same_key(scripted: Callable[..., Scripted]) -> None:
    taken = answers(202, {"number": 1, "state": "waiting"})
    server = scripted(answers(200, JOB), hang_up, answers(503, {"title": "Busy"}), taken, taken)
    with Client(server.url) as client:
        job = client.job(JOB["id"])
        assert job.intervene("gamma", value=0.2)["number"] == 1
        job.intervene("gamma", value=0.2, idempotency_key="mine")
    first, second, third, other = [headers["idempotency-key"] for _, _, headers, _ in server.requests[1:]]
    assert first == second == third != other == "mine"


def test_a_delete_whose_answer_was_lost_finds_nothing_left_and_is_content(scripted: Callable[..., Scripted]) -> None:
    server = scripted(answers(200, JOB), hang_up, answers(404, {"title": "Not found"}))
    with Client(server.url) as client:
        client.job(JOB["id"]).delete()
    assert [method for method, *_ in server.requests] == ["GET", "DELETE", "DELETE"]


def test_a_problem_becomes_an_exception_with_its_parts(scripted: Callable[..., Scripted]) -> None:
    broken = [{"pointer": "/steps", "detail": "steps = 0 is under 1"}]
    server = scripted(answers(422, {"title": "Invalid request", "detail": "steps", "errors": broken}))
    with Client(server.url) as client, pytest.raises(ProblemError) as caught:
        client.submit("aurora", steps=0)
    assert (caught.value.status, caught.value.title, caught.value.errors) == (422, "Invalid request", broken)
    assert len(server.requests) == 1


def test_an_html_error_of_a_proxy_is_a_problem_too(scripted: Callable[..., Scripted]) -> None:
    def page(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(413)
        handler.send_header("Content-Length", "13")
        handler.end_headers()
        handler.wfile.write(b"<html>too big")

    with Client(scripted(page).url) as client, pytest.raises(ProblemError) as caught:
        client.submit("aurora")
    assert caught.value.status == 413


def test_no_service_says_where_it_was_looked_for() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with Client(url) as client, pytest.raises(ServiceUnreachable, match="is the service up"):
            client.jobs().__next__()


def test_a_cut_event_stream_resumes_after_the_last_event(scripted: Callable[..., Scripted]) -> None:
    server = scripted(
        streams("id: 0\ndata: a\n\nid: 10\ndata: b\n\nid: 20\nda", cut=True),
        hang_up,
        streams("id: 20\ndata: c\n\n"),
        streams("event: end\nid: 20\ndata: {}\n\n"),
    )
    seen = []
    with Client(server.url) as client:
        for event in events(client._http, "/v1/x/events"):
            seen.append((event.name, event.id, event.data))
            if event.name == "end":
                break
    assert seen == [("message", "0", "a"), ("message", "10", "b"), ("message", "20", "c"), ("end", "20", "{}")]
    assert [headers.get("last-event-id") for _, _, headers, _ in server.requests] == [None, "10", "10", "20"]


STREAM = (
    "\ufeff: a comment\r\n\r\nevent: frame\r\nid: 1\r\ndata: one\r\ndata:two\r\n\r\n"
    "retry: 5\ndata: ä\n\nid: 2\nid: bad\0id\ndata:  x\n\nevent: lost\n\ndata\r\rdata: cut"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_however_the_bytes_arrive(size: int) -> None:
    data = STREAM.encode()
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    assert list(parse_events(chunks)) == [
        Event("frame", "one\ntwo", "1"),
        Event("message", "ä", "1"),
        Event("message", " x", "2"),
        Event("message", "", "2"),
    ]


STRANGERS = {
    "a redirect": (says(301, b"<html>moved", Location="https://login.example/?next=/v1"), ("301", "login.example")),
    "a page": (says(200, b"<!doctype html><title>Sign in</title>"), ("200", "text/html", "Sign in")),
    "nothing": (says(204, kind=""), ("204", "no content type")),
    "a list": (says(200, b"[]", "application/json"), ("200", "[]")),
    "an object": (says(200, b"{}", "application/json"), ("200", "{}")),
    "another API": (says(404, b'{"detail": "Not Found"}', "application/json"), ("404", "Not Found")),
    "control characters": (says(200, b"\x1b[2Jgone", "text/plain"), ("200", "[2Jgone")),
}
SWEEP = {"id": "1" * 26, "size": 1, "counts": {"queued": 1}}
REQUESTS: dict[str, Callable[[Client], Any]] = {
    "submit": lambda client: client.submit("aurora"),
    "sweep": lambda client: client.sweep("aurora", {"seed": [1]}),
    "job": lambda client: client.job(JOB["id"]),
    "jobs": lambda client: list(client.jobs()),
    "get_sweep": lambda client: client.get_sweep(SWEEP["id"]),
    "laws": lambda client: client.laws(),
    "law": lambda client: client.law("aurora"),
    "delete_law": lambda client: client.delete_law("aurora"),
    "fidelity": lambda client: client.fidelity("aurora"),
    "verdict": lambda client: client.verdict("aurora"),
    "judge": lambda client: client.judge("aurora"),
    "workers": lambda client: client.workers(),
    "queue": lambda client: client.queue(),
    "ready": lambda client: client.ready(),
    "upload_state": lambda client: client.upload_state(np.zeros((2, 2, 2))),
    "wait": lambda client: Job(client._http, JOB).wait(),
    "cancel": lambda client: Job(client._http, JOB).cancel(),
    "share": lambda client: Job(client._http, JOB).share(),
    "delete": lambda client: Job(client._http, JOB).delete(),
    "fields": lambda client: Job(client._http, JOB).list_fields(),
    "array": lambda client: Job(client._http, JOB).array("phase"),
    "series": lambda client: Job(client._http, JOB).series(),
    "segments": lambda client: Job(client._http, JOB).list_segments(),
    "table": lambda client: Sweep(client._http, SWEEP).table(),
    "cancel_sweep": lambda client: Sweep(client._http, SWEEP).cancel(),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_what_is_not_the_service_is_one_error_that_says_what_answered(
    stranger: str, scripted: Callable[..., Scripted]
) -> None:
    answer, words = STRANGERS[stranger]
    with Client(scripted(*[answer] * len(REQUESTS)).url) as client:
        for name, ask in REQUESTS.items():
            if name.startswith("delete") and stranger == "nothing":
                continue  # 204 is what the service answers to a deletion
            with pytest.raises(UnexpectedAnswer) as caught:
                ask(client)
            for word in (client.url, *words):
                assert word in str(caught.value), (name, str(caught.value))
            assert str(caught.value).isprintable()


@pytest.mark.parametrize("stranger", ["a redirect", "a page", "nothing"])
def test_a_stranger_gives_no_files_and_no_frames(
    stranger: str, scripted: Callable[..., Scripted], tmp_path: Path
) -> None:
    answer, words = STRANGERS[stranger]
    with Client(scripted(answer).url) as client, pytest.raises(UnexpectedAnswer, match=words[0]):
        Job(client._http, JOB).download("phase", tmp_path / "phase.gif")
    assert list(tmp_path.iterdir()) == []
    if stranger != "nothing":  # 204 ends an event stream
        with Client(scripted(answer).url) as client, pytest.raises(UnexpectedAnswer, match=words[0]):
            list(Job(client._http, JOB).stream())


@pytest.mark.parametrize(
    ("id", "path"),
    [
        ("a/b", "/v1/jobs/a%2Fb"),
        ("a?b#c", "/v1/jobs/a%3Fb%23c"),
        ("../laws", "/v1/jobs/..%2Flaws"),
        ("ψ %", "/v1/jobs/%CF%88%20%25"),
    ],
)
def test_ids_are_one_segment_of_a_path(id: str, path: str, scripted: Callable[..., Scripted]) -> None:
    server = scripted(*[answers(404, {"title": "Not found"})] * 2, answers(404, {"title": "Not found"}))
    with Client(server.url) as client:
        for ask in (client.job, client.get_sweep):
            with pytest.raises(ProblemError):
                ask(id)
        with pytest.raises(ProblemError):
            Job(client._http, JOB).array(id)
    assert [asked.partition("?")[0] for _, asked, _, _ in server.requests] == [
        path,
        path.replace("jobs", "sweeps"),
        path.replace("jobs", f"jobs/{JOB['id']}/frames"),
    ]


@pytest.mark.parametrize("id", ["", ".", ".."])
def test_what_is_no_segment_is_no_id(id: str) -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(ValueError, match="no id"):
        client.job(id)


BAD_URLS = ["nonsense", "127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://[::1", "http://h:99999", "http://h?a=b"]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_is_none_is_refused_in_words(url: str) -> None:
    with pytest.raises(ValueError, match="LEYM_URL"):
        Client(url)


def test_a_bad_url_in_the_environment_is_a_sentence_of_the_command() -> None:
    command, environment = [sys.executable, "-m", "leym.cli", "jobs"], {**os.environ, "LEYM_URL": "127.0.0.1:8000"}
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr, run.stderr
    assert "LEYM_URL" in run.stderr
    assert "http://HOST:PORT" in run.stderr


def test_the_command_says_what_answered_and_ends_with_3(scripted: Callable[..., Scripted]) -> None:
    for stranger in ("a redirect", "a page", "nothing"):
        answer, words = STRANGERS[stranger]
        command = [sys.executable, "-m", "leym.cli", "--url", scripted(answer).url, "jobs"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert run.returncode == 3, run.stderr
        assert "Traceback" not in run.stderr, run.stderr
        assert all(word in run.stderr for word in words)


def test_a_password_in_the_url_is_never_shown() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with Client(f"http://ada:hush@127.0.0.1:{unused.getsockname()[1]}") as client:
            with pytest.raises(ServiceUnreachable) as caught:
                client.laws()
            assert "hush" not in str(caught.value) + repr(client)
    with pytest.raises(ValueError, match="LEYM_URL") as refused:
        Client("http://ada:hush@127.0.0.1?x=1")
    assert "hush" not in str(refused.value)
