"""Conditional requests and ranges, as RFC 9110 has them (sections 13 and 14), and what caches may keep."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import IO

from flask import Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from leym.contract.problems import Problem
from leym.contract.records import FINAL
from leym.frames.layout import JobLike

GROWING = "no-store"  # a cache that joins parts of two moments gives bytes that never were
CHECKED = "no-cache"  # kept, and asked for again with its ETag before each use
FOREVER = "private, max-age=31536000, immutable"

BLOCK = 2**18  # bytes of a file that are in memory at once
_RANGE = re.compile(r"bytes\s*=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.IGNORECASE)


def caching(job: JobLike) -> str:
    """The `Cache-Control` of a job's results: nothing is kept of one that may still grow."""
    return CHECKED if job.state in FINAL else GROWING


def conditional(response: Response, body: bytes | IO[bytes], *, ranges: bool = True) -> Response:
    """Answer GET or HEAD with `body`, or with as much of it as the request's conditions and its range ask for.

    The ETag is strong: the SHA-256 of the whole body. There is no Last-Modified, so conditions on dates do not count,
    and an If-Range with a date never matches. A range that is malformed, of another unit, or one of several counts as
    none, which RFC 9110 (14.2) allows.

    Args:
        response: its status is 200 and its headers are set; it is changed and returned.
        body: the whole representation; a file is closed with the response.
        ranges: False promises no ranges and serves none, for a body that may be another one at the next request.

    Raises:
        Problem: 412, the `If-Match` names another body.
        RequestedRangeNotSatisfiable: nothing of the range is there.
    """
    length, digest = _measure(body)
    etag = f'"{digest}"'
    response.headers["ETag"] = etag
    response.headers["Accept-Ranges"] = "bytes" if ranges else "none"
    if not isinstance(body, bytes):
        response.call_on_close(body.close)
    if "If-Match" in request.headers and not request.if_match.contains(digest):
        detail = f"If-Match = {request.headers['If-Match'][:80]!r}; the ETag is {etag}"
        raise Problem(412, "Precondition failed", detail)
    if "If-None-Match" in request.headers and request.if_none_match.contains_weak(digest):
        response.status_code = 304
        return response
    span = None
    if ranges and request.method == "GET" and request.headers.get("If-Range", etag).strip() == etag:
        span = _span(request.headers.get("Range", ""), length)
    start, end = span or (0, length)
    if span:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{length}"
    if isinstance(body, bytes):
        response.set_data(body[start:end])
    else:
        body.seek(start)
        response.response = _blocks(body, end - start)
    response.content_length = end - start
    return response


def _span(header: str, length: int) -> tuple[int, int] | None:
    """Start and end of the bytes that a `Range` asks for; None for all of them.

    Raises RequestedRangeNotSatisfiable.
    """
    found = _RANGE.fullmatch(header.strip())
    first, last = found.groups() if found else ("", "")
    if not length or not (first or last) or (first and last and int(last) < int(first)):
        return None
    if first:
        start, end = int(first), min(int(last) + 1, length) if last else length
    else:
        start, end = max(length - int(last), 0), length
    if start >= end:
        raise RequestedRangeNotSatisfiable(length, description=f"Range = {header[:80]!r}; there are {length} bytes")
    return start, end


def _blocks(file: IO[bytes], length: int) -> Iterator[bytes]:
    """The next `length` bytes of a file."""
    while block := file.read(min(length, BLOCK)):
        yield block
        length -= len(block)


def _measure(body: bytes | IO[bytes]) -> tuple[int, str]:
    """(length, hexadecimal SHA-256)."""
    if isinstance(body, bytes):
        return len(body), hashlib.sha256(body).hexdigest()
    body.seek(0)
    digest = hashlib.file_digest(body, "sha256").hexdigest()  # type: ignore[arg-type]
    return body.tell(), digest
