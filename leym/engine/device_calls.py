"""Runs calls of other threads on the device thread, between two bursts."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")


class DeviceCalls:
    """A queue of calls and their results. Its owner guards `add` and `refuse` with a lock of its own."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Callable[[], T]) -> Future[T]:
        """Append a call and return the future of its result."""
        future: Future[T] = Future()
        self._calls.append((call, future))
        return future

    def answer(self) -> None:
        """Run every call, on the calling thread; an exception is the caller's result and ends nothing here."""
        while self._calls:
            call, future = self._calls.popleft()
            try:
                future.set_result(call())
            except Exception as error:
                log.debug("a call on the device thread failed", exc_info=True)
                future.set_exception(error)

    def refuse(self, reason: str) -> None:
        """Raise RuntimeError in every waiting caller."""
        while self._calls:
            _, future = self._calls.popleft()
            future.set_exception(RuntimeError(reason))
