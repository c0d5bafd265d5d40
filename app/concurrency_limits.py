"""Limits how many requests may hold a thread of this process for as long as their clients like.

These requests are event streams, long polls, and long bodies and responses. Each kind has one limit per caller and one
limit for all callers together.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from flask import Flask, Response, current_app, g, request

from app.errors import problem_response
from app.rate_limits import caller_key
from leym.contract.problems import Problem
from leym.settings import Settings

RETRY_AFTER_S = 5
SHORT_BYTES = 2**16  # a body or response up to this size fits into the buffers of the server and the connection
SHORT_REQUEST_THREADS = 128  # threads for requests that do not depend on the client's speed


class ConcurrencyLimit:
    """Bounds the open requests of one kind, per caller and in total. Thread-safe."""

    def __init__(self, kind: str, total: int, per_caller: int):
        self.kind, self.total, self.per_caller = kind, total, min(per_caller, total)
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    def acquire(self, caller: str) -> Callable[[], None]:
        """Count one more open request of `caller`.

        Returns:
            A function that ends the request's count; calling it again does nothing.

        Raises:
            Problem: 429 if this caller has reached its limit, 503 if all callers together have reached theirs.
        """
        with self._lock:
            if self._open[caller] >= self.per_caller:
                detail = f"this caller has {self.per_caller} {self.kind} open, which is the limit per caller"
                raise Problem(429, "Too many requests", detail, retry_after_s=RETRY_AFTER_S)
            if self._open.total() >= self.total:
                detail = f"{self.total} {self.kind} are open, which is the limit for all callers together"
                raise Problem(503, "Busy", detail, retry_after_s=RETRY_AFTER_S)
            self._open[caller] += 1
        held = [caller]

        def release() -> None:
            with self._lock:
                if held:
                    self._open[caller] -= 1
                    held.clear()
                    if not self._open[caller]:
                        del self._open[caller]

        return release


def register(app: Flask, settings: Settings) -> None:
    """Limit the streams and transfers of `app`. Call this after `app.identity.register`, which finds the caller."""
    app.extensions["leym-streams"] = ConcurrencyLimit(
        "event streams and long polls", settings.streams, settings.streams_each
    )
    transfers = ConcurrencyLimit("long bodies and responses", settings.transfers, settings.transfers_each)

    @app.before_request
    def limit_bodies() -> None:
        length_unknown = "Transfer-Encoding" in request.headers or "Expect" in request.headers
        if length_unknown or (request.content_length or 0) > SHORT_BYTES:
            g.release_body = transfers.acquire(caller_key())

    @app.teardown_request
    def end_body(_: BaseException | None) -> None:
        if release := g.pop("release_body", None):
            release()

    @app.after_request
    def limit_responses(response: Response) -> Response:
        # other methods have already taken effect, so their responses must go out; streams have a limit of their own
        if request.method != "GET" or response.mimetype == "text/event-stream":
            return response
        length = response.content_length if response.is_streamed else response.calculate_content_length()
        if length is not None and length <= SHORT_BYTES:
            return response
        try:
            response.call_on_close(transfers.acquire(caller_key()))
        except Problem as busy:
            response.close()
            return problem_response(busy)
        return response


def acquire_stream() -> Callable[[], None]:
    """Count one more event stream or long poll of the current caller. Returns and raises like `acquire`."""
    limit: ConcurrencyLimit = current_app.extensions["leym-streams"]
    return limit.acquire(caller_key())
