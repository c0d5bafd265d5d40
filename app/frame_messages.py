"""Encodes frames as the binary messages of streams, and caches the messages for all viewers of a process."""

from __future__ import annotations

import json
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from leym.contract.catalog import FIELDS
from leym.contract.problems import invalid
from leym.frames.reader import FrameReader

Dtype = Literal["u8", "f16", "f32"]

CACHE_BYTES = 2**24  # of one process
READ_BYTES = 2**22  # frames that are read at once, while other viewers of the same frames wait for them
ALIGNMENT = 8  # the payload begins at a multiple, so that readers can use it as numbers without a copy
LOCKS = 64
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Encoding:
    """Says how a stream shows the frames of a field.

    Attributes:
        field: Name of the field.
        dtype: Type of the numbers: `u8` for codes over the field's range, `f16` or `f32` for values.
        downsample: Every n-th cell is sent, in both directions.
    """

    field: str
    dtype: Dtype = "f32"
    downsample: int = 1

    def check(self) -> None:
        """Raise Problem 422 if the field is complex and the dtype is u8."""
        if self.dtype == "u8" and "complex64" in FIELDS[self.field].dtypes:
            raise invalid(f"dtype = 'u8': {self.field!r} is complex; it can be sent as f16 or f32", "/dtype")


def encode(job_id: str, step: int, frame: NDArray[Any], encoding: Encoding) -> bytes:
    """Encode a frame as a message: the length of the header, the header as JSON, and the numbers.

    The length is a uint32, and all numbers are little-endian. The header has `job`, `field`, `step`, `shape`, `dtype`
    and `range`: the field's fixed range, or else the smallest and largest value of this frame. A code c of `u8` stands
    for range[0] + c / 255 * (range[1] - range[0]); a value outside the range becomes the nearest code, and NaN
    becomes 0. A complex field has real and imaginary parts along a last axis of length 2. The header ends with spaces,
    so that the payload begins at a multiple of 8 bytes.

    Args:
        job_id: The job.
        step: The step of the frame.
        frame: Values [H, W] or [H, W, d], real or complex64.
        encoding: Type and spacing of the numbers.
    """
    values = frame[:: encoding.downsample, :: encoding.downsample]
    if np.iscomplexobj(values):
        values = np.ascontiguousarray(values).view(np.float32).reshape(*values.shape, 2)
    low, high = FIELDS[encoding.field].bounds or _extent(values)
    if encoding.dtype == "u8":
        scaled = (values.astype(np.float32) - low) * (255 / ((high - low) or 1.0))
        payload = np.rint(np.clip(np.nan_to_num(scaled, nan=0.0), 0, 255)).astype("u1")
    else:
        payload = values.astype("<f2" if encoding.dtype == "f16" else "<f4")
    header = {"job": job_id, "field": encoding.field, "step": step, "shape": list(payload.shape)}
    text = json.dumps(header | {"dtype": encoding.dtype, "range": [low, high]}, separators=(",", ":")).encode()
    text += b" " * (-(_LENGTH.size + len(text)) % ALIGNMENT)
    return b"".join((_LENGTH.pack(len(text)), text, payload.tobytes()))


def _extent(values: NDArray[Any]) -> tuple[float, float]:
    """Return the smallest and largest finite value; (0, 1) if there is none."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


class FrameCache:
    """The newest messages that viewers of this process have asked for, least recently used ones first out.

    Frames never change once they are committed, so a message is valid for as long as its job may be read. Thread-safe:
    of several viewers who ask for the same frames, one reads the store and the others wait for it.
    """

    def __init__(self, limit_bytes: int = CACHE_BYTES):
        self._limit = limit_bytes
        self._messages: OrderedDict[tuple[str, Encoding, int], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._reading = [threading.Lock() for _ in range(LOCKS)]
        self.reads = 0  # frames read from the store

    def messages(self, reader: FrameReader, steps: Sequence[int], encoding: Encoding) -> Iterator[tuple[int, bytes]]:
        """Yield (step, message) for consecutive recorded steps of the reader's job.

        Raises:
            Problem: 503 if a frame cannot be read, 410 if the job has been deleted meanwhile.
        """
        size = max(1, READ_BYTES // reader.frame_bytes(encoding.field))
        for i in range(0, len(steps), size):
            some = steps[i : i + size]
            with self._reading[hash((reader.job.id, encoding)) % LOCKS]:
                found = self._found(reader, some, encoding)
            yield from found

    def _found(self, reader: FrameReader, steps: Sequence[int], encoding: Encoding) -> list[tuple[int, bytes]]:
        cached = {step: self._get((reader.job.id, encoding, step)) for step in steps}
        missing = [step for step, message in cached.items() if message is None]
        if missing:
            for step, frame in reader.frames(encoding.field, missing[0], missing[-1] + 1):
                if cached.get(step) is None:
                    cached[step] = encode(reader.job.id, step, frame, encoding)
                    self._put((reader.job.id, encoding, step), cached[step] or b"")
        return [(step, message) for step in steps if (message := cached[step]) is not None]

    def _get(self, key: tuple[str, Encoding, int]) -> bytes | None:
        with self._lock:
            message = self._messages.get(key)
            if message is not None:
                self._messages.move_to_end(key)
            return message

    def _put(self, key: tuple[str, Encoding, int], message: bytes) -> None:
        with self._lock:
            self.reads += 1
            if len(message) > self._limit // 2 or key in self._messages:
                return
            self._messages[key] = message
            self._bytes += len(message)
            while self._bytes > self._limit:
                self._bytes -= len(self._messages.popitem(last=False)[1])
