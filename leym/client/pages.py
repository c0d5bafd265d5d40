"""Lists that the service answers page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from leym.client.http import Http

PAGE = 100  # items that are asked for at once


def listed(http: Http, path: str, filters: Mapping[str, str], limit: int | None) -> Iterator[dict[str, Any]]:
    """Yield the items of a list that comes in pages, `limit` at most."""
    params: dict[str, Any] = dict(filters)
    left = limit if limit is not None else 2**63
    while left > 0:
        page = http.json("GET", path, having=("items",), params=params | {"limit": min(left, PAGE)})
        yield from page["items"][:left]
        left -= len(page["items"])
        if not page.get("next"):
            return
        params["cursor"] = page["next"]
