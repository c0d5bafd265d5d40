"""Whether a request was sent by a page of another site, and whether it asked for this service by a name of its own.

A browser sends requests to loopback for any page it shows. It says which page (`Origin`, `Sec-Fetch-Site`) and which
name the page used (`Host`); a page cannot change these headers. The API and Flower refuse requests by them.
"""

from __future__ import annotations

import re
from collections.abc import Container
from ipaddress import ip_address
from urllib.parse import urlsplit

ANY = "*"
_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


def knows_host(host: str, names: Container[str]) -> bool:
    """Whether a `Host` header names this service: by an address, a loopback name, or one of `names`.

    DNS rebinding points a name of the attacker at 127.0.0.1, so the browser takes the page and the service for one
    origin. The name is still in `Host`. An address is no name that DNS could point elsewhere.
    """
    name = host_name(host)
    if name is None:
        return False
    return ANY in names or name in names or name == "localhost" or name.endswith(".localhost") or _is_address(name)


def host_name(host: str) -> str | None:
    """The name or address in a `Host` header, in lower case and without its port; None if there is none."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:  # e.g. a bracket that is not closed
        return None
    return name.removesuffix(".") if name else None


def is_foreign(origin: str | None, site: str | None, host: str, trusted: Container[str] = ()) -> bool:
    """Whether a page of another origin sent a request to `host`. Clients that are no browsers send neither header.

    Args:
        origin: the request's `Origin`, if it has one.
        site: the request's `Sec-Fetch-Site`, if it has one.
        host: the request's `Host`, with its port.
        trusted: other origins that may send requests, as `https://name[:port]`.
    """
    if origin is not None and origin in trusted:
        return False
    if site is not None:
        return site not in ("same-origin", "none")  # none: typed into the address bar, a bookmark
    return origin is not None and origin.lower().partition("://")[2] != host.lower()


def origins_of(text: str) -> tuple[str, ...]:
    """The origins in a list separated by commas. Raises ValueError for an entry that is neither an origin nor `*`."""
    origins = names_of(text)
    for origin in origins:
        if origin != ANY and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is no origin: expected https://NAME, http://NAME:PORT or *")
    return origins


def names_of(text: str) -> tuple[str, ...]:
    """The entries of a list separated by commas, in lower case."""
    return tuple(entry.strip().lower() for entry in text.split(",") if entry.strip())


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
