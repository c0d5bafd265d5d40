"""A job whose frames are served over HTTP while they are written."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from leym.contract.problems import Problem
from leym.frames import zarr_gateway
from leym.frames.stores.open import open_store
from tests.support.frames import IN_CHUNK, PSI_BYTES, Writing


@pytest.fixture(params=["file", "memory"])
def served(request, monkeypatch, tmp_path):
    """A job with shards of four frames and chunks of three, and the gateway behind a real HTTP server."""
    monkeypatch.setattr("leym.frames.layout.SHARD_FRAMES", 4)
    monkeypatch.setattr("leym.frames.layout.CHUNK_BYTES", IN_CHUNK * PSI_BYTES)
    job = Writing(open_store(tmp_path.as_uri() if request.param == "file" else "memory://"))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            try:
                status, body = (
                    200,
                    zarr_gateway.find(job.store, lambda: job.row, self.path.removeprefix("/store.zarr/")).body,
                )
            except Problem as problem:
                status, body = problem.status, b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    job.url = f"http://127.0.0.1:{server.server_port}/store.zarr"
    yield job
    server.shutdown()
    server.server_close()


@pytest.fixture
def small_sweeps(monkeypatch):
    """Objects of a few members, and chunks of sweeps that are parts of several objects."""
    monkeypatch.setattr("leym.frames.layout.BLOCK_SHARD_BYTES", 500)
    monkeypatch.setattr("leym.frames.layout.INNER_BYTES", 100)
    monkeypatch.setattr("leym.frames.sweep_layout.CHUNK_BYTES", 1000)
    monkeypatch.setattr("leym.frames.sweep_layout.CHUNK_VALUES", 3)


@pytest.fixture
def memory():
    return open_store("memory://")
