"""An HTTP server that answers each request with the next part of a script, to misbehave on purpose."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

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

            do_GET = do_POST = do_PATCH = do_DELETE = answer

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


def says(status: int, body: bytes = b"", kind: str = "text/html", **headers: str) -> Callable[[Any], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        if kind:
            handler.send_header("Content-Type", kind)
        if status != 204:
            handler.send_header("Content-Length", str(len(body)))
        for key, value in headers.items():
            handler.send_header(key.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer
