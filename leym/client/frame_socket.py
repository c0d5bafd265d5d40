"""Frames of one field of a job over a WebSocket, which resumes after lost connections."""

from __future__ import annotations

import json
import logging
import struct
import time
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlencode

import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

from leym.client.errors import ProblemError, ServiceUnreachable, UnexpectedAnswer
from leym.client.http import BUSY, Http, is_loopback
from leym.common.backoff import Backoff
from leym.contract.catalog import FIELDS

log = logging.getLogger(__name__)

Dtype = Literal["u8", "f16", "f32"]

DTYPES = {"u8": "u1", "f16": "<f2", "f32": "<f4"}
OPEN_S = 10.0
PING_S, PONG_S = 30.0, 60.0  # a connection without an answer for so long is dead
QUEUED = 2  # messages that wait in this process: with `fps`, more of them would be old frames
RECONNECT = Backoff(0.2, longest_s=10.0)
TRIES = 8  # consecutive connections without a frame; with the delays between them about half a minute


def frames(
    http: Http,
    path: str,
    field: str,
    *,
    start: int = 0,
    fps: float | None = None,
    downsample: int = 1,
    dtype: Dtype = "f32",
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (step, frame) of the job at `path`, each step once and in order, until the job has ended.

    The arguments are those of `leym.client.Job.live`, which also lists the exceptions.
    """
    fruitless, reason = 0, "the connection was closed"
    while fruitless < TRIES:
        query = {"field": field, "start": start, "downsample": downsample, "dtype": dtype}
        query |= {} if fps is None else {"fps": fps}
        try:
            for message in _messages(http, f"{path}/stream?{urlencode(query)}"):
                if isinstance(message, dict):
                    if message["type"] == "end":
                        return
                    raise ProblemError.of(int(message["status"]), message)
                step, frame = decode(message)
                start, fruitless = step + 1, 0
                yield step, frame
        except (ConnectionClosed, InvalidHandshake, OSError) as error:  # TimeoutError is an OSError
            reason = f"{type(error).__name__}: {error}"
        except ProblemError as error:
            if error.status not in BUSY:
                raise
            reason = str(error)
        log.info("frame stream of %s lost (%s); resuming at step %d", path, reason, start)
        time.sleep(RECONNECT.delay_s(fruitless))
        fruitless += 1
    raise ServiceUnreachable(http.shown, reason)


def decode(message: bytes) -> tuple[int, np.ndarray]:
    """Decode a binary message into its step and its frame, which is complex64 if the field is complex."""
    (length,) = struct.unpack_from("<I", message)
    header: dict[str, Any] = json.loads(message[4 : 4 + length])
    values = np.frombuffer(message, DTYPES[header["dtype"]], offset=4 + length).reshape(header["shape"])
    info = FIELDS.get(header["field"])
    if info and "complex64" in info.dtypes:
        return int(header["step"]), values.astype(np.float32).view(np.complex64)[..., 0]
    return int(header["step"]), values.copy()  # writable, and without the rest of the message


def _messages(http: Http, path: str) -> Iterator[bytes | dict[str, Any]]:
    """Yield the messages of one connection: frames as bytes, control messages as dicts."""
    url = "ws" + (http.url + path).removeprefix("http")
    try:
        with connect(
            url,
            additional_headers=http.headers,
            compression=None,  # numbers hardly compress
            open_timeout=OPEN_S,
            ping_interval=PING_S,
            ping_timeout=PONG_S,
            max_size=None,
            max_queue=QUEUED,
            proxy=None if is_loopback(http.url) else True,
        ) as connection:
            for message in connection:
                yield json.loads(message) if isinstance(message, str) else message
    except InvalidStatus as refusal:
        raise _refused(http, path, refusal) from refusal
    raise ConnectionResetError("the service closed the connection")


def _refused(http: Http, path: str, refusal: InvalidStatus) -> ProblemError:
    """Make the exception for an answer that is no upgrade."""
    response = refusal.response
    text = bytes(response.body).decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except ValueError:  # a proxy or a crash answered in plain text or HTML
        body = None
    if isinstance(body, dict) and isinstance(body.get("title"), str):
        return ProblemError.of(response.status_code, body)
    kind = response.headers.get("Content-Type", "")
    return UnexpectedAnswer(http.shown + path, response.status_code, "and no problem of the service", kind, text)
