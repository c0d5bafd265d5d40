"""Keeps requests to this machine away from the proxies that the environment names."""

from __future__ import annotations

from collections.abc import MutableMapping

NAMES = ("localhost", "127.0.0.1", "::1")


def bypass_proxies_for_loopback(environment: MutableMapping[str, str]) -> None:
    """Add the loopback names to `no_proxy`, which every library that uses `http_proxy` reads."""
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    named = [name for name in map(str.strip, given.split(",")) if name]
    both = ",".join([*named, *(name for name in NAMES if name not in named)])
    environment.update(no_proxy=both, NO_PROXY=both)
