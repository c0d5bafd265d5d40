"""Limits how many requests a caller may send in a time window (LEYM_RATE).

Redis holds the counts, so all processes of the API share them. While Redis is unavailable, each process counts its own
requests and logs that it does.
"""

from __future__ import annotations

import time
from math import ceil

from flask import Flask, Response, g, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from app.identity import OPEN
from leym.settings import Settings


def register(app: Flask, settings: Settings) -> None:
    """Limit the requests to `app` if LEYM_RATE is set. Call this after `app.identity.register`."""
    if not settings.rate:
        return
    limiter = Limiter(
        caller_key,
        app=app,
        application_limits=[settings.rate],
        storage_uri=settings.redis_url or "memory://",
        strategy="moving-window",
        in_memory_fallback_enabled=True,
        key_prefix="leym-rate",
    )
    limiter.request_filter(lambda: request.endpoint is None or request.endpoint.startswith(OPEN))

    @app.after_request
    def add_retry_after(response: Response) -> Response:
        # the limiter's own headers would cost another round trip to Redis for every response
        if response.status_code == 429 and "Retry-After" not in response.headers and limiter.current_limit:
            response.headers["Retry-After"] = str(max(1, ceil(limiter.current_limit.reset_at - time.time())))
        return response


def caller_key() -> str:
    """Return the key that the current caller's requests are counted under: its token, or else its address."""
    caller = g.get("caller")
    return caller.token if caller is not None and caller.token else get_remote_address()
