"""Keeps track of runs: those in slots, those that wait for one, and those parked until their sinks catch up."""

from __future__ import annotations

from collections.abc import Iterator

from leym.engine.batch import Batch, Slot
from leym.engine.bucket import Bucket, ResidentBuckets
from leym.engine.delivery import ResultDispatcher
from leym.engine.device_stream import DeviceStream
from leym.engine.run import Run
from leym.engine.scheduler import WaitQueue


class Seating:
    """The runs of an engine. Its owner guards it with a lock.

    Attributes:
        buckets: the buckets on the device, whose batches have the slots.
        waiting: runs that wait for a slot.
        parked: runs without a slot until their sinks have caught up.
    """

    def __init__(self, stream: DeviceStream, results: ResultDispatcher):
        self.buckets = ResidentBuckets()
        self.waiting = WaitQueue()
        self.parked: list[Run] = []
        self._stream, self._results = stream, results

    def seat(self, run: Run, bucket: Bucket, batch: Batch, level: int) -> Slot:
        """Give a run a free slot of a batch."""
        if not batch.active:  # a batch that comes back to work starts level with the others
            batch.charged_s = min((b.charged_s for b in self.buckets.batches() if b.active), default=0.0)
        run.computed_by = {
            "batch_size": bucket.batch_size,
            "precision": run.precision,
            "operands": str(bucket.law.operands).removeprefix("torch."),
            "compiled": bucket.law.compiled,
            "kernel": bucket.law.kernel,
            "device": bucket.law.device.kind,
        }
        slot = batch.admit(run, level)
        self._results.post(run.id, run.sink.admitted)
        return slot

    def vacate(self, batch: Batch, slot: Slot) -> Run:
        """Empty a slot and return its run, which goes on later, bit for bit, from its present state."""
        slot.run.start = batch.checkpoint(slot, self._stream)()
        batch.leave(slot)
        return slot.run

    def remove(self, run_ids: set[str]) -> None:
        """Take runs out of slots and queues; nothing more of them is delivered."""
        for batch in self.buckets.batches():
            for slot in batch.active:
                if slot.run.id in run_ids:
                    slot.closed = True
                    batch.leave(slot)
        self.waiting.drop(run_ids)
        self.parked = [run for run in self.parked if run.id not in run_ids]

    def behind(self) -> list[tuple[Batch, Slot]]:
        """Return the slots whose runs have sinks that are behind."""
        batches = self.buckets.batches()
        return [(batch, slot) for batch in batches for slot in batch.active if self._results.is_behind(slot.run.id)]

    def park(self, slots: list[tuple[Batch, Slot]]) -> None:
        """Take the slots of these runs, except those that have ended meanwhile."""
        self.parked += [self.vacate(batch, slot) for batch, slot in slots if batch.slots[slot.index] is slot]

    def unpark(self) -> None:
        """Let parked runs whose sinks have caught up wait for a slot."""
        for run in [run for run in self.parked if not self._results.is_behind(run.id)]:
            self.parked.remove(run)
            self.waiting.add(run)

    def release_all(self) -> None:
        """Checkpoint and release every run."""
        for run in self._remove_all():
            if run.computed_by and run.start:  # it had a slot here
                self._results.checkpoint(run, run.start)
            self._results.post(run.id, run.sink.released)

    def evacuate(self, bucket: Bucket, lost: Batch) -> list[Run]:
        """Empty a bucket and return its runs; those of the lost batch go on from their last checkpoint."""
        runs = []
        for batch in bucket.batches:
            for slot in batch.active:
                if batch is lost:
                    slot.run.start = slot.run.saved or slot.run.start
                    batch.leave(slot)
                    runs.append(slot.run)
                else:
                    runs.append(self.vacate(batch, slot))
        del self.buckets[bucket.key]
        return runs

    def _remove_all(self) -> Iterator[Run]:
        for batch in self.buckets.batches():
            for slot in batch.active:
                yield self.vacate(batch, slot)
        yield from [*self.waiting, *self.parked]
        self.waiting, self.parked = WaitQueue(), []
