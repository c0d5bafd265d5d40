"""Decides who goes first: which waiting run gets a slot, which run makes room for it, and which batch steps next.

    level(run)     = priority + floor(waited / AGE_S)         nobody waits for ever
    seat next      = the highest level, then the least work left (steps x cells), then the first to come
    make room      for a run whose priority is above the level at which another was seated: the lowest level leaves,
                   of these the one with the most work left
    step next      = the batch with the least  device time / (urgency x fill)      (stride scheduling)

A share is device time, not steps: one step of a large grid counts as much as many of a small one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import monotonic

from leym.engine.batch import Batch, Slot
from leym.engine.run import Run

AGE_S = 30.0
DOUBLING = 2.0  # so many priority levels more double the share of the device
FILL_MIN = 0.25  # a nearly empty batch still has this share of a full one


@dataclass(frozen=True)
class WaitingRun:
    """A run in the queue: since when (monotonic seconds), and its number in order of arrival."""

    run: Run
    since: float
    number: int

    def level(self, now: float) -> int:
        """Return the priority, raised by the time waited."""
        return self.run.priority + int((now - self.since) / AGE_S)

    def order(self, now: float) -> tuple[int, int, int]:
        """Return the key by which the queue is sorted."""
        return -self.level(now), work_left(self.run), self.number


class WaitQueue:
    """The runs that wait for a slot."""

    def __init__(self) -> None:
        self._entries: list[WaitingRun] = []
        self._number = 0

    def add(self, run: Run) -> None:
        """Append a run."""
        self._number += 1
        self._entries.append(WaitingRun(run, monotonic(), self._number))

    def remove(self, entry: WaitingRun) -> None:
        """Take out an entry."""
        self._entries.remove(entry)

    def drop(self, run_ids: set[str]) -> None:
        """Take out these runs; ids that do not wait are ignored."""
        self._entries = [entry for entry in self._entries if entry.run.id not in run_ids]

    def ordered(self, now: float) -> list[WaitingRun]:
        """Return the entries in the order in which they are seated."""
        return sorted(self._entries, key=lambda entry: entry.order(now))

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Run]:
        return (entry.run for entry in self._entries)


def work_left(run: Run, step: int | None = None) -> int:
    """Return the cell-steps that a run still needs, from `step` on or from where it starts."""
    if step is None:
        step = run.start.step if run.start else 0
    return (run.steps - step) * run.grid[0] * run.grid[1]


def makes_room(batches: Iterable[Batch], run: Run) -> tuple[Batch, Slot] | None:
    """Return the batch and slot that are vacated for a run, or None if no seated run is less urgent."""
    seated = [(batch, slot) for batch in batches for slot in batch.active]
    batch, slot = min(seated, key=lambda found: (found[1].level, -work_left(found[1].run, found[1].step)))
    return (batch, slot) if slot.level < run.priority else None


def share_of(batch: Batch) -> float:
    """Return the stride-scheduling weight of a batch: 1.0 for a full one at priority 4."""
    active = batch.active
    urgency: float = sum(2 ** ((slot.run.priority - 4) / DOUBLING) for slot in active) / len(active)
    return urgency * max(FILL_MIN, len(active) / batch.size)


def next_batch(batches: Iterable[Batch]) -> Batch | None:
    """Return the batch with work that has had the least of its share, or None if all are empty."""
    return min((batch for batch in batches if batch.active), key=lambda batch: batch.charged_s, default=None)
