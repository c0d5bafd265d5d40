"""Counters that the processes of the API share: one anonymous memory map, made before gunicorn forks.

There is no file that somebody could clean away and no lock between processes: each process counts in a region of its
own, and a reader adds the regions up. The region of a process that has ended goes to the one that replaces it, which
counts on.
"""

from __future__ import annotations

import logging
import mmap
import struct
import threading
from collections import Counter
from collections.abc import Iterator

log = logging.getLogger(__name__)

_ENTRY = struct.Struct("<d248p")  # the value, then the key; values lie at multiples of 8, so none is seen half written
_VALUE = struct.Struct("<d")
_APART = "\x1f"  # between the parts of a key
REGION_BYTES = 2**20  # 4,095 counters; pages that nobody writes take no memory
REGIONS = 32  # processes that can count at once

Key = tuple[str, ...]  # a metric's name and the values of its labels


class Region:
    """The counters of one process. Its first entry says how many others there are."""

    def __init__(self, memory: mmap.mmap | bytearray, start: int = 0):
        self._memory, self._start = memory, start
        self._lock = threading.Lock()
        self._at = {key: at for key, at, _ in self._entries()}  # those of the process that had it before

    def add(self, key: Key, amount: float = 1.0) -> None:
        """Count. Never fails: what does not fit into the region is not counted, which is logged."""
        with self._lock:
            at = self._at.get(key) or self._new(key)
            if at:
                (value,) = _VALUE.unpack_from(self._memory, at)
                self._memory[at : at + _VALUE.size] = _VALUE.pack(value + amount)

    def values(self) -> dict[Key, float]:
        """Return the counters, also those of another process that is counting now."""
        return {key: value for key, _, value in self._entries()}

    def _new(self, key: Key) -> int | None:
        (count,) = _VALUE.unpack_from(self._memory, self._start)
        at = self._start + (int(count) + 1) * _ENTRY.size
        text = _APART.join(key).encode()
        if at + _ENTRY.size > self._start + REGION_BYTES or len(text) > 247:
            log.warning("no room to count %s", key)
            return None
        _ENTRY.pack_into(self._memory, at, 0.0, text)
        self._memory[self._start : self._start + _VALUE.size] = _VALUE.pack(count + 1)
        self._at[key] = at
        return at

    def _entries(self) -> Iterator[tuple[Key, int, float]]:
        (count,) = _VALUE.unpack_from(self._memory, self._start)
        for at in range(self._start + _ENTRY.size, self._start + (int(count) + 1) * _ENTRY.size, _ENTRY.size):
            value, text = _ENTRY.unpack_from(self._memory, at)
            yield tuple(text.decode().split(_APART)), at, value


_own = Region(bytearray(REGION_BYTES))  # of a process alone, as in tests
_shared: mmap.mmap | None = None
_taken: set[int] = set()  # known to the parent only


def share() -> None:
    """In the parent, before it forks."""
    global _shared
    _shared = mmap.mmap(-1, REGIONS * REGION_BYTES)


def assign() -> int | None:
    """In the parent: a region for the process that it is about to fork; None when all are in use."""
    free = next((region for region in range(REGIONS) if region not in _taken), None)
    if free is not None:
        _taken.add(free)
    return free


def release(region: int | None) -> None:
    """In the parent: the process of this region has ended; the next one counts on."""
    _taken.discard(-1 if region is None else region)


def use(region: int | None) -> None:
    """In a new process: count in this region from now on."""
    global _own
    if _shared is not None and region is not None:
        _own = Region(_shared, region * REGION_BYTES)


def add(key: Key, amount: float = 1.0) -> None:
    """Count in this process's region."""
    _own.add(key, amount)


def totals() -> dict[Key, float]:
    """Sum what all processes have counted since the parent started."""
    found: Counter[Key] = Counter()
    shared = [Region(_shared, i * REGION_BYTES) for i in range(REGIONS)] if _shared is not None else [_own]
    for region in shared:
        found.update(region.values())
    return dict(found)
