"""Reads frames of one member from the object of a shard, with as few bytes and requests as that takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leym.frames.layout import ArraySpec
from leym.frames.shards import EMPTY, DamagedError, decode_frame, index_bytes, parse_index, parse_table
from leym.frames.stores.base import Missing, Store

WHOLE = 0.5  # share of a shard's chunks above which reading the whole object is faster than one read per chunk


def read_chunks(
    store: Store, key: str, array: ArraySpec, place: int, frames: Sequence[int], committed: int
) -> list[bytes]:
    """Read the encoded chunks that have some frames of a member.

    Args:
        store: object store of the service.
        key: key of the object.
        array: the array.
        place: place of the member.
        frames: numbers of the frames, increasing; all must be in one shard.
        committed: number of frames that the member has.

    Raises:
        Missing: there is no such object.
        DamagedError: the object is damaged, or lacks one of the frames.
    """
    shard = array.shard_of(place, frames[0])
    chunk, first = (place - array.places_in(shard).start) // array.chunk_members, array.first_frame(shard)
    wanted = [chunk * array.per_shard + frame - first for frame in frames]
    places, committed = array.member_chunks * array.per_shard, min(committed - first, array.per_shard)
    tail = index_bytes(places)
    if len(wanted) > WHOLE * committed * array.member_chunks:
        data = store.get(key)
        spans = _spans(parse_index(data[-tail:], places, len(data)), wanted, frames)
        return [data[at : at + length] for at, length in spans]
    size = store.head(key)
    if size is None:
        raise Missing(key)
    spans = _spans(parse_index(store.get_range(key, max(0, size - tail), tail), places, size), wanted, frames)
    if wanted[-1] - wanted[0] + 1 > len(wanted):
        return [store.get_range(key, at, length) for at, length in spans]
    begin, end = spans[0][0], sum(spans[-1])  # one read for adjacent frames
    data = store.get_range(key, begin, end - begin)
    return [data[at - begin : at - begin + length] for at, length in spans]


def decode_chunk(array: ArraySpec, place: int, data: bytes) -> NDArray[Any]:
    """Decode the frame of a member: [H, W(, d)].

    Raises:
        DamagedError: the bytes are not those that were written.
    """
    chunk = decode_frame(data, array.dtype, (array.chunk_members, *array.shape), array.compressed)
    frame: NDArray[Any] = chunk[place % array.chunk_members]
    return frame


def read_rows(store: Store, key: str, array: ArraySpec, shard: int, frames: int) -> NDArray[np.float64]:
    """Read the rows of the observables in one object: float64 [members of the shard, rows, columns].

    Args:
        store: object store of the service.
        key: key of the object.
        array: the table of observables.
        shard: number of the shard.
        frames: number of rows that must be there.

    Raises:
        Missing: there is no such object.
        DamagedError: the object is damaged, or has fewer rows.
    """
    places = array.places_in(shard)
    table = parse_table(store.get(key), places.stop - places.start, len(array.columns))
    if table.shape[1] < frames:
        raise DamagedError(f"it has {table.shape[1]} rows; {frames} are committed")
    return table


def _spans(index: NDArray[np.uint64], chunks: list[int], frames: Sequence[int]) -> list[list[int]]:
    """Return (offset, length) of some chunks."""
    spans: list[list[int]] = index[chunks].tolist()
    for frame, (at, _) in zip(frames, spans, strict=True):
        if at == EMPTY:
            raise DamagedError(f"its frame {frame} is missing")
    return spans
