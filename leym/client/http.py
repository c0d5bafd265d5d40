"""One HTTP connection pool to the service: problems become exceptions, and what is safe to repeat is repeated."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx2

from leym.client.errors import ProblemError, ServiceUnreachable

RETRIES = 4  # with BACKOFF_S doubling: about 3 s in all, the time a restarted API needs to listen again
BACKOFF_S = 0.2
LONGEST_PAUSE_S = 10.0  # a longer Retry-After is cut to this
BUSY = (429, 502, 503, 504)  # refused before anything was done
SAFE = ("GET", "HEAD", "PUT", "DELETE")


class Http:
    """Requests relative to the service's URL. Safe to share between threads."""

    def __init__(self, url: str, *, timeout_s: float = 30.0, headers: Mapping[str, str] | None = None):
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        self.headers = dict(headers or {})
        for name, value in self.headers.items():
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"header {name!r}: expected printable ASCII characters; its value is not shown here")
        timeout = httpx2.Timeout(timeout_s, connect=5.0)
        self._client = httpx2.Client(timeout=timeout, headers=self.headers, mounts=_past_proxies(self.url))

    def close(self) -> None:
        self._client.close()

    def request(self, method: str, path: str, *, repeatable: bool | None = None, **options: Any) -> httpx2.Response:
        """The answer, when its status is below 400.

        A lost connection, a timeout or a "busy" status is tried again, unless doing it twice could do harm
        (`repeatable=False`, the default of POST without an Idempotency-Key).
        Raises ProblemError (the service refused) or ServiceUnreachable (no answer).
        """
        safe = repeatable if repeatable is not None else method in SAFE
        for attempt in range(RETRIES + 1):
            last = attempt == RETRIES or not safe
            try:
                response = self._client.request(method, self.url + path, **options)
            except httpx2.TransportError as error:
                if last:
                    raise ServiceUnreachable(self.url, _reason(error)) from error
                _pause(attempt)
                continue
            if response.status_code in BUSY and not last:
                _pause(attempt, response.headers.get("retry-after"))
                continue
            if method == "DELETE" and response.status_code == 404 and attempt:
                return response  # the lost first answer had deleted it
            return _checked(response)
        raise AssertionError("the last attempt returns or raises")

    def json(self, method: str, path: str, **options: Any) -> Any:
        return self.request(method, path, **options).json()

    @contextmanager
    def stream(self, path: str, *, read_timeout_s: float | None = None, **options: Any) -> Iterator[httpx2.Response]:
        """An answer whose body is read piece by piece. Not repeated: the caller knows how far it came."""
        timeout = httpx2.Timeout(read_timeout_s or self.timeout_s, connect=5.0)
        with self._client.stream("GET", self.url + path, timeout=timeout, **options) as response:
            if response.status_code >= 400:
                response.read()
            yield _checked(response)


def _past_proxies(url: str) -> dict[str, None]:
    """This machine's own addresses, of which a proxy in the environment knows nothing, are asked directly."""
    host = urlsplit(url).hostname or ""
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return {}
    return {f"all://[{host}]" if ":" in host else f"all://{host}": None} if loopback else {}


def _checked(response: httpx2.Response) -> httpx2.Response:
    if response.status_code < 400:
        return response
    try:
        body = response.json()
    except ValueError:  # a proxy or a crash answered in plain text or HTML
        body = response.text
    raise ProblemError.of(response.status_code, body)


def _pause(attempt: int, retry_after: str | None = None) -> None:
    asked = float(retry_after) if retry_after and retry_after.isdigit() else 0.0
    time.sleep(min(max(asked, BACKOFF_S * 2**attempt * random.uniform(0.75, 1.25)), LONGEST_PAUSE_S))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
