"""The Zarr v3 hierarchy of a job, computed from the manifest and the committed objects while the job runs or later.

zarr.json                       the group, with the metadata of all arrays inline
phase/zarr.json                 an array with its committed frames
phase/c/3/0/0                   its fourth chunk: several small frames, or one large one
step/c/0                        a coordinate, computed
observables/zarr.json           the group of observables, whose names may be those of fields
observables/activity/c/0        an observable, a column of the table; also at the root unless a field has its name
observables/step/c/0            the coordinate of the observables

Chunks are not objects of the store. The store has shards of single frames, so that a commit can end in the middle of a
chunk, and a resumed job can continue at any frame. A chunk is assembled when it is read. So every answer is complete:
readers need no index of positions in a growing object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from leym.contract.problems import not_found
from leym.contract.records import FINAL
from leym.frames.layout import TABLE, TABLE_ROWS, ArraySpec, JobLike, arrays_of
from leym.frames.manifest import committed_arrays, visible_frames
from leym.frames.reader import FrameReader, check_available
from leym.frames.shards import encode_frame
from leym.frames.stores.base import Store
from leym.frames.zarr_metadata import array_json, group_json, observable_paths, step_arrays


@dataclass(frozen=True)
class Resource:
    """Content of a key of the hierarchy.

    Attributes:
        body: bytes of the answer.
        chunk: True for the values of an array, False for metadata.
        final: True if the job has ended, so that the content never changes.
    """

    body: bytes
    chunk: bool
    final: bool


def find(
    store: Store,
    load: Callable[[], JobLike],
    path: str,
    more: Callable[[], Mapping[str, Any]] = dict,
) -> Resource:
    """Return the content of a key.

    Array libraries take a 404 for an empty chunk and show NaN. So the answer for a committed object that cannot be read
    is 503, never 404.

    Args:
        store: object store of the service.
        load: reads the row of the job; raises Problem 404 if there is none.
        path: key below `store.zarr/`.
        more: returns further attributes of the root group.

    Raises:
        Problem: 404 for a key that the hierarchy does not have; 410 if the results were deleted or have expired; 503
            if a committed object cannot be read.
    """
    job = load()
    check_available(job)
    final = job.state in FINAL
    if path == "zarr.json" or path.endswith("/zarr.json"):
        node = path.removesuffix("zarr.json").removesuffix("/")
        if node in ("", TABLE) and path != "/zarr.json":
            metadata = group_json(job, node, None if node else more())
        else:
            metadata = array_json(job, node)
        return Resource(json.dumps(metadata, separators=(",", ":")).encode(), chunk=False, final=final)
    name, _, rest = path.partition("/c/")
    for array_name, ndim, read in _arrays(store, job, load):
        number = _chunk_number(rest, ndim)
        if name == array_name and number is not None and (body := read(number)) is not None:
            return Resource(body, chunk=True, final=final)
    raise not_found("key", path[:200])


def _arrays(
    store: Store, job: JobLike, load: Callable[[], JobLike]
) -> Iterator[tuple[str, int, Callable[[int], bytes | None]]]:
    """Iterate over all arrays: the path, the number of dimensions, and a function that reads a chunk by its number."""
    arrays = arrays_of(job)
    counts = visible_frames(job, committed_arrays(job.manifest, arrays), arrays)
    reader = FrameReader(store, job, load)
    for array in arrays:
        count = counts[array.name]
        if array.is_table:
            for column in array.columns:
                for path in observable_paths(arrays, column):
                    yield path, 1, partial(_column, reader, array, column, count)
        else:
            yield array.name, len(array.shape) + 1, partial(_frames, reader, array, count)
    for path, every in step_arrays(arrays).items():
        count, skipped = max((counts[array.name], array.skipped) for array in arrays if array.every == every)
        yield path, 1, partial(_steps, every, skipped, count)


def _chunk_number(rest: str, ndim: int) -> int | None:
    """Parse the number of a chunk: 3 of `3/0/0`; None for an invalid key."""
    found = re.fullmatch(r"(0|[1-9]\d{0,11})" + "/0" * (ndim - 1), rest)
    return int(found[1]) if found else None


def _frames(reader: FrameReader, array: ArraySpec, count: int, number: int) -> bytes | None:
    """Read and encode the frames of a chunk; frames that are not committed are NaN."""
    first = number * array.chunk_frames
    if first >= count:
        return None
    end = min(first + array.chunk_frames, count)
    chunk = np.full((array.chunk_frames, *array.shape), np.nan, array.dtype)
    _, chunk[: end - first] = reader.read(array.name, array.step_of(first), array.step_of(end))
    return encode_frame(chunk)


def _column(reader: FrameReader, array: ArraySpec, name: str, count: int, number: int) -> bytes | None:
    first = number * TABLE_ROWS
    if first >= count:
        return None
    end = min(first + TABLE_ROWS, count)
    _, found = reader.observables([name], array.step_of(first), array.step_of(end))
    return _filled(found[name], "<f8", np.nan)


def _steps(every: int, skipped: int, count: int, number: int) -> bytes | None:
    first = number * TABLE_ROWS
    if first >= count:
        return None
    return _filled((np.arange(first, min(count, first + TABLE_ROWS)) + skipped) * every, "<i8", 0)


def _filled(values: Any, dtype: str, fill: float) -> bytes:
    """Pad the values of the last chunk, since all chunks have the same size."""
    chunk = np.full(TABLE_ROWS, fill, dtype)
    chunk[: len(values)] = values
    return chunk.tobytes()
