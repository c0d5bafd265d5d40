"""Groups the runs that can share batches, and the buckets that are resident on the device."""

from __future__ import annotations

import logging
from typing import Any

import torch

from leym.engine.batch import Batch
from leym.engine.roofline import cost_of
from leym.engine.run import BucketKey, Run
from leym.engine.step.resident_law import ResidentLaw

log = logging.getLogger(__name__)


class Bucket:
    """The batches of one law, precision and grid, all of one size. They grow with the runs and shrink by compaction.

    Attributes:
        cost: FLOP and bytes of one cell-step.
        full: there was no memory for another batch.
    """

    def __init__(self, key: BucketKey, law: ResidentLaw, batch_size: int):
        self.key, self.law, self.batch_size = key, law, batch_size
        self.batches: list[Batch] = []
        self.full = False
        self.cost = cost_of(law.network, law.bundle.manifest, key.grid, batch_size)

    @property
    def busy(self) -> int:
        """Number of occupied slots."""
        return sum(batch.busy for batch in self.batches)

    def warm(self) -> None:
        """Make the first batch and compile the step for its shape.

        Without a compiler the law runs eagerly, which the log, `info` and the results say.

        Raises:
            torch.OutOfMemoryError: the device has no room for a batch.
        """
        batch = Batch(self.law, self.key, self.batch_size)
        try:
            batch.warm()
        except torch._inductor.exc.InductorError as error:
            self.law.run_eagerly(f"{self.law.bundle.ref} {self.key.precision}: no compiled step: {error}")
            batch = Batch(self.law, self.key, self.batch_size)
        batch.advance(1)
        self.batches.append(batch)

    def batch_with_room(self, run: Run) -> Batch | None:
        """Return a batch with free slots for members of a run.

        A single member goes to the fullest batch, so that few batches run; many go to the emptiest one.

        Returns:
            A new batch when all are full and the run has no slot yet; more batches would not make its members faster.
            None where a new one is not wanted or there is no memory for it.
        """
        open_batches = [batch for batch in self.batches if batch.free]
        if open_batches:
            choose = min if run.left == 1 else max
            return choose(open_batches, key=lambda batch: batch.free)
        if self.full or run.in_slots:
            return None
        try:
            batch = Batch(self.law, self.key, self.batch_size)
            batch.runner.capture()
        except torch.OutOfMemoryError as error:
            log.warning("%s: no memory for more than %d batches: %s", self.law.bundle.ref, len(self.batches), error)
            self.full = True
            return None
        self.batches.append(batch)
        return batch

    def compact(self) -> None:
        """Empty the least full batch into the others when its groups fit there: fewer calls for the same universes."""
        working = sorted((batch for batch in self.batches if batch.groups), key=lambda batch: batch.busy)
        if len(working) < 2:
            return
        least, others = working[0], working[1:]
        free, targets = [batch.free for batch in others], []
        for group in sorted(least.groups, key=lambda group: -len(group.rows)):
            target = next((i for i, n in enumerate(free) if n >= len(group.rows)), None)
            if target is None:
                return
            free[target] -= len(group.rows)
            targets.append((group, others[target]))
        for group, other in targets:
            least.move(group, other)

    def info(self) -> dict[str, Any]:
        """Return a snapshot for heartbeats."""
        return {
            "law": self.law.bundle.ref,
            "precision": self.key.precision,
            "grid": list(self.key.grid),
            "batch_size": self.batch_size,
            "slots": self.batch_size * len(self.batches),
            "full": self.full,
            "busy": self.busy,
            "compiled": self.law.compiled,
            "kernel": self.law.kernel,
            "bytes_at_rest": self.law.bytes_at_rest,
            "bytes_resident": self.law.bytes_resident,
        }


class ResidentBuckets(dict[BucketKey, Bucket]):
    """The buckets on the device, least recently used first."""

    @property
    def busy(self) -> int:
        """Number of occupied slots."""
        return sum(bucket.busy for bucket in self.values())

    def batches(self) -> list[Batch]:
        """Return the batches of all buckets."""
        return [batch for bucket in self.values() for batch in bucket.batches]

    def use(self, bucket: Bucket) -> Bucket:
        """Mark a bucket as the most recently used one, and return the one that is resident under its key."""
        self[bucket.key] = found = self.pop(bucket.key, bucket)
        return found

    def remove_idle(self, most: int) -> list[BucketKey]:
        """Remove up to `most` buckets without a run, the least recently used first, and return their keys."""
        idle = [key for key, bucket in self.items() if not bucket.busy][: max(0, most)]
        for key in idle:
            del self[key]
        if idle:
            for bucket in self.values():
                bucket.full = False
        return idle
