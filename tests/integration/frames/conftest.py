"""A job whose frames are served over HTTP while they are written."""

from __future__ import annotations

import pytest

from leym.frames import zarr_gateway
from leym.frames.stores.open import open_store
from tests.support.frames import IN_CHUNK, PSI_BYTES, Writing
from tests.support.zarr_server import serving


@pytest.fixture(params=["file", "memory"])
def served(request, monkeypatch, tmp_path):
    """A job with shards of four frames and chunks of three, and the gateway behind a real HTTP server."""
    monkeypatch.setattr("leym.frames.layout.SHARD_FRAMES", 4)
    monkeypatch.setattr("leym.frames.layout.CHUNK_BYTES", IN_CHUNK * PSI_BYTES)
    job = Writing(open_store(tmp_path.as_uri() if request.param == "file" else "memory://"))

    with serving(lambda path: zarr_gateway.find(job.store, lambda: job.row, path).body) as job.url:
        yield job


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
