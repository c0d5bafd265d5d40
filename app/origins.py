"""Pages of other sites: what they may ask of the API, and what they may read. `leym.common.origins` has the rules."""

from __future__ import annotations

from flask import Flask, Response, request

from leym.common.origins import ANY, is_foreign, knows_host
from leym.contract.problems import Problem
from leym.settings import Settings

SAFE = ("GET", "HEAD", "OPTIONS")
READ = "GET, HEAD, OPTIONS"
ALL = f"{READ}, POST, PUT, DELETE"
SENT = (
    "Authorization, Cache-Control, Content-Type, Idempotency-Key, If-Match, If-None-Match, If-Range, Last-Event-ID,"
    " Range"
)
SEEN = (
    "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Location, Retry-After, X-Frames, X-Steps"
)
PREFLIGHT_S = "7200"  # the longest that Chromium keeps the answer to a preflight
SHARED = "/v1/shared/"  # a link is given out to be read elsewhere, and proves itself


def register(app: Flask, settings: Settings) -> None:
    names, listed = settings.host_names, settings.origins
    trusted = frozenset(listed) - {ANY}

    @app.before_request
    def refuse() -> None:
        host = request.headers.get("Host", "")
        if host and not knows_host(host, names):  # HTTP/1.0, which no browser speaks, needs none
            detail = (
                f"Host = {host[:80]!r}; this service answers to loopback names, to addresses and to the names in"
                " LEYM_HOSTS"
            )
            raise Problem(421, "Misdirected request", detail)
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
        if request.method not in SAFE and is_foreign(origin, site, host, trusted):
            sender = (origin or "another site")[:80]
            detail = f"{request.method} from a page of {sender}; LEYM_CORS_ORIGINS lists the pages that may do that"
            raise Problem(403, "Forbidden", detail)

    @app.after_request
    def share(response: Response) -> Response:
        """CORS headers, on problems too: a viewer must be able to see that a chunk is not there."""
        shared = request.path.startswith(SHARED)
        if shared:
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        elif not listed or not request.path.startswith(("/v1/", "/openapi.json")):
            return response
        origin = request.headers.get("Origin")
        if origin in trusted:
            response.headers["Access-Control-Allow-Origin"], methods = origin, READ if shared else ALL
        elif shared or ANY in listed:
            response.headers["Access-Control-Allow-Origin"], methods = ANY, READ
        else:
            methods = ""
        if trusted:  # a cache must not give one page the answer for another
            response.vary.add("Origin")
        if methods and request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = methods
            response.headers["Access-Control-Allow-Headers"] = SENT
            response.headers["Access-Control-Max-Age"] = PREFLIGHT_S
        elif methods:
            response.headers["Access-Control-Expose-Headers"] = SEEN
        return response
