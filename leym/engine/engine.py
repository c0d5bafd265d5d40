"""Continuous batching of universes: admit, choose a batch, advance it to its next event, record, let the finished
leave.

One thread owns the device. Runs of one bucket (law, precision, grid) share batches; a run joins a free slot between
bursts and leaves when its own steps are done. Results go to each run's sink through the courier, so the engine waits
for neither storage nor network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from threading import Condition, Thread
from time import monotonic
from typing import Any

from leym.engine.batch import Batch, Slot
from leym.engine.bucket import Bucket, LawShelf
from leym.engine.courier import Courier
from leym.engine.device import pick_device
from leym.engine.roofline import Ceilings
from leym.engine.run import BucketKey, Run
from leym.engine.schedule import Line, makes_room, next_batch, share
from leym.engine.totals import Totals
from leym.engine.warming import Warming
from leym.laws.bundle import Bundle
from leym.problems import Problem

log = logging.getLogger(__name__)
RESIDENT = 16  # buckets kept ready on the device
REPORT_S = 0.5  # progress of a run is told this often


class Engine:
    """Runs universes on one device. `slots`: how many at once; `on_fatal` is called if the engine thread dies."""

    def __init__(
        self,
        slots: int = 8,
        *,
        device: str | None = None,
        compile: bool = True,
        checkpoint_s: float = 10.0,
        burst_s: float = 0.05,
        on_fatal: Callable[[BaseException], None] | None = None,
    ):
        self.slots, self.checkpoint_s, self.burst_s = slots, checkpoint_s, burst_s
        self.device = pick_device(device)
        self.shelf = LawShelf(self.device, compile=compile)
        self.buckets: dict[BucketKey, Bucket] = {}
        self.totals = Totals()
        self.draining = False
        self._on_fatal = on_fatal
        self._waiting = Line()
        self._parked: list[Run] = []
        self._cancelled: set[str] = set()
        self._changed = Condition()
        self._stopping = False
        self._courier = Courier(4, self._sink_broke)
        self._warming = Warming(self.shelf, slots, self._wake)
        self._thread = Thread(target=self._main, name="engine", daemon=True)

    # --- called from any thread

    def start(self) -> None:
        self._thread.start()

    def measure_ceilings(self) -> None:
        """So that `info` can say which share of the device the engine uses; before `start`, takes half a second."""
        self.totals.ceilings = Ceilings.measure(self.device)

    def warm(self, law: Bundle, precision: str, grid: tuple[int, int]) -> None:
        """Load and compile a bucket before its first run; blocks until it is ready."""
        key = BucketKey(law.digest, precision, grid)
        bucket = self._warming.bucket(key, law).result()
        with self._changed:
            self.buckets.setdefault(key, bucket)

    def submit(self, run: Run) -> None:
        with self._changed:
            self._waiting.add(run)
            self._changed.notify_all()

    def cancel(self, run_id: str) -> None:
        """Evict a run, waiting or running, before its next burst.

        Its sink hears nothing more. Unknown ids are ignored.
        """
        with self._changed:
            self._cancelled.add(run_id)
            self._changed.notify_all()

    def drain(self) -> None:
        """Checkpoint every slot, release every run, deliver everything, and end. Returns when all of it is done."""
        with self._changed:
            self.draining = True
            self._changed.notify_all()
        self.stop()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._courier.close()

    def attributes(self, run: Run) -> dict[str, Any]:
        """What a result must say of how it was computed: the same values give the same bits. Of a run that was seated;
        also when its bucket has left the device since."""
        return dict(run.computed_by)

    def info(self) -> dict[str, Any]:
        """A snapshot for heartbeats and metrics."""
        with self._changed:
            buckets = [bucket.info() for bucket in self.buckets.values()]
            return self.totals.info() | {
                "device": self.device.kind,
                "slots": self.slots,
                "busy": sum(bucket["busy"] for bucket in buckets),
                "waiting": len(self._waiting) + len(self._parked),
                "buckets": buckets,
                "draining": self.draining,
                "degraded": self.shelf.degraded,
            }

    # --- the engine thread

    def _main(self) -> None:
        try:
            while not self._stopping:
                with self._changed:
                    self._evict_cancelled()
                    self._unpark()
                    self._admit()
                    batch = next_batch(self._batches())
                    if batch is None:
                        self.totals.idle()
                        self._changed.wait(timeout=0.1 if self._warming or self._parked else None)
                        continue
                    self.totals.idle_since = None
                self._burst(batch)
            if self.draining:
                self._release_all()
        except BaseException as error:
            log.exception("the engine thread died")
            if self._on_fatal:
                self._on_fatal(error)
            raise

    def _evict_cancelled(self) -> None:
        if not self._cancelled:
            return
        for bucket in self.buckets.values():
            for batch in bucket.batches:
                for slot in batch.active:
                    if slot.run.id in self._cancelled:
                        batch.leave(slot)
        self._waiting.drop(self._cancelled)
        self._parked = [run for run in self._parked if run.id not in self._cancelled]
        for run_id in self._cancelled:
            self._courier.drop(run_id)
        self._cancelled.clear()

    def _unpark(self) -> None:
        for run in [run for run in self._parked if not self._courier.behind(run.id)]:
            self._parked.remove(run)
            self._waiting.add(run)

    def _admit(self) -> None:
        """Seat waiting runs, the most urgent first, in buckets that are warm; start warming the others."""
        free, now = self.slots - sum(bucket.busy for bucket in self.buckets.values()), monotonic()
        for entry in self._waiting.ordered(now):
            run = entry.run
            future = self._warming.bucket(run.bucket, run.law)
            if not future.done():
                continue
            if error := future.exception():
                self._waiting.remove(entry)
                self._warming.forget(run.bucket)
                self._fail(run, 0, f"the law could not be made ready: {error}")
                continue
            if free == 0:
                if not (found := makes_room(self._batches(), run)):
                    return
                self._swap_out(*found)
                free += 1
            self._waiting.remove(entry)
            bucket = self.buckets.pop(run.bucket, future.result())
            self.buckets[run.bucket] = bucket  # last in the order of use
            self._seat(run, bucket, entry.level(now))
            self._retire()
            free -= 1

    def _swap_out(self, batch: Batch, slot: Slot) -> None:
        """Its universe goes on later, bit for bit, from where it is now."""
        slot.run.start = batch.checkpoint(slot)
        batch.leave(slot)
        self._waiting.add(slot.run)
        self.totals.swapped_out += 1

    def _seat(self, run: Run, bucket: Bucket, level: int) -> None:
        batch = bucket.roomiest()
        if not batch.active:  # a batch that comes back to work starts level with the others
            batch.charged_s = min((b.charged_s for b in self._batches() if b.active), default=0.0)
        fresh = run.start is None
        run.computed_by = {
            "rung": bucket.rung,
            "precision": run.precision,
            "operands": str(bucket.law.operands).removeprefix("torch."),
            "compiled": bucket.law.compiled,
            "kernel": bucket.law.kernel,
            "device": self.device.kind,
        }
        slot = batch.admit(run, level)
        self._post(run, run.sink.admitted)
        if fresh:
            self._record(batch, slot)

    def _burst(self, batch: Batch) -> None:
        began, due = monotonic(), share(batch)
        k, members = batch.burst_length(self.burst_s), len(batch.active)
        broken = batch.advance(k)
        batch.charged_s += (monotonic() - began) / due
        self.totals.count(batch, k, members, self.buckets[batch.key].cost)
        for slot in broken:
            self._leave(batch, slot)
            self._fail(slot.run, slot.step, f"the state is not finite from step {slot.step + 1} on")
        for slot in batch.active:
            self._after_burst(batch, slot)
        self.buckets[batch.key].compact()
        self.totals.busy_s += monotonic() - began

    def _after_burst(self, batch: Batch, slot: Slot) -> None:
        run, now = slot.run, monotonic()
        self._record(batch, slot)
        if slot.step >= run.steps:
            last = batch.checkpoint(slot)
            self._leave(batch, slot)
            self._post(run, partial(run.sink.finished, last.step, last.arrays))
        elif now - slot.checkpointed > self.checkpoint_s:
            slot.checkpointed = now
            saved = batch.checkpoint(slot)
            self._post(run, partial(run.sink.checkpoint, saved.step, saved.arrays))
        elif self._courier.behind(run.id):
            run.start = batch.checkpoint(slot)
            self._leave(batch, slot)
            self._parked.append(run)
        elif now - slot.reported > REPORT_S:
            slot.reported = now
            self._post(run, partial(run.sink.progress, slot.step))

    def _record(self, batch: Batch, slot: Slot) -> None:
        recordings, names = slot.run.due(slot.step)
        if recordings or names:
            fields, observables = batch.record(slot)
            nbytes = sum(array.nbytes for array in fields.values())
            self._courier.post(slot.run.id, partial(slot.run.sink.frames, slot.step, fields, observables), nbytes)

    def _leave(self, batch: Batch, slot: Slot) -> None:
        with self._changed:
            batch.leave(slot)

    def _fail(self, run: Run, step: int, detail: str) -> None:
        problem = Problem(500, "The run failed", f"job {run.id}: {detail}")
        self._post(run, partial(run.sink.failed, step, problem))

    def _release_all(self) -> None:
        for batch in self._batches():
            for slot in batch.active:
                saved = batch.checkpoint(slot)
                self._post(slot.run, partial(slot.run.sink.checkpoint, saved.step, saved.arrays))
                self._post(slot.run, slot.run.sink.released)
                batch.leave(slot)
        for run in [*self._waiting, *self._parked]:
            if run.computed_by and run.start:  # it had a slot here
                self._post(run, partial(run.sink.checkpoint, run.start.step, run.start.arrays))
            self._post(run, run.sink.released)
        self._waiting, self._parked = Line(), []

    def _post(self, run: Run, deliver: Callable[[], None]) -> None:
        self._courier.post(run.id, deliver)

    def _batches(self) -> list[Batch]:
        return [batch for bucket in self.buckets.values() for batch in bucket.batches]

    def _retire(self) -> None:
        """Let go of the longest idle buckets: their states and weights leave the device."""
        idle = [key for key, bucket in self.buckets.items() if not bucket.busy]
        for key in idle[: max(0, len(self.buckets) - RESIDENT)]:
            del self.buckets[key]
            self._warming.forget(key)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _sink_broke(self, run_id: str, error: BaseException) -> None:
        self.cancel(run_id)
