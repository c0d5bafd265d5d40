"""The Zarr v3 hierarchy of a job over HTTP, also while it grows: documents made from the manifest, shards as stored.

zarr.json                       the group, with the metadata of all arrays inline
phase/zarr.json                 an array, as long as it is committed
phase/c/3/0/0                   its fourth shard, served from the object that holds it
step/c/0                        coordinates: computed
observables/zarr.json           the group of the observables, which may have the names of fields
observables/activity/c/0        an observable, cut out of its table; also at the root unless a field has its name
observables/step/c/0            its coordinate
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from leym.frames.documents import array_json, group_json, observable_paths, step_arrays
from leym.frames.layout import TABLE, TABLE_ROWS, ArraySpec, JobLike, arrays_of
from leym.frames.manifest import Series, series_of, visible
from leym.frames.reader import FrameReader, check_there
from leym.frames.shards import Damaged, index_bytes, parse_index
from leym.frames.store import Missing, Store
from leym.jobs.records import FINAL
from leym.problems import Problem, not_found

JSON, OCTETS = "application/json", "application/octet-stream"
FOREVER = "private, max-age=31536000, immutable"
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer. The body is empty for HEAD, with the Content-Length that a GET would have."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class _Thing:
    """What a key stands for: bytes at hand, or an object of the store."""

    size: int
    read: Callable[[int, int], bytes]  # start, length
    etag: str
    kind: str = OCTETS
    cache: str = "no-cache"


def answer(
    store: Store,
    load: Callable[[], JobLike],
    path: str,
    *,
    method: str = "GET",
    range_header: str | None = None,
    if_none_match: str | None = None,
) -> Answer:
    """Answer GET or HEAD of `path` below `store.zarr/`. `load` reads the job's row (raises Problem 404 itself).

    Raises Problem 404 for keys that were never due (also those that climb out of the job), 410 when its results were
    deleted or have expired, 503 for a committed object that cannot be read: array libraries take a 404 for an empty
    chunk and show NaN, so that must never be the answer for a frame that exists.
    """
    try:
        return _answer(_find(store, load(), load, path), method, range_header, if_none_match)
    except Missing:  # a later commit has replaced the object since the row was read
        pass
    try:
        return _answer(_find(store, load(), load, path), method, range_header, if_none_match)
    except Missing as error:
        raise _unreadable(str(error), "is missing") from error


def _answer(thing: _Thing, method: str, range_header: str | None, if_none_match: str | None) -> Answer:
    headers = {
        "ETag": thing.etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": thing.cache,
        "Content-Type": thing.kind,
    }
    if if_none_match and (if_none_match.strip() == "*" or thing.etag in re.findall(r'"[^"]*"', if_none_match)):
        return Answer(304, headers, b"")
    status, start, length = 200, 0, thing.size
    # Several ranges, another unit, or an end before its start: such a header counts as none (RFC 9110, 14.2).
    if range_header and (found := _RANGE.fullmatch(range_header.strip())) and _is_span(found[1], found[2]):
        status = 206
        start, length = _span(found[1], found[2], thing.size)
        if length <= 0:
            headers["Content-Range"] = f"bytes */{thing.size}"
            return Answer(416, headers | {"Content-Length": "0"}, b"")
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{thing.size}"
    body = b"" if method == "HEAD" else thing.read(start, length)
    return Answer(status, headers | {"Content-Length": str(length)}, body)


def _is_span(first: str, last: str) -> bool:
    return bool(first or last) and not (first and last and int(last) < int(first))


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    """(start, length) of a range; the length is not positive when nothing of it is there."""
    if not first:
        length = min(int(last), size)
        return size - length, length
    start = int(first)
    end = min(int(last) + 1, size) if last else size
    return start, end - start


def _find(store: Store, job: JobLike, load: Callable[[], JobLike], path: str) -> _Thing:
    check_there(job)
    if path in ("zarr.json", f"{TABLE}/zarr.json"):
        return _document(group_json(job, path.removesuffix("zarr.json").rstrip("/")))
    if path.endswith("/zarr.json"):
        return _document(array_json(job, path.removesuffix("/zarr.json")))
    name, _, rest = path.partition("/c/")
    arrays = arrays_of(job)
    series = series_of(job.manifest, arrays)
    counts = visible(series, arrays)
    for array in arrays:
        shard = _shard(rest, len(array.shape) + 1 if not array.is_table else 1)
        if shard is None or not 0 <= shard * array.per_shard < counts[array.name]:
            continue
        if array.is_table:
            for i, column in enumerate(array.columns):
                if name in observable_paths(arrays, column):
                    table = FrameReader(store, job, load).table(array, shard)
                    return _values(table[: counts[array.name] - shard * array.per_shard, i], "<f8", np.nan)
        elif name == array.name:
            return _object(store, job, array, series[array.name], shard)
    for steps, every in step_arrays(arrays).items():
        n = max(counts[array.name] for array in arrays if array.every == every)
        chunk = _shard(rest, 1)
        if name == steps and chunk is not None and chunk * TABLE_ROWS < n:
            first = chunk * TABLE_ROWS
            return _values(np.arange(first, min(n, first + TABLE_ROWS)) * every, "<i8", 0)
    raise not_found("key", path[:200])


def _shard(rest: str, dimensions: int) -> int | None:
    """The number of the shard that `3/0/0` names."""
    found = re.fullmatch(r"(0|[1-9]\d{0,11})" + "/0" * (dimensions - 1), rest)
    return int(found[1]) if found else None


def _document(document: dict[str, Any]) -> _Thing:
    body = json.dumps(document, separators=(",", ":")).encode()
    return _at_hand(body, JSON)


def _values(values: Any, dtype: str, fill: float) -> _Thing:
    """A chunk of numbers, as long as all its chunks."""
    chunk = np.full(TABLE_ROWS, fill, dtype)
    chunk[: len(values)] = values
    return _at_hand(chunk.tobytes(), OCTETS)


def _at_hand(body: bytes, kind: str) -> _Thing:
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return _Thing(len(body), lambda start, length: body[start : start + length], etag, kind)


def _object(store: Store, job: JobLike, array: ArraySpec, series: Series, shard: int) -> _Thing:
    """A shard as it is stored. Frames carry checksums that clients check; the index, whose damage some would take
    for empty chunks, is checked here whenever it is read."""
    key, frames = series.key(job.id, array, shard), series.frames_in(array, shard)
    size = store.head(key)
    if size is None:
        raise Missing(key)
    tail = index_bytes(array.per_shard)
    if size < tail:
        raise _unreadable(key, f"has {size} bytes; its index alone has {tail}")

    def read(start: int, length: int) -> bytes:
        data = store.get_range(key, start, length)
        if len(data) != length:
            raise _unreadable(key, f"gave {len(data)} bytes; {length} are there")
        if start <= size - tail and start + length == size:
            try:
                parse_index(data[-tail:], array.per_shard, size, frames)
            except Damaged as error:
                raise _unreadable(key, f"is damaged: {error}") from error
        return data

    # A partly filled shard is another object after the next commit, and a resumed job may write whole ones again:
    # only of a job that is over may one be taken from a cache unasked.
    settled = job.state in FINAL and frames == array.per_shard
    name = key.rsplit("/", 1)[-1]  # names of objects never repeat with other bytes
    return _Thing(size, read, f'"{name}"', cache=FOREVER if settled else "no-cache")


def _unreadable(key: str, why: str) -> Problem:
    return Problem(503, "Frames unreadable", f"committed object {key!r} {why}")
