"""Ask a service over plain HTTP and put its answers into JSON, so that answers of two versions can be compared.

Nothing here knows the client library: what is compared is what goes over the wire.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

FREE_TEXT = {"formula", "note", "long_name", "description"}  # prose: it must be there, its words may change
NEW_COLUMNS = ("index", "stopped_at", "error")  # of a sweep's table, since version 0.1.0
PER_CHANNEL = {"psi", "channel_power"}


@dataclass(frozen=True)
class Asker:
    """One caller of the service at `url`."""

    url: str
    token: str | None = None

    def ask(
        self, path: str, body: Any = None, method: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request, with a JSON body if there is one; return status, headers in lower case, and body."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            sent["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=240) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, {k.lower(): v for k, v in refusal.headers.items()}, refusal.read()

    def json(self, path: str, body: Any = None, method: str | None = None, **headers: str) -> Any:
        """Return the JSON of an answer that must not be a refusal."""
        status, _, content = self.ask(path, body, method, **headers)
        assert status < 300, f"{path}: {status} {content[:500]!r}"
        return json.loads(content) if content else None

    def arrays(self, path: str) -> dict[str, np.ndarray]:
        """Return the arrays of an npz."""
        status, _, content = self.ask(path)
        assert status == 200, f"{path}: {status} {content[:500]!r}"
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def answer(self, path: str) -> dict[str, Any]:
        """Return what the service answers, as JSON that says everything but the words of refusals."""
        status, headers, content = self.ask(path)
        kind = headers.get("content-type", "").partition(";")[0]
        said: dict[str, Any] = {"status": status, "type": kind}
        if status >= 400:
            return said
        if kind in ("application/json", "application/problem+json"):
            return said | {"json": json.loads(content)}
        if kind == "text/event-stream":
            return said | {"events": list(_events(content.decode()))}
        if content.startswith(b"PK"):
            return said | {"arrays": summary(content)}
        if kind == "text/csv":
            content = without(content.decode(), NEW_COLUMNS).encode()
        return said | {"sha256": hashlib.sha256(content).hexdigest()}


def without(text: str, columns: Iterable[str]) -> str:
    """Remove columns of a CSV: as JSON may have further keys, a table may have further columns."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    kept = [i for i, name in enumerate(rows[0]) if name not in columns]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([row[i] for i in kept] for row in rows)
    return written.getvalue()


def summary(npz: bytes) -> dict[str, Any]:
    """Return dtype, shape and digest of each array, and as JSON the arrays that hold text."""
    with np.load(io.BytesIO(npz), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return {name: json.loads(a.item()) if a.dtype.kind == "U" else digest(a) for name, a in arrays.items()}


def digest(array: np.ndarray) -> list[Any]:
    """Return dtype, shape and the sha256 of the bytes in C order."""
    return [str(array.dtype), list(array.shape), hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()]


def paths_of(job: str, fields: Iterable[str], *, observed: bool, whole: bool) -> Iterator[str]:
    """Yield what can be read of a job, by its path; `whole` adds events, tables as text and Zarr metadata."""
    at = f"/v1/jobs/{job}"
    yield at
    yield f"{at}/frames"
    if whole:
        yield f"{at}/events"
        yield f"{at}/store.zarr/zarr.json"
    for field in fields:
        yield f"{at}/frames/{field}?format=npz"
        if whole:
            yield f"{at}/store.zarr/{field}/zarr.json"
            yield f"{at}/store.zarr/{field}/{'c/0/0/0/0' if field in PER_CHANNEL else 'c/0/0/0'}"
    if observed:
        yield f"{at}/observables?format=npz"
        if whole:
            yield f"{at}/observables"
            yield f"{at}/observables?format=csv"


def missing(found: Any, expected: Any, at: str = "") -> Iterator[str]:
    """Yield where `found` lacks something of `expected` or says something else. It may have further keys."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            if key not in found:
                yield f"{at}/{key}: is missing"
            elif key in FREE_TEXT and isinstance(value, str):
                if not isinstance(found[key], str):
                    yield f"{at}/{key}: {found[key]!r} is no text"
            else:
                yield from missing(found[key], value, f"{at}/{key}")
    elif isinstance(expected, list) and isinstance(found, list):
        if len(found) != len(expected):
            yield f"{at}: {len(found)} items; expected {len(expected)}"
        for i, (one, other) in enumerate(zip(found, expected, strict=False)):
            yield from missing(one, other, f"{at}/{i}")
    elif type(found) is not type(expected) or found != expected:
        yield f"{at}: {found!r:.200}; expected {expected!r:.200}"


def _events(text: str) -> Iterator[dict[str, Any]]:
    for block in text.split("\n\n"):
        event = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "data" in event:
            yield event | {"data": json.loads(event["data"])}
