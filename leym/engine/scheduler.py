"""Decides who goes first: which waiting run gets a slot, which run makes room for it, and which batch steps next.

    level(run)     = priority + floor(waited / AGE_S)         nobody waits for ever; the priority once it has slots
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

from leym.engine.batch import Batch, Group
from leym.engine.run import Run

AGE_S = 30.0
DOUBLING = 2.0  # so many priority levels more double the share of the device
FILL_MIN = 0.25  # a nearly empty batch still has this share of a full one


@dataclass(frozen=True)
class WaitingRun:
    """A run in the queue: since when (monotonic seconds), its number in order of arrival, and if it goes first."""

    run: Run
    since: float
    number: int
    first: bool = False

    def level(self, now: float) -> int:
        """Return the priority, raised by the time waited for the first slot."""
        return self.run.priority + (0 if self.run.in_slots else int((now - self.since) / AGE_S))

    def order(self, now: float) -> tuple[bool, int, int, int]:
        """Return the key by which the queue is sorted."""
        return not self.first, -self.level(now), work_left(self.run), self.number


class WaitQueue:
    """The runs that wait for a slot."""

    def __init__(self) -> None:
        self._entries: list[WaitingRun] = []
        self._number = 0

    def add(self, run: Run, *, first: bool = False) -> None:
        """Append a run, or put it before all others."""
        self._number += 1
        self._entries.append(WaitingRun(run, monotonic(), self._number, first))

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


def work_left(run: Run) -> int:
    """Return the cell-steps that the members of a run without a slot still need."""
    return run.steps_left * run.grid[0] * run.grid[1]


def makes_room(batches: Iterable[Batch], run: Run) -> Run | None:
    """Return the seated run that gives its slots to `run`, or None if no seated run is less urgent."""
    groups: dict[int, list[Group]] = {}
    for batch in batches:
        for group in batch.groups:
            groups.setdefault(id(group.run), []).append(group)

    def order(seated: list[Group]) -> tuple[int, int]:
        one = seated[0].run
        seated_steps = sum((one.steps - group.step) * len(group.places) for group in seated)
        return _level(seated), -work_left(one) - seated_steps * one.grid[0] * one.grid[1]

    least = min(groups.values(), key=order)
    return least[0].run if _level(least) < run.priority else None


def _level(seated: list[Group]) -> int:
    return max(group.level for group in seated)


def share_of(batch: Batch) -> float:
    """Return the stride-scheduling weight of a batch: 1.0 for a full one at priority 4."""
    urgency: float = sum(len(g.places) * 2 ** ((g.run.priority - 4) / DOUBLING) for g in batch.groups) / batch.busy
    return urgency * max(FILL_MIN, batch.busy / batch.size)


def next_batch(batches: Iterable[Batch]) -> Batch | None:
    """Return the batch with work that has had the least of its share, or None if all are empty."""
    return min((batch for batch in batches if batch.groups), key=lambda batch: batch.charged_s, default=None)
