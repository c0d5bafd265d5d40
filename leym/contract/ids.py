"""Ids of jobs and sweeps: ULIDs, 26 lowercase characters that sort by the time of their making."""

from __future__ import annotations

import os
import secrets
import threading
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_RANDOM_BITS = 80


class _Clock:
    """The last id of this process, so that ids of one millisecond, or after the clock was set back, still rise."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.last = 0

    def next(self) -> int:
        with self.lock:
            fresh = int(time.time() * 1000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
            same_or_earlier = fresh >> _RANDOM_BITS <= self.last >> _RANDOM_BITS
            self.last = self.last + 1 if same_or_earlier else fresh
            return self.last


_clock = _Clock()
# A forked child must not count on from its parent's last id: both would make the same ones.
os.register_at_fork(after_in_child=_clock.__init__)  # type: ignore[misc]


def new_id() -> str:
    """A new id; ids of one process rise strictly, ids of several processes rise by the millisecond."""
    number = _clock.next()
    return "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
