"""Whether this process has been asked to end: streams and long polls then end too, and their clients come back."""

from __future__ import annotations

from collections.abc import Callable

_asked: Callable[[], bool] = lambda: False  # noqa: E731


def watch(asked: Callable[[], bool]) -> None:
    """From now on ask this."""
    global _asked
    _asked = asked


def stopping() -> bool:
    return _asked()
