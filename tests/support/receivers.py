"""A receiver of webhooks: a real HTTP server that answers as it is told, and keeps what it was sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver:
    """A server on loopback. `answers` are used up one by one, the last one stays.

    An answer is a status; (status, Location); "drip", which sends a byte of the head now and then and never ends; or
    "endless", a body without an end.
    """

    def __init__(self, *answers: int | str | tuple[int, str]):
        self.answers = list(answers) or [200]
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.ended = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.received.append(({key.lower(): value for key, value in self.headers.items()}, body))
                answer = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                if isinstance(answer, str):
                    self.linger(answer)
                    return
                status, location = answer if isinstance(answer, tuple) else (answer, "")
                self.send_response(status)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def linger(self, how: str) -> None:
                part = b"X" if how == "drip" else b"x" * 65536
                try:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"A: " if how == "drip" else b"\r\n"))
                    while not receiver.ended.is_set():
                        self.wfile.write(part)
                        self.wfile.flush()
                        if how == "drip":
                            time.sleep(0.05)
                except OSError:
                    pass  # the sender has hung up

            def log_message(self, *_args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook?key=1"


@contextmanager
def receiving(*answers: int | str | tuple[int, str]) -> Iterator[Receiver]:
    receiver = Receiver(*answers)
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.01,))
    thread.start()
    yield receiver
    receiver.ended.set()
    receiver.server.shutdown()
    thread.join()
    receiver.server.server_close()
