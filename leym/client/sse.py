"""Server-sent events: a parser of the format, and a stream that resumes after lost connections."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import httpx2

from leym.client.errors import ProblemError, ServiceUnreachable
from leym.client.http import BACKOFF_S, BUSY, LONGEST_PAUSE_S, Http

log = logging.getLogger(__name__)

SILENCE_S = 60.0  # the service sends a comment at least every 15 s, so a silent minute means a dead connection
TRIES = 8  # consecutive connections without an event; with the delays between them about half a minute


@dataclass(frozen=True)
class Event:
    """One event of a stream.

    Attributes:
        name: its type; "message" if the stream names none.
        data: its lines of data.
        id: its id, or else the last id that the stream had before.
    """

    name: str
    data: str
    id: str


def parse_events(chunks: Iterable[bytes], last_id: str = "") -> Iterator[Event]:
    """Yield the events in a byte stream. Lines end with LF, CRLF or CR; an incomplete last event is dropped."""
    name, ident = "", last_id
    data: list[str] = []
    for line in _lines(chunks):
        if not line:
            if data:
                yield Event(name or "message", "\n".join(data), ident)
            name, data = "", []
            continue
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "event":
            name = value
        elif key == "data":
            data.append(value)
        elif key == "id" and "\0" not in value:
            ident = value


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest, after_cr, first = b"", False, True
    for chunk in chunks:
        if after_cr and chunk.startswith(b"\n"):  # the chunks split a CRLF
            chunk = chunk[1:]
            after_cr = False
        if not chunk:
            continue
        after_cr = chunk.endswith(b"\r")
        *whole, rest = (rest + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            text = line.decode("utf-8", "replace")
            yield text.removeprefix("\ufeff") if first else text
            first = False


def events(http: Http, path: str, *, last_id: str = "", params: dict[str, str] | None = None) -> Iterator[Event]:
    """Yield the events of an endpoint, each once and in order, until the caller stops or the service answers 204.

    After a lost connection the stream resumes with `Last-Event-ID`.

    Args:
        http: the connections to the service.
        path: path of the endpoint.
        last_id: id of the last event that the caller has; empty for all events.
        params: query of the request.

    Raises:
        ProblemError: the service refused.
        ServiceUnreachable: `TRIES` connections in a row brought no event.
    """
    fruitless, reason = 0, "the connection was closed"
    while fruitless < TRIES:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        try:
            with http.stream(path, read_timeout_s=SILENCE_S, headers=headers, params=params) as response:
                if response.status_code == 204:
                    return
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise http.unexpected(response, "and no event stream")
                for event in parse_events(response.iter_bytes(), last_id):
                    last_id, fruitless = event.id, 0
                    yield event
        except httpx2.TransportError as error:
            reason = f"{type(error).__name__}: {error}"
        except ProblemError as error:
            if error.status not in BUSY:
                raise
            reason = str(error)
        log.info("event stream of %s lost (%s); resuming after id %r", path, reason, last_id)
        time.sleep(min(BACKOFF_S * 2**fruitless, LONGEST_PAUSE_S))
        fruitless += 1
    raise ServiceUnreachable(http.shown, reason)
