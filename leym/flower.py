"""Runs Flower with a guard against pages of other sites: `python -m leym.flower [--fd=N] [options of Flower]`.

With `--fd=N` it listens on a socket that it inherits, so that nobody can take its port meanwhile.

Flower can shut workers down. Without a password it checks nothing, and with one it still answers to any `Host`.
"""

from __future__ import annotations

import re
import socket
import sys
from typing import Any

from celery.bin.celery import celery
from flower import command
from flower.app import Flower
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from leym.common.origins import is_foreign, knows_host
from leym.settings import settings

_STARTS_A_TASK = re.compile(r"/api/task/(apply|async-apply|send-task)/")


class RefusalHandler(RequestHandler):
    """Answers with a status and a sentence. The error pages of Flower would send CORS headers for every site."""

    def initialize(self, status: int, detail: str) -> None:
        """Set the status and the sentence to answer with."""
        self.status, self.detail = status, detail

    def check_xsrf_cookie(self) -> None:
        """Skip the check, because the request is refused anyway."""

    def prepare(self) -> None:
        """Answer before the method of the request is looked up."""
        self.set_status(self.status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(self.detail + "\n")


class GuardedFlower(Flower):
    """Checks every request before it reaches a handler, so that no handler can be left out.

    Attributes:
        inherited: file descriptor of the socket to listen on; None binds one as Flower's options say.
    """

    inherited: int | None = None

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Return the handler of a request, or the one that refuses it."""
        refusal = refusal_of(request)
        if refusal is None:
            return super().find_handler(request, **kwargs)
        status, detail = refusal
        return self.get_handler_delegate(request, RefusalHandler, {"status": status, "detail": detail})

    def start_http_server(self) -> int | None:
        """Listen on the inherited socket, or as Flower does; return the port."""
        if self.inherited is None:
            port: int | None = super().start_http_server()
            return port
        listener = socket.socket(fileno=self.inherited)
        listener.setblocking(False)
        HTTPServer(self).add_socket(listener)
        return int(listener.getsockname()[1])


def refusal_of(request: HTTPServerRequest) -> tuple[int, str] | None:
    """Return the status and the reason of a refusal, or None for a request that Flower may answer.

    Reads are refused as well, because Flower without a password lets pages of every site read its API. A link on
    another site may be followed, but a frame in its page may not show Flower: the site could make users click in it.
    """
    host = request.headers.get("Host", "")
    if host and not knows_host(host, settings().host_names):  # only HTTP/1.0 allows no Host, and browsers do not use it
        return 421, f"Host = {host[:80]!r}; Flower answers to loopback names, addresses and the names in LEYM_HOSTS"
    if _STARTS_A_TASK.search(request.path):
        return (
            403,
            "a task without a row in the job table does nothing here: submit jobs to the API with POST /v1/jobs",
        )
    followed = request.method == "GET" and request.headers.get("Sec-Fetch-Dest") == "document"
    origin = request.headers.get("Origin")
    if not followed and is_foreign(origin, request.headers.get("Sec-Fetch-Site"), host):
        return 403, f"{request.method} from a page of {(origin or 'another site')[:80]}"
    return None


def main() -> None:
    """Run Flower with the options of this process."""
    command.Flower = GuardedFlower  # the command makes the server from this name
    options = sys.argv[1:]
    if options and options[0].startswith("--fd="):
        GuardedFlower.inherited = int(options.pop(0).removeprefix("--fd="))
    celery.main(["--quiet", "--app=leym.tickets:app", "flower", *options], auto_envvar_prefix="CELERY")


if __name__ == "__main__":
    main()
