"""Viewers of streams: an independent reading of the documented messages."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from app import frame_stream
from leym.client import frame_socket
from leym.common.backoff import Backoff
from tests.support.api import Api, reachable

STEPS = list(range(0, 31, 3))  # of the phase in `tests.support.api.SPEC`


@contextmanager
def quick_api(folder: Path, **settings: Any) -> Iterator[Api]:
    """An API behind a real HTTP server that looks at its rows without delay, and an SDK that reconnects at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame_stream, "POLL_S", 0.005)
        patch.setattr("app.recent_jobs.FRESH_S", 0.002)
        patch.setattr(frame_socket, "RECONNECT", Backoff(0.001, longest_s=0.001))
        with reachable(folder, **settings) as found:
            yield found


def opened_stream(api: Api, job: str, field: str = "phase", **options: Any) -> Any:
    """A context with the stream."""
    query = "&".join(f"{k}={v}" for k, v in {"field": field, **options}.items())
    url = f"ws{api.url.removeprefix('http')}/v1/jobs/{job}/stream?{query}"
    return connect(url, max_size=None, proxy=None, close_timeout=1)


def parsed(message: bytes) -> tuple[dict[str, Any], np.ndarray]:
    """An independent reading of the documented format."""
    (length,) = struct.unpack("<I", message[:4])
    assert (4 + length) % 8 == 0
    header = json.loads(message[4 : 4 + length])
    dtype = {"u8": np.uint8, "f16": np.dtype("<f2"), "f32": np.dtype("<f4")}[header["dtype"]]
    return header, np.frombuffer(message[4 + length :], dtype).reshape(header["shape"])


def read_all(stream: ClientConnection) -> tuple[list[tuple[dict[str, Any], np.ndarray]], dict[str, Any]]:
    """The frames, and the control message at the end."""
    found = []
    while isinstance(message := stream.recv(60), bytes):
        found.append(parsed(message))
    with pytest.raises(ConnectionClosed):
        stream.recv(60)
    return found, json.loads(message)
