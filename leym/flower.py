"""Flower that takes no orders from pages of other sites: `python -m leym.flower [options of Flower]`.

Without a password Flower checks nothing, and with one it still answers to any `Host`. It can shut workers down.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from celery.bin.celery import celery
from flower import command
from flower.app import Flower
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from leym.common.origins import is_foreign, knows_host
from leym.settings import settings

_STARTS_A_TASK = re.compile(r"/api/task/(apply|async-apply|send-task)/")


class Refused(RequestHandler):
    """Answers with a status and a sentence. Flower's own error pages would send CORS headers for every page."""

    def initialize(self, status: int, detail: str) -> None:
        self.status, self.detail = status, detail

    def check_xsrf_cookie(self) -> None:
        pass  # it is refused already

    def prepare(self) -> None:
        self.set_status(self.status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(self.detail + "\n")


class GuardedFlower(Flower):
    """Looks at every request before any handler does, so that none can be forgotten."""

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        refusal = refusal_of(request)
        if refusal is None:
            return super().find_handler(request, **kwargs)
        status, detail = refusal
        return self.get_handler_delegate(request, Refused, {"status": status, "detail": detail})


def refusal_of(request: HTTPServerRequest) -> tuple[int, str] | None:
    """Status and reason, or None for a request that Flower may answer.

    Reading is refused as well: without a password Flower lets every page read its API. A link on another site may
    still be followed; a frame in its page may not, or users could be made to click in it.
    """
    host = request.headers.get("Host", "")
    if host and not knows_host(host, settings().host_names):  # HTTP/1.0, which no browser speaks, needs none
        return 421, f"Host = {host[:80]!r}; Flower answers to loopback names, addresses and the names in LEYM_HOSTS"
    if _STARTS_A_TASK.search(request.path):
        return (
            403,
            "a task without a row in the job table does nothing here: submit jobs to the API, POST /v1/jobs",
        )
    followed = request.method == "GET" and request.headers.get("Sec-Fetch-Dest") == "document"
    origin = request.headers.get("Origin")
    if not followed and is_foreign(origin, request.headers.get("Sec-Fetch-Site"), host):
        return 403, f"{request.method} from a page of {(origin or 'another site')[:80]}"
    return None


def main() -> None:
    command.Flower = GuardedFlower  # the command makes the server from this name
    celery.main(["--quiet", "--app=leym.tickets:app", "flower", *sys.argv[1:]], auto_envvar_prefix="CELERY")


if __name__ == "__main__":
    main()
