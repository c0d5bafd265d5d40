"""Bounds the requests that hold a thread of this process for as long as their clients like: event streams, long polls,
long bodies and answers. There is a bound per caller and one for all."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable

from flask import Flask, Response, current_app, g, request

from app.errors import problem
from app.limits import caller_key
from leym.contract.problems import Problem
from leym.settings import Settings

RETRY_AFTER_S = 5
SHORT_BYTES = 2**16  # of a body or an answer, which the buffers of server and connection hold
OTHER_THREADS = 128  # for requests that end by themselves


class Places:
    """Places for requests of one kind. Safe to share between threads."""

    def __init__(self, kind: str, total: int, each: int):
        self.kind, self.total, self.each = kind, total, min(each, total)
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, caller: str) -> Callable[[], None]:
        """Take a place.

        Returns:
            What gives it back; calling it again does nothing.

        Raises:
            Problem: 429 when this caller has all that one may have, 503 when all are taken.
        """
        with self._lock:
            if self._taken[caller] >= self.each:
                detail = f"this caller has {self.each} {self.kind} open; that is the bound of each"
                raise Problem(429, "Too many requests", detail, retry_after_s=RETRY_AFTER_S)
            if self._taken.total() >= self.total:
                detail = f"{self.total} {self.kind} are open; that is the bound of all callers together"
                raise Problem(503, "Busy", detail, retry_after_s=RETRY_AFTER_S)
            self._taken[caller] += 1
        held = [caller]

        def give_back() -> None:
            with self._lock:
                if held:
                    self._taken[caller] -= 1
                    held.clear()
                    if not self._taken[caller]:
                        del self._taken[caller]

        return give_back


def register(app: Flask, settings: Settings) -> None:
    """After `app.identity`, which says who the caller is."""
    app.extensions["leym-streams"] = Places("event streams and long polls", settings.streams, settings.streams_each)
    transfers = Places("long bodies and answers", settings.transfers, settings.transfers_each)

    @app.before_request
    def body() -> None:
        comes_later = "Transfer-Encoding" in request.headers or "Expect" in request.headers
        if comes_later or (request.content_length or 0) > SHORT_BYTES:
            g.give_back_body = transfers.take(caller_key())

    @app.teardown_request
    def body_read(_: BaseException | None) -> None:
        if give_back := g.pop("give_back_body", None):
            give_back()

    @app.after_request
    def answer(response: Response) -> Response:
        if request.method != "GET" or response.mimetype == "text/event-stream":
            return response  # what was done is answered; a stream has a place already
        length = response.content_length if response.is_streamed else response.calculate_content_length()
        if length is not None and length <= SHORT_BYTES:
            return response
        try:
            response.call_on_close(transfers.take(caller_key()))
        except Problem as busy:
            response.close()
            return problem(busy)
        return response


def departure() -> Callable[[], bool]:
    """Make a look whether the client of this request has closed its connection. Not known of a test's client."""
    connection: socket.socket | None = request.environ.get("gunicorn.socket")

    def left() -> bool:
        if connection is None:
            return False
        try:
            return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False  # open, and silent as it should be
        except OSError:
            return True

    return left


def stream_place() -> Callable[[], None]:
    """Take a place for an event stream or a long poll of the caller of this request. Raises like `Places.take`."""
    places: Places = current_app.extensions["leym-streams"]
    return places.take(caller_key())
