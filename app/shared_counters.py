"""Counters in memory that the processes of the API share: one anonymous memory map, made before gunicorn forks.

Each process counts in a region of its own and a reader adds the regions up, so there are no locks between processes
and no files that somebody could delete. The region of a process that has ended goes to its replacement, which continues
its counts.
"""

from __future__ import annotations

import logging
import mmap
import struct
import threading
from collections import Counter
from collections.abc import Iterator

log = logging.getLogger(__name__)

_ENTRY = struct.Struct("<d248p")  # value and key; a value is aligned to 8 bytes, so no reader sees half of it
_VALUE = struct.Struct("<d")
_SEPARATOR = "\x1f"  # between the parts of a key
REGION_BYTES = 2**20  # 4,095 counters; pages that nobody writes to take no memory
REGIONS = 32  # processes that can count at the same time

Key = tuple[str, ...]  # a metric's name and the values of its labels


class Region:
    """The counters of one process. The value of the first entry is the number of entries after it."""

    def __init__(self, memory: mmap.mmap | bytearray, start: int = 0):
        self._memory, self._start = memory, start
        self._lock = threading.Lock()
        self._offsets = {key: offset for key, offset, _ in self._entries()}  # a previous process may have left some

    def add(self, key: Key, amount: float = 1.0) -> None:
        """Add to a counter. A counter that does not fit into the region is logged and ignored; this never raises."""
        with self._lock:
            offset = self._offsets.get(key) or self._append(key)
            if offset:
                (value,) = _VALUE.unpack_from(self._memory, offset)
                self._memory[offset : offset + _VALUE.size] = _VALUE.pack(value + amount)

    def values(self) -> dict[Key, float]:
        """Return all counters. Another process may be counting in the region meanwhile."""
        return {key: value for key, _, value in self._entries()}

    def _append(self, key: Key) -> int | None:
        """Add an entry with value 0 and return its offset, or None if it does not fit."""
        (count,) = _VALUE.unpack_from(self._memory, self._start)
        offset = self._start + (int(count) + 1) * _ENTRY.size
        text = _SEPARATOR.join(key).encode()
        if offset + _ENTRY.size > self._start + REGION_BYTES or len(text) > 247:
            log.warning("no room to count %s", key)
            return None
        _ENTRY.pack_into(self._memory, offset, 0.0, text)
        self._memory[self._start : self._start + _VALUE.size] = _VALUE.pack(count + 1)
        self._offsets[key] = offset
        return offset

    def _entries(self) -> Iterator[tuple[Key, int, float]]:
        """Yield key, offset and value of every counter."""
        (count,) = _VALUE.unpack_from(self._memory, self._start)
        for i in range(1, int(count) + 1):
            offset = self._start + i * _ENTRY.size
            value, text = _ENTRY.unpack_from(self._memory, offset)
            yield tuple(text.decode().split(_SEPARATOR)), offset, value


_own = Region(bytearray(REGION_BYTES))  # until `use`, and in processes that share nothing, such as tests
_shared: mmap.mmap | None = None
_assigned: set[int] = set()  # maintained in the parent process only


def share() -> None:
    """Make the shared memory. Call this in the parent process, before it forks."""
    global _shared
    _shared = mmap.mmap(-1, REGIONS * REGION_BYTES)


def assign() -> int | None:
    """Return a region for the process that the parent is about to fork, or None if all are in use."""
    free = next((region for region in range(REGIONS) if region not in _assigned), None)
    if free is not None:
        _assigned.add(free)
    return free


def release(region: int | None) -> None:
    """Make the region of a process that has ended available to the next one. Call this in the parent process."""
    _assigned.discard(-1 if region is None else region)


def use(region: int | None) -> None:
    """Count in this region from now on. Call this in the new process."""
    global _own
    if _shared is not None and region is not None:
        _own = Region(_shared, region * REGION_BYTES)


def add(key: Key, amount: float = 1.0) -> None:
    """Add to a counter of this process."""
    _own.add(key, amount)


def totals() -> dict[Key, float]:
    """Return the sums over all processes, including those that have ended."""
    found: Counter[Key] = Counter()
    regions = [Region(_shared, i * REGION_BYTES) for i in range(REGIONS)] if _shared is not None else [_own]
    for region in regions:
        found.update(region.values())
    return dict(found)
