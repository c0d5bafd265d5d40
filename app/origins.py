"""Refuses requests from pages of other sites, and answers CORS. The rules are in `leym.common.origins`."""

from __future__ import annotations

from flask import Flask, Response, request

from leym.common.origins import ANY, is_foreign, knows_host
from leym.contract.problems import Problem
from leym.settings import Settings

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
READ_METHODS = "GET, HEAD, OPTIONS"
ALL_METHODS = f"{READ_METHODS}, POST, PUT, PATCH, DELETE"
REQUEST_HEADERS = (
    "Authorization, Cache-Control, Content-Type, Idempotency-Key, If-Match, If-None-Match, If-Range, Last-Event-ID,"
    " Range"
)
RESPONSE_HEADERS = (
    "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Location, Retry-After, X-Frames, X-Steps"
)
PREFLIGHT_S = "7200"  # Chromium keeps the answer to a preflight no longer than this
SHARED = "/v1/shared/"  # shared links are made to be read on other pages, and authorize themselves


def register(app: Flask, settings: Settings) -> None:
    """Protect `app` from pages of other origins, except for those that LEYM_CORS_ORIGINS lists."""
    names, listed = settings.host_names, settings.origins
    trusted = frozenset(listed) - {ANY}

    @app.before_request
    def refuse_foreign_requests() -> None:
        host = request.headers.get("Host", "")
        if host and not knows_host(host, names):  # HTTP/1.0 needs no Host, but no browser speaks it
            detail = (
                f"Host = {host[:80]!r}; this service answers to loopback names, IP addresses and the names in"
                " LEYM_HOSTS"
            )
            raise Problem(421, "Misdirected request", detail)
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
        opens_websocket = request.headers.get("Upgrade", "").lower() == "websocket"  # which CORS does not protect
        if request.method in SAFE_METHODS and not opens_websocket:
            return
        if opens_websocket and (request.path.startswith(SHARED) or ANY in listed):
            return
        if is_foreign(origin, site, host, trusted):
            sender = (origin or "another site")[:80]
            action = "a WebSocket" if opens_websocket else request.method
            detail = f"{action} from a page of {sender}; LEYM_CORS_ORIGINS lists the pages that may do that"
            raise Problem(403, "Forbidden", detail)

    @app.after_request
    def add_cors_headers(response: Response) -> Response:
        """Add CORS headers, on problems too: a viewer must be able to see that a chunk does not exist."""
        shared = request.path.startswith(SHARED)
        if shared:
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        elif not listed or not request.path.startswith(("/v1/", "/openapi.json")):
            return response
        origin = request.headers.get("Origin")
        if origin in trusted:
            response.headers["Access-Control-Allow-Origin"] = origin
            methods = READ_METHODS if shared else ALL_METHODS
        elif shared or ANY in listed:
            response.headers["Access-Control-Allow-Origin"], methods = ANY, READ_METHODS
        else:
            methods = ""
        if trusted:  # a cache must not give one page the response to another
            response.vary.add("Origin")
        if methods and request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = methods
            response.headers["Access-Control-Allow-Headers"] = REQUEST_HEADERS
            response.headers["Access-Control-Max-Age"] = PREFLIGHT_S
        elif methods:
            response.headers["Access-Control-Expose-Headers"] = RESPONSE_HEADERS
        return response
