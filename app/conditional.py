"""Conditional requests and byte ranges (RFC 9110, sections 13 and 14), and the `Cache-Control` of results.

werkzeug parses the headers. Its `Response.make_conditional` does not serve results, since it differs from the RFC: it
refuses malformed, multiple and unknown ranges with 416 where they should be ignored, serves ranges of a HEAD, looks at
the range before `If-None-Match`, refuses `If-Match: *`, and accepts a weak or unquoted ETag in `If-Range`.
"""

from __future__ import annotations

import hashlib
import re
from typing import IO

from flask import Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.wsgi import FileWrapper, LimitedStream

from leym.contract.problems import Problem
from leym.contract.records import FINAL
from leym.frames.layout import JobLike

NO_STORE = "no-store"  # of results that still grow: a cache that joins parts of two versions makes a wrong file
REVALIDATE = "no-cache"  # caches may keep the body, and ask for it with its ETag before each use
IMMUTABLE = "private, max-age=31536000, immutable"

BLOCK_BYTES = 2**18  # a file is read in blocks of this size
_EMPTY_SUFFIX = re.compile(r"bytes *= *-0+", re.IGNORECASE)


def cache_control(job: JobLike) -> str:
    """Return the `Cache-Control` of a job's results: caches keep nothing while the job may still add to them."""
    return REVALIDATE if job.state in FINAL else NO_STORE


def send_conditionally(response: Response, body: bytes | IO[bytes], *, ranges: bool = True) -> Response:
    """Answer a GET or HEAD with `body`, or with the part that the request's conditions and range ask for.

    The ETag is strong: the SHA-256 of the complete body. There is no Last-Modified, so conditions on dates are ignored,
    and an If-Range with a date never matches. A range that is malformed, has another unit, or is one of several is
    ignored, as RFC 9110 (14.2) allows.

    Args:
        response: A response with status 200 and its headers. It is changed and returned.
        body: The complete body. A file is closed with the response.
        ranges: False to offer and serve no ranges, for a body that may differ at the next request.

    Raises:
        Problem: 412 if `If-Match` names another body.
        RequestedRangeNotSatisfiable: The range is outside of the body.
    """
    length, digest = _length_and_digest(body)
    response.set_etag(digest)
    response.accept_ranges = "bytes" if ranges else "none"
    if not isinstance(body, bytes):
        response.call_on_close(body.close)
    etag = response.headers["ETag"]
    if "If-Match" in request.headers and not request.if_match.contains(digest):
        detail = f"If-Match = {request.headers['If-Match'][:80]!r}; the ETag is {etag}"
        raise Problem(412, "Precondition failed", detail)
    if request.if_none_match.contains_weak(digest):
        response.status_code = 304
        return response
    part = None
    if ranges and request.method == "GET" and request.headers.get("If-Range", etag).strip() == etag:
        part = _requested_part(length)
    start, end = part or (0, length)
    if part:
        response.status_code = 206
        response.content_range.set(start, end, length)
    if isinstance(body, bytes):
        response.set_data(body[start:end])
    else:
        body.seek(start)
        response.response = FileWrapper(LimitedStream(body, end - start), BLOCK_BYTES)  # type: ignore[arg-type]
    response.content_length = end - start
    return response


def _requested_part(length: int) -> tuple[int, int] | None:
    """Return start and end (exclusive) of the requested range, or None for the complete body.

    `Range.range_for_length` of werkzeug is not used: it refuses a suffix that is longer than the body, which asks for
    all of it.

    Raises:
        RequestedRangeNotSatisfiable: The range is outside of the body.
    """
    header, found = request.headers.get("Range", ""), request.range
    if _EMPTY_SUFFIX.fullmatch(header.strip()):  # werkzeug takes it for malformed
        start, end = length, length
    elif found is None or found.units != "bytes" or len(found.ranges) != 1:
        return None
    else:
        first, stop = found.ranges[0]
        start = first if first >= 0 else max(length + first, 0)
        end = length if stop is None else min(stop, length)
    if not length:
        return None
    if start >= end:
        raise RequestedRangeNotSatisfiable(length, description=f"Range = {header[:80]!r}; the body has {length} bytes")
    return start, end


def _length_and_digest(body: bytes | IO[bytes]) -> tuple[int, str]:
    """Return the length and the hexadecimal SHA-256."""
    if isinstance(body, bytes):
        return len(body), hashlib.sha256(body).hexdigest()
    body.seek(0)
    digest = hashlib.file_digest(body, "sha256").hexdigest()  # type: ignore[arg-type]
    return body.tell(), digest
