"""Who goes first: which waiting run gets a slot, which seated one makes room for it, and which batch has the device.

    level(run)     = priority + floor(waited / AGE_S)         nobody waits for ever
    seat next      = the highest level, then the least work left (steps x cells), then the first to come
    make room      for a run whose priority is above the level at which another was seated: the lowest level leaves,
                   of these the one with the most work left
    device next    = the batch with the least of  device time / (urgency x fill)   (stride scheduling)

A share is device time, not steps: one step of a large grid counts as much as many of a small one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import monotonic

from leym.engine.batch import Batch, Slot
from leym.engine.run import Run

AGE_S = 30.0
DOUBLE = 2.0  # so many levels more, twice the share of the device
FILL_MIN = 0.25  # a batch that is nearly empty still has this share of a full one


@dataclass(frozen=True)
class Waiting:
    run: Run
    since: float
    number: int

    def level(self, now: float) -> int:
        return self.run.priority + int((now - self.since) / AGE_S)

    def order(self, now: float) -> tuple[int, int, int]:
        return -self.level(now), work_left(self.run), self.number


class WaitQueue:
    """The runs that wait for a slot."""

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        self._number = 0

    def add(self, run: Run) -> None:
        self._number += 1
        self._waiting.append(Waiting(run, monotonic(), self._number))

    def remove(self, entry: Waiting) -> None:
        self._waiting.remove(entry)

    def drop(self, run_ids: set[str]) -> None:
        self._waiting = [entry for entry in self._waiting if entry.run.id not in run_ids]

    def ordered(self, now: float) -> list[Waiting]:
        return sorted(self._waiting, key=lambda entry: entry.order(now))

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Run]:
        return (entry.run for entry in self._waiting)


def work_left(run: Run, step: int | None = None) -> int:
    """In cell-steps, from `step` on, or from where the run starts."""
    if step is None:
        step = run.start.step if run.start else 0
    return (run.steps - step) * run.grid[0] * run.grid[1]


def makes_room(batches: Iterable[Batch], run: Run) -> tuple[Batch, Slot] | None:
    """Who is swapped out for the run; None when nobody is."""
    seated = [(batch, slot) for batch in batches for slot in batch.active]
    batch, slot = min(seated, key=lambda found: (found[1].level, -work_left(found[1].run, found[1].step)))
    return (batch, slot) if slot.level < run.priority else None


def share(batch: Batch) -> float:
    """Of the device, beside other batches: 1 for a full one at priority 4."""
    active = batch.active
    urgency: float = sum(2 ** ((slot.run.priority - 4) / DOUBLE) for slot in active) / len(active)
    return urgency * max(FILL_MIN, len(active) / batch.rung)


def next_batch(batches: Iterable[Batch]) -> Batch | None:
    """The one with work that has had the least of its share."""
    return min((batch for batch in batches if batch.active), key=lambda batch: batch.charged_s, default=None)
