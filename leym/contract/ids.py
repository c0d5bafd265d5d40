"""Ids of jobs and sweeps: ULIDs, 26 lowercase characters that sort by time of creation."""

from __future__ import annotations

import os
import secrets
import threading
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_RANDOM_BITS = 80


class _Counter:
    """Counter that keeps the ids of a process increasing within one millisecond and after the clock is set back."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.last = 0

    def next(self) -> int:
        with self.lock:
            fresh = int(time.time() * 1000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
            same_or_earlier = fresh >> _RANDOM_BITS <= self.last >> _RANDOM_BITS
            self.last = self.last + 1 if same_or_earlier else fresh
            return self.last


_counter = _Counter()
# A forked child starts afresh: parent and child would otherwise create the same ids.
os.register_at_fork(after_in_child=_counter.__init__)  # type: ignore[misc]


def new_id() -> str:
    """Create an id. Ids of one process increase strictly; those of several processes increase by the millisecond."""
    number = _counter.next()
    return "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
