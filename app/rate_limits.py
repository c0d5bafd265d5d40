"""How often one caller may ask. Counted in Redis, so that all processes of the API count together; while it is away,
each process counts for itself, and says so in its log."""

from __future__ import annotations

import time
from math import ceil

from flask import Flask, Response, g, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from app.identity import OPEN
from leym.settings import Settings


def register(app: Flask, settings: Settings) -> None:
    """After `app.identity`, which says who the caller is. Nothing is limited without LEYM_RATE."""
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
    def come_again(response: Response) -> Response:
        # only here: the limiter's own headers ask Redis once more for every answer
        if response.status_code == 429 and "Retry-After" not in response.headers and limiter.current_limit:
            response.headers["Retry-After"] = str(max(1, ceil(limiter.current_limit.reset_at - time.time())))
        return response


def caller_key() -> str:
    """A token counts by itself, wherever it comes from."""
    caller = g.get("caller")
    return caller.token if caller is not None and caller.token else get_remote_address()
