"""The SDK's transport against a real HTTP server that misbehaves on purpose: lost answers, cut streams, refusals."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from leym.client import Client, ProblemError, ServiceUnreachable
from leym.client.sse import Event, events, parse_events

JOB = {"id": "0" * 26, "state": "queued", "step": 0, "steps": 10, "spec": {"grid": [8, 8]}, "law": "aurora@" + "0" * 64}


class Scripted:
    """Answers each request with the next part of a script; a part may write half an answer and hang up."""

    def __init__(self, *script: Callable[[BaseHTTPRequestHandler], None]):
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        outer, parts = self, iter(script)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {key.lower(): value for key, value in self.headers.items()}
                outer.requests.append((self.command, self.path, headers, body))
                next(parts)(self)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    servers: list[Scripted] = []

    def start(*script: Callable[[BaseHTTPRequestHandler], None]) -> Scripted:
        servers.append(Scripted(*script))
        return servers[-1]

    yield start
    for server in servers:
        server.server.shutdown()
        server.server.server_close()


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def answers(status: int, body: Any, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        data = json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        for key, value in headers.items():
            handler.send_header(key.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def streams(text: str, cut: bool = False) -> Callable[[BaseHTTPRequestHandler], None]:
    """An event stream of `text`; `cut` drops the connection inside a chunk."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        data = text.encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) + (b"ff\r\nhalf" if cut else b"0\r\n\r\n"))
        handler.wfile.flush()
        if cut:
            hang_up(handler)

    return answer


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
