"""Encoding of objects: a Zarr shard (encoded chunks, then an index), or the rows of the table of observables.

A chunk is one frame of a job of its own, or one frame of each of several members of a block.
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


def encode_frame(frame: NDArray[Any], compressed: bool = True) -> bytes:
    """Encode one or several frames [H, W(, d)] as one chunk."""
    little = np.ascontiguousarray(frame, frame.dtype.newbyteorder("<"))
    return _with_checksum(bytes(_CODEC.encode(little)) if compressed else little)


def decode_frame(data: bytes, dtype: str, shape: tuple[int, ...], compressed: bool = True) -> NDArray[Any]:
    """Decode a chunk.

    Raises:
        DamagedError: the checksum does not match, or the chunk cannot be decoded.
    """
    try:
        body = _without_checksum(data)
        raw = _CODEC.decode(body) if compressed else body
        return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    except (RuntimeError, ValueError) as error:
        raise DamagedError(f"a frame cannot be decoded: {error}") from error


def pack_shard(parts: Sequence[bytes], numbers: NDArray[np.int64], places: int) -> list[bytes]:
    """Append the index to encoded chunks: the parts of a Zarr shard (sharding_indexed; index with crc32c at the end).

    Args:
        parts: the chunks.
        numbers: place of each chunk in C order, int64 [len(parts)], increasing.
        places: number of places.
    """
    index = np.full((places, 2), EMPTY, "<u8")
    lengths = np.fromiter(map(len, parts), np.uint64, len(parts))
    index[numbers, 0] = np.cumsum(lengths) - lengths
    index[numbers, 1] = lengths
    return [*parts, _with_checksum(index)]


def index_bytes(chunks: int) -> int:
    """Return the size of the index of a shard in bytes."""
    return 16 * chunks + CRC_BYTES


def parse_index(tail: bytes, chunks: int, size: int) -> NDArray[np.uint64]:
    """Parse the index at the end of a shard.

    Args:
        tail: last bytes of the shard, as many as `index_bytes` returns.
        chunks: number of places for chunks.
        size: size of the shard in bytes.

    Returns:
        (offset, length) of each chunk: uint64 [chunks, 2]; EMPTY for missing chunks.

    Raises:
        DamagedError: the checksum does not match, or the chunks do not follow each other without gaps.
    """
    if len(tail) != index_bytes(chunks):
        raise DamagedError(f"its index has {len(tail)} bytes; expected {index_bytes(chunks)}")
    index = np.frombuffer(_without_checksum(tail), "<u8").reshape(chunks, 2)
    present = index[index[:, 0] != EMPTY]
    ends = np.cumsum(present[:, 1])
    if not len(present) or (present[:, 0] != ends - present[:, 1]).any() or ends[-1] + len(tail) != size:
        raise DamagedError(f"its index does not fit its size of {size} bytes")
    return index


def split_shard(data: bytes, chunks: int) -> list[bytes | None]:
    """Return the encoded chunks of a shard in C order of its places; None for missing ones.

    Raises:
        DamagedError: as `parse_index`.
    """
    index = parse_index(data[-index_bytes(chunks) :], chunks, len(data))
    return [None if at == EMPTY else data[at : at + length] for at, length in index.tolist()]


def pack_table(rows: NDArray[np.float64]) -> bytes:
    """Encode the rows of a table, float64 [members, rows, columns], with a crc32c at the end."""
    return _with_checksum(np.ascontiguousarray(rows, "<f8"))


def parse_table(data: bytes, members: int, columns: int) -> NDArray[np.float64]:
    """Parse a table into float64 [members, rows, columns].

    Raises:
        DamagedError: the checksum does not match, or the last row is not complete.
    """
    body = _without_checksum(data)
    if not body or len(body) % (8 * columns * members):
        raise DamagedError(f"it has {len(body)} bytes: no whole rows of {columns} numbers for {members} members")
    return np.frombuffer(body, "<f8").reshape(members, -1, columns)


def _with_checksum(data: bytes | NDArray[Any]) -> bytes:
    """Return the bytes of `data` and their checksum; of an array, which must be contiguous, they are copied once."""
    body = data if isinstance(data, bytes) else data.data
    return b"".join((body, struct.pack("<I", google_crc32c.value(data))))


def _without_checksum(data: bytes) -> bytes:
    body, checksum = data[:-CRC_BYTES], data[-CRC_BYTES:]
    if len(checksum) < CRC_BYTES or struct.unpack("<I", checksum)[0] != google_crc32c.value(body):
        raise DamagedError("its checksum does not match")
    return body
