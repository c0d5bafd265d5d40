"""The Zarr v3 hierarchy of a job, also while it grows: every key is made from the manifest and what is committed.

zarr.json                       the group, with the metadata of all arrays inline
phase/zarr.json                 an array, as long as it is committed
phase/c/3/0/0                   its fourth chunk: several small frames, or one large one
step/c/0                        coordinates: computed
observables/zarr.json           the group of the observables, which may have the names of fields
observables/activity/c/0        an observable, cut out of its table; also at the root unless a field has its name
observables/step/c/0            its coordinate

Chunks are not objects of the store. The store has shards of single frames, so that a commit in the middle of a chunk
appends and a resumed job goes on at any frame; a chunk is put together when it is read. So every answer is whole by
itself: no index tells a reader where in a growing object a frame was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from leym.contract.problems import not_found
from leym.contract.records import FINAL
from leym.frames.layout import TABLE, TABLE_ROWS, ArraySpec, JobLike, arrays_of
from leym.frames.manifest import series_of, visible
from leym.frames.reader import FrameReader, check_there
from leym.frames.shards import encode_frame
from leym.frames.stores.base import Store
from leym.frames.zarr_metadata import array_json, group_json, observable_paths, step_arrays


@dataclass(frozen=True)
class Resource:
    """The resource that a key of the hierarchy stands for.

    final: of a job that has ended, whose results never change. chunk: an array's numbers rather than metadata.
    """

    body: bytes
    chunk: bool
    final: bool


def find(store: Store, load: Callable[[], JobLike], path: str) -> Resource:
    """The resource at `path` below `store.zarr/`. `load` reads the job's row (raises Problem 404 itself).

    Raises Problem 404 for keys that were never due (also those that climb out of the job), 410 when its results were
    deleted or have expired, 503 for a committed object that cannot be read: array libraries take a 404 for an empty
    chunk and show NaN, so that must never be the answer for a frame that exists.
    """
    job = load()
    check_there(job)
    final = job.state in FINAL
    if path == "zarr.json" or path.endswith("/zarr.json"):
        node = path.removesuffix("zarr.json").removesuffix("/")
        document = group_json(job, node) if node in ("", TABLE) and path != "/zarr.json" else array_json(job, node)
        return Resource(json.dumps(document, separators=(",", ":")).encode(), chunk=False, final=final)
    name, _, rest = path.partition("/c/")
    for array_name, ndim, read in _arrays(store, job, load):
        number = _chunk_number(rest, ndim)
        if name == array_name and number is not None and (body := read(number)) is not None:
            return Resource(body, chunk=True, final=final)
    raise not_found("key", path[:200])


def _arrays(
    store: Store, job: JobLike, load: Callable[[], JobLike]
) -> Iterator[tuple[str, int, Callable[[int], bytes | None]]]:
    """Every array of the hierarchy: its path, its number of dimensions, and what reads a chunk of it by number."""
    arrays = arrays_of(job)
    counts = visible(series_of(job.manifest, arrays), arrays)
    reader = FrameReader(store, job, load)
    for array in arrays:
        count = counts[array.name]
        if array.is_table:
            for i, column in enumerate(array.columns):
                for path in observable_paths(arrays, column):
                    yield path, 1, partial(_column, reader, array, i, count)
        else:
            yield array.name, len(array.shape) + 1, partial(_frames, reader, array, count)
    for path, every in step_arrays(arrays).items():
        count = max(counts[array.name] for array in arrays if array.every == every)
        yield path, 1, partial(_steps, every, count)


def _chunk_number(rest: str, ndim: int) -> int | None:
    """The number of the chunk that `3/0/0` names."""
    found = re.fullmatch(r"(0|[1-9]\d{0,11})" + "/0" * (ndim - 1), rest)
    return int(found[1]) if found else None


def _frames(reader: FrameReader, array: ArraySpec, count: int, number: int) -> bytes | None:
    """The frames of a chunk, encoded together. Those that are not committed are NaN."""
    first = number * array.chunk_frames
    if first >= count:
        return None
    end = min(first + array.chunk_frames, count)
    chunk = np.full((array.chunk_frames, *array.shape), np.nan, array.dtype)
    _, chunk[: end - first] = reader.read(array.name, first * array.every, end * array.every)
    return encode_frame(chunk)


def _column(reader: FrameReader, array: ArraySpec, column: int, count: int, number: int) -> bytes | None:
    first = number * array.per_shard
    if first >= count:
        return None
    return _filled(reader.table(array, number)[: count - first, column], "<f8", np.nan)


def _steps(every: int, count: int, number: int) -> bytes | None:
    first = number * TABLE_ROWS
    if first >= count:
        return None
    return _filled(np.arange(first, min(count, first + TABLE_ROWS)) * every, "<i8", 0)


def _filled(values: Any, dtype: str, fill: float) -> bytes:
    """A chunk of numbers, as long as all its chunks."""
    chunk = np.full(TABLE_ROWS, fill, dtype)
    chunk[: len(values)] = values
    return chunk.tobytes()
