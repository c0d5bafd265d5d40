"""Checks of the URLs in settings. An empty URL stands for a default and is left alone.

Each function raises ValueError for another form than it expects. No message shows the URL: it may contain a password.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote_to_bytes, urlencode, urlsplit

_BROKER_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")  # query parameters of rediss:// URLs


def broker_url(url: str) -> str:
    """Check the URL of the broker, and make the paths in its query absolute."""
    if not url:
        return url
    parts = _parsed_url(url, ("redis", "rediss"), "redis://:PASSWORD@HOST:PORT/0 or rediss://")
    if parts.path.strip("/") and not parts.path.strip("/").isdigit():
        raise ValueError("the path of a broker's URL is the number of a database, as in redis://HOST:6379/0")
    query = dict(parse_qsl(parts.query))
    files = {key: os.path.abspath(query[key]) for key in _BROKER_FILES if key in query}
    return parts._replace(query=urlencode(query | files, safe="/")).geturl() if files else url


def database_url(url: str) -> str:
    """Check the URL of the job table, make the path of SQLite absolute, and accept `postgres://` as libpq does."""
    if not url:
        return url
    scheme, colon, rest = url.partition("://")
    kind = scheme.partition("+")[0] if colon else ""
    if kind == "postgres":
        kind, url = "postgresql", "postgresql" + url.removeprefix("postgres")
    if kind == "postgresql":
        _parsed_url(url, (url.partition("://")[0],), "postgresql://USER:PASSWORD@HOST:PORT/NAME", host=False)
        return url
    if kind != "sqlite":
        raise ValueError("expected sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME")
    path = rest.removeprefix("/")
    if not rest.startswith("/") or path in ("", ":memory:") or path.startswith("file:") or "?" in path:
        raise ValueError(
            "expected sqlite:///FILE without a query, a file that all processes can open; for a path with other"
            " characters, leave this empty: LEYM_DATA may name any folder"
        )
    return f"{scheme}:///{os.path.abspath(path)}"


def store_url(url: str) -> str:
    """Check the URL of the frame store, and make the path of a store of files absolute."""
    if not url:
        return url
    parts = _parsed_url(url, ("file", "s3", "memory"), "file:///FOLDER or s3://BUCKET/PREFIX", host=False)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path or parts.query or parts.fragment:
            raise ValueError("expected file:///FOLDER, in which '?' and '#' are written %3F and %23")
        return Path(os.path.abspath(os.fsdecode(unquote_to_bytes(parts.path)))).as_uri()
    if parts.scheme == "s3" and not parts.netloc:
        raise ValueError("expected s3://BUCKET/PREFIX")
    return url


def http_url(url: str) -> str:
    """Check the URL of a web server."""
    if not url:
        return url
    return _parsed_url(url, ("http", "https"), "http://HOST:PORT or https://HOST").geturl()


def _parsed_url(url: str, schemes: tuple[str, ...], expected: str, *, host: bool = True) -> SplitResult:
    """Split a URL and check it.

    Raises:
        ValueError: another form is expected. The message does not show the URL, which may contain a password.
    """
    try:
        parts = urlsplit(url)
        good = parts.port != 0 and parts.scheme in schemes and bool(parts.hostname or not host)
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"expected {expected}")
    return parts
