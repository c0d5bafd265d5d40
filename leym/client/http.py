"""HTTP requests to the service, with exceptions for problems and retries for requests that are safe to repeat."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from leym.client.errors import ProblemError, ServiceUnreachable, UnexpectedAnswer
from leym.common.backoff import Backoff

RETRIES = 4  # about 3 s in all, the time a restarted API needs to listen again
BACKOFF = Backoff(0.2, longest_s=10.0, jitter=0.25)  # its longest delay also bounds Retry-After
BUSY = (429, 502, 503, 504)  # the request was refused before it had an effect
SAFE = ("GET", "HEAD", "PUT", "DELETE")


class Http:
    """A pool of connections to one service. Threads can share it."""

    def __init__(self, url: str, *, timeout_s: float = 30.0, headers: Mapping[str, str] | None = None):
        self.url = address(url)
        self.shown = without_password(httpx2.URL(self.url)).rstrip("/")
        self.timeout_s = timeout_s
        self.headers = dict(headers or {})
        for name, value in self.headers.items():
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"header {name!r}: expected printable ASCII characters; its value is not shown here")
        timeout = httpx2.Timeout(timeout_s, connect=5.0)
        self._client = httpx2.Client(timeout=timeout, headers=self.headers, mounts=_past_proxies(self.url))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def request(self, method: str, path: str, *, repeatable: bool | None = None, **options: Any) -> httpx2.Response:
        """Send a request and return the answer, whose status is below 400.

        After a lost connection, a timeout or a status in BUSY, a request that is safe to repeat is sent again.

        Args:
            method: HTTP method.
            path: path below the URL of the service, with a slash at its start.
            repeatable: the request may be sent twice; default: all but POST, which needs an Idempotency-Key for that.
            **options: options of `httpx2.Client.request`.

        Raises:
            ProblemError: the service refused.
            UnexpectedAnswer: something else answered.
            ServiceUnreachable: nothing answered.
        """
        safe = repeatable if repeatable is not None else method in SAFE
        for attempt in range(RETRIES + 1):
            last = attempt == RETRIES or not safe
            try:
                response = self._client.request(method, self.url + path, **options)
            except httpx2.TransportError as error:
                if last:
                    raise ServiceUnreachable(self.shown, _reason(error)) from error
                _pause(attempt)
                continue
            except httpx2.DecodingError as error:
                raise UnexpectedAnswer(self.shown + path, 0, f"with a body that cannot be unpacked: {error}") from error
            if response.status_code in BUSY and not last:
                _pause(attempt, response.headers.get("retry-after"))
                continue
            if method == "DELETE" and response.status_code == 404 and attempt:
                return response  # the lost first answer had deleted it
            return self._checked(response)
        raise AssertionError("the last attempt returns or raises")

    def json(self, method: str, path: str, *, having: Sequence[str], **options: Any) -> dict[str, Any]:
        """Send a request and return the JSON object of the answer, which has the keys `having`.

        Raises like `request`.
        """
        response = self.request(method, path, **options)
        try:
            body = response.json()
        except ValueError as error:
            raise self.unexpected(response, "and no JSON") from error
        if not isinstance(body, dict):
            raise self.unexpected(response, f"and JSON of type {type(body).__name__}, where an object is expected")
        if missing := [key for key in having if key not in body]:
            raise self.unexpected(response, f"and JSON without {', '.join(missing)}")
        return body

    def remove(self, path: str) -> None:
        """Delete a resource. After a lost answer it may be gone already, which is no error. Raises like `request`."""
        response = self.request("DELETE", path)
        if response.status_code not in (204, 404):
            raise self.unexpected(response, "where 204 is expected")

    def unexpected(self, response: httpx2.Response, why: str) -> UnexpectedAnswer:
        """Make the exception for an answer that the service would not give; `why` follows the status in its message."""
        url = without_password(response.request.url.copy_with(query=None))
        text = response.text if response.is_closed else ""  # of a stream, nothing was read
        return UnexpectedAnswer(url, response.status_code, why, response.headers.get("content-type", ""), text)

    @contextmanager
    def stream(self, path: str, *, read_timeout_s: float | None = None, **options: Any) -> Iterator[httpx2.Response]:
        """Request a body that the caller reads piece by piece, without retries. Raises like `request`.

        Transport errors are those of httpx2, because only the caller knows how much it has read.
        """
        timeout = httpx2.Timeout(read_timeout_s or self.timeout_s, connect=5.0)
        with self._client.stream("GET", self.url + path, timeout=timeout, **options) as response:
            if response.status_code >= 400:
                response.read()
            yield self._checked(response)

    def _checked(self, response: httpx2.Response) -> httpx2.Response:
        """Return an answer of the service below 400; raise ProblemError or UnexpectedAnswer for any other."""
        if response.is_redirect:
            to = response.headers["location"]
            raise self.unexpected(response, f"and points to {to}, which is not followed")
        if response.status_code < 400:
            return response
        try:
            body = response.json()
        except ValueError:  # a proxy or a crash answered in plain text or HTML
            body = None
        if not isinstance(body, dict) or not isinstance(body.get("title"), str):
            raise self.unexpected(response, "and no problem of the service")
        raise ProblemError.of(response.status_code, body)


def _past_proxies(url: str) -> dict[str, None]:
    """Return the `mounts` that send requests to this machine past the proxies of the environment."""
    host = urlsplit(url).hostname or ""
    return {f"all://[{host}]" if ":" in host else f"all://{host}": None} if is_loopback(url) else {}


def is_loopback(url: str) -> bool:
    """Return True if a URL names this machine by a loopback address or as localhost."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def address(url: str) -> str:
    """Check the URL of a service and return it without a slash at its end. Raises ValueError if it is not one."""
    wanted = "it must be http://HOST:PORT or https://HOST:PORT, with a path if a proxy adds one"
    try:
        parsed = httpx2.URL(url.strip())
    except httpx2.InvalidURL as error:
        raise ValueError(f"the URL of the service (LEYM_URL) cannot be read: {error}; {wanted}") from error
    shown = without_password(parsed)
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise ValueError(f"the URL of the service (LEYM_URL) is {shown!r}; {wanted}")
    if parsed.port is not None and not 0 < parsed.port < 65536:
        raise ValueError(f"the URL of the service (LEYM_URL) is {shown!r}: the port {parsed.port} is not in 1 to 65535")
    return str(parsed).rstrip("/")


def without_password(url: httpx2.URL) -> str:
    """Return a URL without user and password, for messages."""
    return str(url.copy_with(userinfo=b""))


def segment(text: str, safe: str = "") -> str:
    """Quote an id or a name as one segment of a path. Raises ValueError for empty text, "." and ".."."""
    if text in ("", ".", ".."):
        raise ValueError(f"{text!r} is no id and no name")
    return quote(text, safe=safe)


def _pause(attempt: int, retry_after: str | None = None) -> None:
    asked = float(retry_after) if retry_after and retry_after.isdigit() else 0.0
    time.sleep(max(min(asked, BACKOFF.longest_s), BACKOFF.delay_s(attempt)))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
