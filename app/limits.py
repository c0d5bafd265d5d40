"""How often one caller may ask. Counted in Redis, so that all processes of the API count together; while it is away,
each process counts for itself, and says so in its log."""

from __future__ import annotations

from flask import Flask, g, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from app.identity import OPEN
from leym.settings import Settings


def register(app: Flask, settings: Settings) -> None:
    """After `app.identity`, which says who the caller is. Nothing is limited without LEYM_RATE."""
    if not settings.rate:
        return
    limiter = Limiter(
        _caller,
        app=app,
        application_limits=[settings.rate],
        storage_uri=settings.redis_url or "memory://",
        strategy="moving-window",
        headers_enabled=True,
        in_memory_fallback_enabled=True,
        key_prefix="leym-rate",
    )
    limiter.request_filter(lambda: request.endpoint is None or request.endpoint.startswith(OPEN))


def _caller() -> str:
    """A token counts by itself, wherever it comes from."""
    caller = g.get("caller")
    return caller.token if caller is not None and caller.token else get_remote_address()
