"""A Zarr hierarchy behind a real HTTP server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from leym.contract.problems import Problem


@contextmanager
def serving(find: Callable[[str], bytes]) -> Iterator[str]:
    """Serve what `find` returns for a path of the hierarchy, or the status of its Problem, and yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            try:
                status, body = 200, find(self.path.removeprefix("/store.zarr/"))
            except Problem as problem:
                status, body = problem.status, b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/store.zarr"
    server.shutdown()
    server.server_close()
