"""Ids of jobs and sweeps: ULIDs, 26 lowercase characters that sort by time of creation."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterable

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_RANDOM_BITS = 80
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]  # the last ten bits of an id


class _Counter:
    """Counter that keeps the ids of a process increasing within one millisecond and after the clock is set back."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.last = 0

    def next(self, following: int = 0) -> int:
        with self.lock:
            fresh = int(time.time() * 1000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
            same_or_earlier = fresh >> _RANDOM_BITS <= self.last >> _RANDOM_BITS
            first = self.last + 1 if same_or_earlier else fresh
            self.last = first + following
            return first


_counter = _Counter()
# A forked child starts afresh: parent and child would otherwise create the same ids.
os.register_at_fork(after_in_child=_counter.__init__)  # type: ignore[misc]


def new_id(following: int = 0) -> str:
    """Create an id. Ids of one process increase strictly; those of several processes increase by the millisecond.

    Args:
        following: number of ids after this one that are reserved too: `id_after(id, 1)`, `id_after(id, 2)`, …
    """
    return _text(_counter.next(following))


def id_after(id: str, n: int) -> str:
    """Return the n-th id after `id`."""
    return _text(_number(id) + n)


def ids_after(id: str, counts: Iterable[int]) -> list[str]:
    """Return `id_after(id, n)` for each n; consecutive ones are quick, because all but their last part is equal."""
    first, found = _number(id), []
    high, prefix = -1, ""
    for n in counts:
        number = first + n
        if number >> 10 != high:
            high, prefix = number >> 10, _text(number)[:-2]
        found.append(prefix + _PAIRS[number & 1023])
    return found


def distance(first: str, last: str) -> int:
    """Return the n for which `id_after(first, n)` is `last`."""
    return _number(last) - _number(first)


def _text(number: int) -> str:
    return "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def _number(id: str) -> int:
    number = 0
    for character in id:
        number = number << 5 | ALPHABET.index(character)
    return number
