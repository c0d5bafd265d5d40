"""Encoding of objects: a Zarr shard (encoded frames, then an index), or the rows of the table of observables.

As an object fills up, frames keep their positions. So a reader with the index of an earlier version finds the same
frames in a later one.
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

EMPTY = 2**64 - 1  # index entry of a missing frame
CRC_BYTES = 4

# With several threads, the order of blocks varies, and the bytes of the same frame with it.
numcodecs.blosc.use_threads = False

_CODEC = Blosc(cname="lz4", clevel=5, shuffle=Blosc.SHUFFLE)


class DamagedError(ValueError):
    """The bytes of an object are not those that were written."""


def codecs(dtype: str) -> list[dict[str, Any]]:
    """Return the Zarr v3 codecs that `encode_frame` applies."""
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
    """Encode one or several frames [H, W(, d)] as one chunk."""
    little = np.ascontiguousarray(frame, frame.dtype.newbyteorder("<"))
    return _with_checksum(bytes(_CODEC.encode(little)))


def decode_frame(data: bytes, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Decode a chunk.

    Raises:
        DamagedError: the checksum does not match, or the chunk cannot be decoded.
    """
    try:
        raw = _CODEC.decode(_without_checksum(data))
        return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    except (RuntimeError, ValueError) as error:
        raise DamagedError(f"a frame cannot be decoded: {error}") from error


def encode_row(values: Sequence[float]) -> bytes:
    """Encode one row of a table: float64 [columns]."""
    return np.array(values, "<f8").tobytes()


def pack_shard(parts: Sequence[bytes], per_shard: int) -> bytes:
    """Join encoded frames into a Zarr shard (sharding_indexed; index with crc32c at the end) for `per_shard` frames."""
    index = np.full((per_shard, 2), EMPTY, "<u8")
    at = 0
    for i, part in enumerate(parts):
        index[i] = at, len(part)
        at += len(part)
    return b"".join(parts) + _with_checksum(index.tobytes())


def index_bytes(per_shard: int) -> int:
    """Return the size of the index of a shard in bytes."""
    return 16 * per_shard + CRC_BYTES


def parse_index(tail: bytes, per_shard: int, size: int, frames: int) -> NDArray[np.uint64]:
    """Parse the index at the end of a shard.

    Args:
        tail: last bytes of the shard, as many as `index_bytes` returns.
        per_shard: frames of a whole shard.
        size: size of the shard in bytes.
        frames: committed frames, which must be in the index.

    Returns:
        (offset, length) of each frame: uint64 [per_shard, 2].

    Raises:
        DamagedError: the checksum does not match, or the frames do not follow each other without gaps.
    """
    if len(tail) != index_bytes(per_shard):
        raise DamagedError(f"its index has {len(tail)} bytes; expected {index_bytes(per_shard)}")
    index = np.frombuffer(_without_checksum(tail), "<u8").reshape(per_shard, 2)
    present = int(np.count_nonzero(index[:, 0] != EMPTY))
    if present < frames:
        raise DamagedError(f"it has {present} frames; {frames} are committed")
    ends = np.cumsum(index[:present, 1])
    if (index[:present, 0] != np.concatenate([[0], ends[:-1]])).any() or ends[-1] + len(tail) != size:
        raise DamagedError(f"its index does not fit its size of {size} bytes")
    return index


def split_shard(data: bytes, per_shard: int, frames: int) -> list[bytes]:
    """Return the first `frames` encoded frames of a shard.

    Raises:
        DamagedError: as `parse_index`.
    """
    index = parse_index(data[-index_bytes(per_shard) :], per_shard, len(data), frames)
    return [data[at : at + length] for at, length in index[:frames].tolist()]


def pack_table(rows: Sequence[bytes]) -> bytes:
    """Join encoded rows, with a crc32c at the end."""
    return _with_checksum(b"".join(rows))


def parse_table(data: bytes, columns: int, rows: int) -> NDArray[np.float64]:
    """Parse a table into float64 [>= rows, columns].

    Raises:
        DamagedError: the checksum does not match, or there are fewer than `rows` rows.
    """
    body = _without_checksum(data)
    if len(body) % (8 * columns) or len(body) < 8 * columns * rows:
        raise DamagedError(f"it has {len(body)} bytes; {rows} rows of {columns} numbers are committed")
    return np.frombuffer(body, "<f8").reshape(-1, columns)


def _with_checksum(data: bytes) -> bytes:
    return data + struct.pack("<I", google_crc32c.value(data))


def _without_checksum(data: bytes) -> bytes:
    body, checksum = data[:-CRC_BYTES], data[-CRC_BYTES:]
    if len(checksum) < CRC_BYTES or struct.unpack("<I", checksum)[0] != google_crc32c.value(body):
        raise DamagedError("its checksum does not match")
    return body
