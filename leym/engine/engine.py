"""Continuous batching of universes: admit, choose a batch, advance it to its next event, record, let the finished
leave.

One thread owns the device. Runs of one bucket (law, precision, grid) share batches; a run joins a free slot between
bursts and leaves when its own steps are done. Results go to each run's sink through the courier, so the engine waits
for neither storage nor network.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from threading import Condition, Event, Thread
from time import monotonic
from typing import Any, TypeVar

import torch

from leym.contract.problems import Problem
from leym.engine import compute_threads
from leym.engine.batch import Batch, Slot
from leym.engine.batch_size import Ladder
from leym.engine.bucket import Bucket, LawCache
from leym.engine.counters import EngineCounters
from leym.engine.delivery import ResultDispatcher
from leym.engine.device import pick_device
from leym.engine.device_stream import Stream
from leym.engine.loading import BucketLoader
from leym.engine.pipeline import Flights
from leym.engine.roofline import Ceilings
from leym.engine.run import BucketKey, Run
from leym.engine.scheduler import WaitQueue, makes_room, next_batch
from leym.laws.bundle import Bundle

log = logging.getLogger(__name__)
T = TypeVar("T")
RESIDENT = 16  # buckets kept ready on the device


class Engine:
    """Runs universes on one device. `slots`: how many at once; `ahead`: give the device a burst before the results of
    the one before are told (None: where it works by itself); `rungs`: the ladder's file; `on_fatal` is called if the
    engine thread dies."""

    def __init__(
        self,
        slots: int = 8,
        *,
        device: str | None = None,
        compile: bool = True,
        checkpoint_s: float = 10.0,
        burst_s: float = 0.05,
        ahead: bool | None = None,
        rungs: Path | None = None,
        on_fatal: Callable[[BaseException], None] | None = None,
    ):
        self.slots, self.checkpoint_s, self.burst_s = slots, checkpoint_s, burst_s
        self.device = pick_device(device)
        self.stream = Stream(self.device)
        self.law_cache = LawCache(self.device, compile=compile)
        self.buckets: dict[BucketKey, Bucket] = {}
        self.totals = EngineCounters()
        self.draining = False
        self._on_fatal = on_fatal
        self._waiting = WaitQueue()
        self._parked: list[Run] = []
        self._cancelled: set[str] = set()
        self._changed = Condition()
        self._stopping = False
        self._courier = ResultDispatcher(4, self._sink_broke)
        ahead = self.device.is_cuda if ahead is None else ahead
        self._flights = Flights(self.stream, self._courier, self.totals, self, ahead=ahead)
        self._warming = BucketLoader(self.law_cache, Ladder(self.device, rungs), slots, self._wake, self._free_idle)
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._owns_pool = Event()
        self._thread = Thread(target=self._main, name="engine", daemon=True)

    # --- called from any thread

    def start(self) -> None:
        """Start the device thread. It owns the pool of compute threads: the caller, and threads that start after it,
        run torch on themselves only until `stop` (`leym.engine.compute_threads`)."""
        self._thread.start()
        self._owns_pool.wait()
        compute_threads.compute_alone()

    def on_device_thread(self, call: Callable[[], T]) -> T:
        """Run `call` on the device thread, between two bursts, and return its result; blocks until then.

        For measurements on a started engine: a second thread that computes on several processors slows the engine down.

        Raises:
            RuntimeError: the engine is not running.
            Exception: whatever `call` raises; the engine goes on.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._stopping or not self._thread.is_alive():
                raise RuntimeError("the engine is not running: nothing can be called on its device thread")
            self._calls.append((call, future))
            self._changed.notify_all()
        return future.result()

    def measure_ceilings(self) -> None:
        """Measure what the device can do, half a second of its time, so that `info` can say which share is used."""
        self.totals.ceilings = self.on_device_thread(partial(Ceilings.measure, self.device))

    def warm(self, law: Bundle, precision: str, grid: tuple[int, int], wait_s: float | None = None) -> None:
        """Load and compile a bucket before its first run; blocks until it is ready, or, going on behind, TimeoutError
        is raised."""
        key = BucketKey(law.digest, precision, grid)
        bucket = self._warming.bucket(key, law).result(wait_s)
        with self._changed:
            self.buckets.setdefault(key, bucket)

    def submit(self, run: Run) -> None:
        run.origin  # noqa: B018 -- drawn here, so that the engine thread need not
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
        if self._owns_pool.is_set():
            self._thread.join()
            self._owns_pool.clear()
            compute_threads.disown_pool()
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
                "degraded": self.law_cache.degraded,
            }

    # --- the engine thread

    def _main(self) -> None:
        compute_threads.own_pool(self.device.threads)
        self._owns_pool.set()
        try:
            began = None  # this round with work, or None after one without
            while not self._stopping:
                self._answer_calls()
                with self._changed:
                    self._evict_cancelled()
                    self._unpark()
                    self._admit()
                    batch = next_batch(self._batches())
                    if batch is None and not self._flights:
                        self.totals.idle()
                        if self._calls:
                            continue
                        self._changed.wait(timeout=0.1 if self._warming or self._parked else None)
                        began = None
                        continue
                    self.totals.idle_since = None
                began = began or monotonic()
                self._burst(batch) if batch else self._flights.land()
                now = monotonic()
                self.totals.busy_s += now - began
                began = now
            self._flights.land()
            self._answer_calls()
            if self.draining:
                self._release_all()
        except BaseException as error:
            log.exception("the engine thread died")
            self._refuse_calls(error)
            if self._on_fatal:
                self._on_fatal(error)
            raise

    def _answer_calls(self) -> None:
        while self._calls:
            call, future = self._calls.popleft()
            try:
                future.set_result(call())
            except Exception as error:
                log.debug("a call on the device thread failed", exc_info=True)
                future.set_exception(error)

    def _refuse_calls(self, error: BaseException) -> None:
        with self._changed:
            self._stopping = True
            for _, future in self._calls:
                future.set_exception(RuntimeError(f"the engine thread died: {error}"))
            self._calls.clear()

    def _evict_cancelled(self) -> None:
        if not self._cancelled:
            return
        self._flights.forget(self._cancelled)
        self._take_out(self._cancelled)
        for run_id in self._cancelled:
            self._courier.drop(run_id)
        self._cancelled.clear()

    def _take_out(self, run_ids: set[str]) -> None:
        """Wherever these runs are."""
        for batch in self._batches():
            for slot in batch.active:
                if slot.run.id in run_ids:
                    slot.over = True
                    batch.leave(slot)
        self._waiting.drop(run_ids)
        self._parked = [run for run in self._parked if run.id not in run_ids]

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
                if not makes_room(self._batches(), run):
                    return
                self._flights.land()  # so that who is swapped out has nothing under way
                self._swap_out(run)
                free = self.slots - sum(bucket.busy for bucket in self.buckets.values())
            bucket = self.buckets.pop(run.bucket, future.result())
            self.buckets[run.bucket] = bucket  # last in the order of use
            if not free or not (batch := bucket.roomiest()):
                continue
            self._waiting.remove(entry)
            self._seat(run, bucket, batch, entry.level(now))
            self._retire()
            free -= 1

    def _swap_out(self, run: Run) -> None:
        """Somebody makes room for this run; that universe goes on later, bit for bit, from where it is now."""
        if not (found := makes_room(self._batches(), run)):
            return
        batch, slot = found
        slot.run.start = batch.checkpoint(slot, self.stream)()
        batch.leave(slot)
        self._waiting.add(slot.run)
        self.totals.swapped_out += 1

    def _seat(self, run: Run, bucket: Bucket, batch: Batch, level: int) -> None:
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
            self._flights.record_start(batch, slot)

    def _burst(self, batch: Batch) -> None:
        bucket = self.buckets[batch.key]
        try:
            self._flights.start(batch, batch.burst_length(self.burst_s), bucket.cost, self.checkpoint_s)
        except torch.OutOfMemoryError as error:
            self._out_of_memory(bucket, batch, error)
        bucket.compact()

    def _out_of_memory(self, bucket: Bucket, lost: Batch, error: torch.OutOfMemoryError) -> None:
        """Go on with smaller batches. The runs of this one are stepped again from where they were last saved."""
        self._flights.land()
        with self._changed:
            runs = []
            for batch in bucket.batches:
                for slot in batch.active:
                    run = slot.run
                    run.start = (run.saved or run.start) if batch is lost else batch.checkpoint(slot, self.stream)()
                    batch.leave(slot)
                    runs.append(run)
            del self.buckets[bucket.key]
            self._warming.forget(bucket.key)
            freed = self._free_idle()
            if bucket.rung > 1 and not freed:
                self._warming.step_down(bucket.key, bucket.rung)
            for run in runs:
                if bucket.rung > 1 or freed:
                    self._waiting.add(run)
                else:
                    self._fail(run, max(0, run.recorded), f"{self.device.name} has no memory for one universe: {error}")

    # --- what becomes of slots (`leym.engine.pipeline.Owner`)

    def leave(self, batch: Batch, slot: Slot) -> None:
        with self._changed:
            batch.leave(slot)

    def broke(self, slot: Slot, good: int) -> None:
        with self._changed:
            self._take_out({slot.run.id})
        self._fail(slot.run, good, f"the state is not finite from step {good + 1} on")

    def behind(self, slot: Slot) -> None:
        """Others may have the slot until the sink has taken what is there."""
        self._flights.land()
        for batch in self._batches():
            if any(slot is found for found in batch.active):
                slot.run.start = batch.checkpoint(slot, self.stream)()
                self.leave(batch, slot)
                self._parked.append(slot.run)

    # --- words to sinks

    def _fail(self, run: Run, step: int, detail: str) -> None:
        problem = Problem(500, "The run failed", f"job {run.id}: {detail}")
        self._post(run, partial(run.sink.failed, step, problem))

    def _release_all(self) -> None:
        for batch in self._batches():
            for slot in batch.active:
                saved = batch.checkpoint(slot, self.stream)()
                self._post(slot.run, partial(slot.run.sink.checkpoint, saved.step, saved.arrays))
                self._post(slot.run, slot.run.sink.released)
                batch.leave(slot)
        for run in [*self._waiting, *self._parked]:
            if run.computed_by and run.start:  # it had a slot here
                self._post(run, partial(run.sink.checkpoint, run.start.step, run.start.arrays))
            self._post(run, run.sink.released)
        self._waiting, self._parked = WaitQueue(), []

    def _post(self, run: Run, deliver: Callable[[], None]) -> None:
        self._courier.post(run.id, deliver)

    def _batches(self) -> list[Batch]:
        return [batch for bucket in self.buckets.values() for batch in bucket.batches]

    def _retire(self) -> None:
        """Let go of the longest idle buckets: their states and weights leave the device."""
        self._forget_idle(len(self.buckets) - RESIDENT)

    def _free_idle(self) -> bool:
        """Whether there was any idle bucket to let go of."""
        with self._changed:
            return self._forget_idle(len(self.buckets))

    def _forget_idle(self, most: int) -> bool:
        idle = [key for key, bucket in self.buckets.items() if not bucket.busy][: max(0, most)]
        for key in idle:
            del self.buckets[key]
            self._warming.forget(key)
        if idle:
            self.stream.free()
            for bucket in self.buckets.values():
                bucket.full = False
        return bool(idle)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _sink_broke(self, run_id: str, error: BaseException) -> None:
        self.cancel(run_id)
