"""Tells streams and long polls that this process is stopping, so that they end and their clients reconnect."""

from __future__ import annotations

from collections.abc import Callable


def _never() -> bool:
    return False


_is_stopping: Callable[[], bool] = _never


def watch(is_stopping: Callable[[], bool]) -> None:
    """Make `stopping` ask this function from now on."""
    global _is_stopping
    _is_stopping = is_stopping


def stopping() -> bool:
    """Return whether this process has been asked to stop."""
    return _is_stopping()
