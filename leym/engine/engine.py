"""Continuous batching of universes: admit, choose a batch, advance it to its next event, record, let the finished
leave.

One thread owns the device. Runs of one bucket (law, precision, grid) share batches; a run joins a free slot between
bursts and leaves when its own steps are done. Results go to each run's sink through the courier, so the engine waits
for neither storage nor network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from threading import Condition, Lock, Thread
from time import monotonic
from typing import Any

import torch

from leym.engine.batch import Batch, Slot
from leym.engine.bucket import Bucket, LawShelf
from leym.engine.courier import Courier
from leym.engine.device import pick_device
from leym.engine.run import BucketKey, Run
from leym.laws.bundle import Bundle
from leym.problems import Problem

log = logging.getLogger(__name__)
RESIDENT = 16  # buckets kept ready on the device
REPORT_S = 0.5  # progress of a run is told this often


@dataclass
class Totals:
    """What the engine has done since it started.

    Lane_steps counts empty slots too, so occupancy = slot_steps / lane_steps.
    """

    cell_steps: int = 0
    slot_steps: int = 0
    lane_steps: int = 0
    busy_s: float = 0.0
    started: float = field(default_factory=monotonic)
    idle_since: float | None = field(default_factory=monotonic)


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
        self._waiting: list[tuple[int, int, Run]] = []  # (-priority, arrival, run)
        self._parked: list[Run] = []
        self._cancelled: set[str] = set()
        self._arrival = count()
        self._changed = Condition()
        self._stopping = False
        self._courier = Courier(4, self._sink_broke)
        self._warming: dict[BucketKey, Future[Bucket]] = {}
        self._one_at_a_time = Lock()  # compilations
        self._thread = Thread(target=self._main, name="engine", daemon=True)

    # --- called from any thread

    def start(self) -> None:
        self._thread.start()

    def warm(self, law: Bundle, precision: str, grid: tuple[int, int]) -> None:
        """Load and compile a bucket before its first run; blocks until it is ready."""
        key = BucketKey(law.digest, precision, grid)
        bucket = self._bucket_future(key, law).result()
        with self._changed:
            self.buckets.setdefault(key, bucket)

    def submit(self, run: Run) -> None:
        with self._changed:
            self._waiting.append((-run.priority, next(self._arrival), run))
            self._waiting.sort(key=lambda entry: entry[:2])
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
            totals, waiting = self.totals, len(self._waiting) + len(self._parked)
            return {
                "device": self.device.kind,
                "slots": self.slots,
                "busy": sum(bucket["busy"] for bucket in buckets),
                "waiting": waiting,
                "buckets": buckets,
                "cell_steps": totals.cell_steps,
                "slot_steps": totals.slot_steps,
                "lane_steps": totals.lane_steps,
                "busy_s": totals.busy_s,
                "idle_s": 0.0 if totals.idle_since is None else monotonic() - totals.idle_since,
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
                    batch = self._choose()
                    if batch is None:
                        if self.totals.idle_since is None:
                            self.totals.idle_since = monotonic()
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
        self._waiting = [entry for entry in self._waiting if entry[2].id not in self._cancelled]
        self._parked = [run for run in self._parked if run.id not in self._cancelled]
        for run_id in self._cancelled:
            self._courier.drop(run_id)
        self._cancelled.clear()

    def _unpark(self) -> None:
        for run in [run for run in self._parked if not self._courier.behind(run.id)]:
            self._parked.remove(run)
            self._waiting.insert(0, (-run.priority, -1, run))

    def _admit(self) -> None:
        """Seat waiting runs, the most urgent first, in buckets that are warm; start warming the others."""
        free = self.slots - sum(bucket.busy for bucket in self.buckets.values())
        for entry in list(self._waiting):
            run = entry[2]
            future = self._bucket_future(run.bucket, run.law)
            if not future.done():
                continue
            if error := future.exception():
                self._waiting.remove(entry)
                del self._warming[run.bucket]
                self._fail(run, 0, f"the law could not be made ready: {error}")
                continue
            if free == 0:
                return
            self._waiting.remove(entry)
            bucket = self.buckets.pop(run.bucket, future.result())
            self.buckets[run.bucket] = bucket  # last in the order of use
            self._seat(run, bucket)
            self._retire()
            free -= 1

    def _seat(self, run: Run, bucket: Bucket) -> None:
        batch = bucket.roomiest()
        if not batch.active:  # a batch that comes back to work starts level with the others
            batch.used_s = min((b.used_s for b in self._batches() if b.active), default=0.0)
        fresh = run.start is None
        run.computed_by = {
            "rung": bucket.rung,
            "precision": run.precision,
            "operands": str(bucket.law.operands).removeprefix("torch."),
            "compiled": bucket.law.compiled,
            "kernel": bucket.law.kernel,
            "device": self.device.kind,
        }
        slot = batch.admit(run)
        self._post(run, run.sink.admitted)
        if fresh:
            self._record(batch, slot)

    def _choose(self) -> Batch | None:
        """The batch with work that has had the least of the device."""
        return min((b for b in self._batches() if b.active), key=lambda b: b.used_s, default=None)

    def _burst(self, batch: Batch) -> None:
        began = monotonic()
        k, members = batch.burst_length(self.burst_s), len(batch.active)
        broken = batch.advance(k)
        self.totals.cell_steps += k * members * batch.grid[0] * batch.grid[1]
        self.totals.slot_steps += k * members
        self.totals.lane_steps += k * batch.rung
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
        for run in [entry[2] for entry in self._waiting] + self._parked:
            self._post(run, run.sink.released)
        self._waiting, self._parked = [], []

    def _post(self, run: Run, deliver: Callable[[], None]) -> None:
        self._courier.post(run.id, deliver)

    def _batches(self) -> list[Batch]:
        return [batch for bucket in self.buckets.values() for batch in bucket.batches]

    def _bucket_future(self, key: BucketKey, law: Bundle) -> Future[Bucket]:
        with self._changed:
            if key not in self._warming:
                future = self._warming[key] = Future()
                # a daemon, so that a worker told to stop need not wait for a compiler
                Thread(target=self._make_bucket, args=(key, law, future), name="warmer", daemon=True).start()
            return self._warming[key]

    def _make_bucket(self, key: BucketKey, law: Bundle, future: Future[Bucket]) -> None:
        try:
            with self._one_at_a_time, torch.no_grad():
                bucket = Bucket(key, self.shelf.awake(law, key.precision), self.slots)
                bucket.warm()
        except Exception as error:
            log.exception("bucket %s could not be made ready", key)
            future.set_exception(error)
        else:
            future.set_result(bucket)
        with self._changed:
            self._changed.notify_all()

    def _retire(self) -> None:
        """Let go of the longest idle buckets: their states and weights leave the device."""
        idle = [key for key, bucket in self.buckets.items() if not bucket.busy]
        for key in idle[: max(0, len(self.buckets) - RESIDENT)]:
            del self.buckets[key], self._warming[key]

    def _sink_broke(self, run_id: str, error: BaseException) -> None:
        self.cancel(run_id)
