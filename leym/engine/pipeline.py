"""Flights: bursts that the device has been given, and what is told of each when it is done.

The lengths of runs are known, so the host need not see a burst's end to plan the next: on a device that works by itself
one flight is under way while the results of the one before are told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Protocol

from leym.engine.batch import Batch, Slot
from leym.engine.counters import EngineCounters
from leym.engine.delivery import ResultDispatcher
from leym.engine.device_stream import Arrays as Fetched
from leym.engine.device_stream import Stream, Timestamp
from leym.engine.recorder import Recorded, record
from leym.engine.roofline import Cost
from leym.engine.run import Arrays, Checkpoint, Run
from leym.engine.scheduler import share

REPORT_S = 0.5  # progress of a run is told this often


class Owner(Protocol):
    """Whose slots these are."""

    def leave(self, batch: Batch, slot: Slot) -> None:
        """The slot's run has made its last step."""

    def broke(self, slot: Slot, good: int) -> None:
        """The slot's universe is not finite after step `good`; nothing more is told of it."""

    def behind(self, slot: Slot) -> None:
        """The sink of the slot's run has much to take."""


@dataclass
class Flight:
    """steps of a batch with these members. due: the batch's share of the device; good: how many steps of each lane
    stayed finite, since it was seated."""

    batch: Batch
    cost: Cost
    steps: int
    due: float
    expected_s: float
    began: Timestamp
    stepped: Timestamp
    good: Fetched
    members: list[tuple[Slot, int, int]]  # slot, its lane and its step at that time
    frames: list[tuple[Slot, int, Recorded, int]] = field(default_factory=list)  # slot, step, what, bytes
    saved: list[tuple[Slot, Callable[[], Checkpoint]]] = field(default_factory=list)
    told: list[tuple[Slot, Callable[[], None]]] = field(default_factory=list)

    def broken(self) -> list[tuple[Slot, int]]:
        """Whose state turned non-finite, and its last good step. Waits for the device."""
        good = self.good()[0]
        last = [(slot, slot.joined + int(good[lane]), step) for slot, lane, step in self.members if not slot.over]
        return [(slot, good) for slot, good, step in last if good < step]


class Flights:
    """`ahead`: one flight is under way while the next is given to the device. For the engine's thread."""

    def __init__(self, stream: Stream, courier: ResultDispatcher, totals: EngineCounters, owner: Owner, *, ahead: bool):
        self.ahead = ahead
        self._stream, self._courier, self._totals, self._owner = stream, courier, totals, owner
        self._flying: Flight | None = None

    def __bool__(self) -> bool:
        return self._flying is not None

    def record_start(self, batch: Batch, slot: Slot) -> None:
        """What is due of a run that has not made a step."""
        for _, recorded, nbytes in record(batch, [slot], self._stream, together=self.ahead):
            self._post_frames(slot.run, slot.step, recorded, nbytes)

    def start(self, batch: Batch, k: int, cost: Cost, checkpoint_s: float) -> None:
        """Give the device k steps of a batch and all that follows from them, known to be good or not.

        Raises torch.OutOfMemoryError: then the states of the batch are lost.
        """
        due, now = share(batch), monotonic()
        began = self._stream.moment()
        batch.advance(k)
        stepped = self._stream.moment()
        good = self._stream.fetch([batch.lanes.good.clone()])
        members = [(slot, slot.index, slot.step) for slot in batch.active]
        flight = Flight(batch, cost, k, due, k * batch.step_s, began, stepped, good, members)
        batch.charged_s += flight.expected_s / due
        recorded = record(batch, batch.active, self._stream, together=self.ahead)
        flight.frames = [(slot, slot.step, what, nbytes) for slot, what, nbytes in recorded]
        for slot in batch.active:
            self._go_on(flight, slot, now, checkpoint_s)
        before, self._flying = self._flying, flight
        if before:
            self._settle(before)
        if not self.ahead:
            self.land()

    def land(self) -> None:
        """Wait for what the device has been given, and tell of it."""
        if self._flying:
            flight, self._flying = self._flying, None
            self._settle(flight)

    def forget(self, run_ids: set[str]) -> None:
        """Nothing more is told of these runs."""
        for slot, _, _ in self._flying.members if self._flying else ():
            slot.over |= slot.run.id in run_ids

    def _post_frames(self, run: Run, step: int, recorded: Recorded, nbytes: int) -> None:
        run.recorded = step
        self._courier.post(run.id, partial(_frames, run, step, recorded), nbytes)

    def _go_on(self, flight: Flight, slot: Slot, now: float, checkpoint_s: float) -> None:
        sink = slot.run.sink
        if slot.step >= slot.run.steps:
            last = flight.batch.checkpoint(slot, self._stream)
            flight.told.append((slot, partial(_saved, sink.finished, last)))
            self._owner.leave(flight.batch, slot)
        elif now - slot.checkpointed > checkpoint_s:
            slot.checkpointed = now
            flight.saved.append((slot, flight.batch.checkpoint(slot, self._stream)))
        elif now - slot.reported > REPORT_S:
            slot.reported = now
            flight.told.append((slot, partial(sink.progress, slot.step)))

    def _settle(self, flight: Flight) -> None:
        for slot, good in flight.broken():
            slot.over = True
            self._owner.broke(slot, good)
        for slot, step, recorded, nbytes in flight.frames:
            if not slot.over:
                self._post_frames(slot.run, step, recorded, nbytes)
        for slot, checkpoint in flight.saved:
            if not slot.over:
                slot.run.saved = checkpoint()
                self._courier.post(slot.run.id, partial(_saved, slot.run.sink.checkpoint, checkpoint))
        for slot, deliver in flight.told:
            if not slot.over:
                self._courier.post(slot.run.id, deliver)
        took = self._stream.seconds(flight.began, flight.stepped)
        flight.batch.took(flight.steps, took)
        flight.batch.charged_s += (took - flight.expected_s) / flight.due
        self._totals.count(flight.batch, flight.steps, len(flight.members), flight.cost, took)
        for slot, _, _ in flight.members:
            if self._courier.behind(slot.run.id):
                self._owner.behind(slot)


def _frames(run: Run, step: int, recorded: Recorded) -> None:
    run.sink.frames(step, *recorded())


def _saved(deliver: Callable[[int, Arrays], None], checkpoint: Callable[[], Checkpoint]) -> None:
    saved = checkpoint()
    deliver(saved.step, saved.arrays)
