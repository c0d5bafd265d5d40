"""The bytes of one object: encoded frames and behind them the index of a Zarr shard, or the rows of a table.

Both keep one promise while an object fills up: what was at a place stays there. A reader that holds the index of
an earlier version finds the same frames in a later one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import google_crc32c
import numcodecs.blosc
import numpy as np
from numcodecs import Blosc
from numpy.typing import NDArray

EMPTY = 2**64 - 1  # index entry of a frame that is not there
CRC_BYTES = 4

# Several threads finish their blocks in any order, so the same frame could give other bytes.
numcodecs.blosc.use_threads = False

_CODEC = Blosc(cname="lz4", clevel=5, shuffle=Blosc.SHUFFLE)


class Damaged(ValueError):
    """Bytes that are not what was written."""


def codecs(dtype: str) -> list[dict[str, Any]]:
    """The Zarr v3 codecs that `encode_frame` is."""
    return [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {
            "name": "blosc",
            "configuration": {
                "typesize": np.dtype(dtype).itemsize,
                "cname": _CODEC.cname,
                "clevel": _CODEC.clevel,
                "shuffle": "shuffle",
                "blocksize": 0,
            },
        },
        {"name": "crc32c"},
    ]


def encode_frame(frame: NDArray[Any]) -> bytes:
    """One or several frames [H, W(, d)], encoded as one chunk."""
    little = np.ascontiguousarray(frame, frame.dtype.newbyteorder("<"))
    return _sealed(bytes(_CODEC.encode(little)))


def decode_frame(data: bytes, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The frame of a chunk. Raises Damaged."""
    try:
        raw = _CODEC.decode(_unsealed(data))
        return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    except (RuntimeError, ValueError) as error:
        raise Damaged(f"a frame cannot be decoded: {error}") from error


def encode_row(values: Sequence[float]) -> bytes:
    """One row of a table: float64 [columns]."""
    return np.array(values, "<f8").tobytes()


def pack_shard(parts: Sequence[bytes], per_shard: int) -> bytes:
    """A Zarr shard (sharding_indexed, index with crc32c at the end) of encoded frames, with room for `per_shard`."""
    index = np.full((per_shard, 2), EMPTY, "<u8")
    at = 0
    for i, part in enumerate(parts):
        index[i] = at, len(part)
        at += len(part)
    return b"".join(parts) + _sealed(index.tobytes())


def index_bytes(per_shard: int) -> int:
    return 16 * per_shard + CRC_BYTES


def parse_index(tail: bytes, per_shard: int, size: int, frames: int) -> NDArray[np.uint64]:
    """(offset, length) of each frame, uint64 [per_shard, 2], from the last bytes of a shard of `size` bytes.

    Raises Damaged unless it holds the first `frames` frames one after the other and nothing is missing.
    """
    if len(tail) != index_bytes(per_shard):
        raise Damaged(f"its index has {len(tail)} bytes; expected {index_bytes(per_shard)}")
    index = np.frombuffer(_unsealed(tail), "<u8").reshape(per_shard, 2)
    there = int(np.count_nonzero(index[:, 0] != EMPTY))
    if there < frames:
        raise Damaged(f"it holds {there} frames; {frames} are committed")
    ends = np.cumsum(index[:there, 1])
    if (index[:there, 0] != np.concatenate([[0], ends[:-1]])).any() or ends[-1] + len(tail) != size:
        raise Damaged(f"its index does not fit its size of {size} bytes")
    return index


def split_shard(data: bytes, per_shard: int, frames: int) -> list[bytes]:
    """The first `frames` encoded frames of a whole shard. Raises Damaged."""
    index = parse_index(data[-index_bytes(per_shard) :], per_shard, len(data), frames)
    return [data[at : at + length] for at, length in index[:frames].tolist()]


def pack_table(rows: Sequence[bytes]) -> bytes:
    """Encoded rows, checked by a crc32c at the end."""
    return _sealed(b"".join(rows))


def parse_table(data: bytes, columns: int, rows: int) -> NDArray[np.float64]:
    """float64 [>= rows, columns]. Raises Damaged if fewer rows are there."""
    body = _unsealed(data)
    if len(body) % (8 * columns) or len(body) < 8 * columns * rows:
        raise Damaged(f"it has {len(body)} bytes; {rows} rows of {columns} numbers are committed")
    return np.frombuffer(body, "<f8").reshape(-1, columns)


def _sealed(data: bytes) -> bytes:
    return data + struct.pack("<I", google_crc32c.value(data))


def _unsealed(data: bytes) -> bytes:
    body, seal = data[:-CRC_BYTES], data[-CRC_BYTES:]
    if len(seal) < CRC_BYTES or struct.unpack("<I", seal)[0] != google_crc32c.value(body):
        raise Damaged("its checksum does not match")
    return body
