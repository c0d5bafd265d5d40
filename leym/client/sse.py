"""Server-sent events read by hand: the wire format, and a stream that survives lost connections."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import httpx2

from leym.client.errors import ProblemError, ServiceUnreachable
from leym.client.http import BUSY, Http
from leym.common.backoff import Backoff

log = logging.getLogger(__name__)

SILENCE_S = 60.0  # the service sends a comment every 15 s at most, so a minute of silence is a dead connection
RECONNECT = Backoff(0.2, longest_s=10.0)
TRIES = 8  # consecutive connections that brought no event; with the back-off about half a minute


@dataclass(frozen=True)
class Event:
    name: str
    data: str
    id: str  # of this event, or of the last one before it that had an id


def parse_events(chunks: Iterable[bytes], last_id: str = "") -> Iterator[Event]:
    """The events in a byte stream. Lines end with LF, CRLF or CR; an event that the stream cuts short is dropped."""
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
        if after_cr and chunk.startswith(b"\n"):  # the CRLF was cut in two
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
    """Every event of an endpoint, each once and in order, reconnecting with `Last-Event-ID` after a lost connection.

    The consumer ends the iteration (or the service does, with 204). Raises ProblemError on a refusal and
    ServiceUnreachable after `TRIES` connections in a row without an event.
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
        time.sleep(RECONNECT.delay_s(fruitless))
        fruitless += 1
    raise ServiceUnreachable(http.shown, reason)
