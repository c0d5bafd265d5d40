"""Checks of the headers `Host`, `Origin` and `Sec-Fetch-Site` against DNS rebinding and cross-site requests.

A browser sends requests to loopback on behalf of any page that it shows. Its headers name the page (`Origin`,
`Sec-Fetch-Site`) and the name that the page used for the service (`Host`); a page cannot change them. The API and
Flower refuse requests by these headers.
"""

from __future__ import annotations

import re
from collections.abc import Container
from ipaddress import ip_address
from urllib.parse import urlsplit

ANY = "*"
_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


def knows_host(host: str, names: Container[str]) -> bool:
    """Return True if a `Host` header names this service: by an address, a loopback name, or one of `names`.

    In DNS rebinding, a name of the attacker resolves to 127.0.0.1, so the browser regards the page and the service as
    one origin. The attacker's name is still in `Host`. Addresses are safe, because DNS does not resolve them.
    """
    name = host_name(host)
    if name is None:
        return False
    return ANY in names or name in names or name == "localhost" or name.endswith(".localhost") or _is_address(name)


def host_name(host: str) -> str | None:
    """Return the name or address in a `Host` header, in lower case and without its port; None if there is none."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:  # for example an unclosed bracket
        return None
    return name.removesuffix(".") if name else None


def is_foreign(origin: str | None, site: str | None, host: str, trusted: Container[str] = ()) -> bool:
    """Return True if a page of another origin sent a request to `host`. Only browsers send these headers.

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
    """Parse a comma-separated list of origins.

    Raises:
        ValueError: an entry is neither an origin nor `*`.
    """
    origins = names_of(text)
    for origin in origins:
        if origin != ANY and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is not an origin: expected https://NAME, http://NAME:PORT or *")
    return origins


def names_of(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list of names into lower case."""
    return tuple(entry.strip().lower() for entry in text.split(",") if entry.strip())


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
