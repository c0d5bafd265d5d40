"""Continuous batching of universes: choose a batch, launch a burst of steps, settle the bursts that have finished.

One thread owns the device and runs `Engine._loop`. Runs of one bucket (law, precision, grid) share batches; a run joins
a free slot between bursts and leaves when its own steps are done. Results go to each run's sink through the dispatcher,
so the engine waits for neither storage nor network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Any, TypeVar

import numpy as np
import torch

from leym.engine import compute_threads
from leym.engine.admission import Admission
from leym.engine.batch import Batch
from leym.engine.batch_size import BatchSizeTable
from leym.engine.bucket import Bucket
from leym.engine.counters import EngineCounters
from leym.engine.delivery import ResultDispatcher
from leym.engine.device import pick_device
from leym.engine.device_calls import DeviceCalls
from leym.engine.device_stream import DeviceStream
from leym.engine.loading import BucketLoader, LawCache
from leym.engine.pipeline import BurstPipeline, InFlightBurst, Result
from leym.engine.roofline import Ceilings
from leym.engine.run import BucketKey, Run
from leym.engine.scheduler import next_batch
from leym.engine.seating import Seating
from leym.engine.states import Places
from leym.engine.steering import Steering
from leym.laws.bundle import Bundle

log = logging.getLogger(__name__)
T = TypeVar("T")


class Engine:
    """Runs universes on one device.

    Args:
        slots: how many runs step at once.
        largest_batch: most universes of one batch; None: `slots`.
        device: "cpu", "cuda", "cuda:1"; None picks CUDA where there is one.
        compile: False steps every law eagerly.
        checkpoint_s: seconds between two checkpoints of a run.
        burst_s: longest burst in seconds, so that a waiting run gets in soon.
        ahead: launch a burst before the results of the last one are delivered; None: if the device is asynchronous.
        batch_sizes: file of measured batch sizes (`leym.engine.batch_size`).
        on_fatal: called if the engine thread dies.
    """

    def __init__(
        self,
        slots: int = 8,
        *,
        largest_batch: int | None = None,
        device: str | None = None,
        compile: bool = True,
        checkpoint_s: float = 10.0,
        burst_s: float = 0.05,
        ahead: bool | None = None,
        batch_sizes: Path | None = None,
        on_fatal: Callable[[BaseException], None] | None = None,
    ):
        self.slots, self.checkpoint_s, self.burst_s = slots, checkpoint_s, burst_s
        self.device = pick_device(device)
        self.stream = DeviceStream(self.device)
        self.law_cache = LawCache(self.device, compile=compile)
        self.counters = EngineCounters()
        self.draining = self._stopping = False
        self._on_fatal = on_fatal
        self._cancelled: set[str] = set()
        self._dropped: list[tuple[str, Places]] = []
        self._to_hold: dict[str, Callable[[int], None]] = {}
        self._to_resume: list[tuple[str, Steering]] = []
        self._changed = Condition()
        self._results = ResultDispatcher(4, lambda run_id, _: self.cancel(run_id))
        self._seating = Seating(self.stream, self._results)
        self.buckets = self._seating.buckets
        on_cuda = self.device.is_cuda
        self._pipeline = BurstPipeline(self.stream, ahead=on_cuda if ahead is None else ahead)
        table = BatchSizeTable(self.device, batch_sizes)
        self._loader = BucketLoader(self.law_cache, table, largest_batch or slots, self._wake, self._free_idle)
        self._calls = DeviceCalls()
        parts = (self._seating, self._loader, self._pipeline, self._results, self.stream, self.counters)
        self._admission = Admission(slots, *parts, flush=self._flush)
        self._owns_pool = Event()
        self._thread = Thread(target=self._main, name="engine", daemon=True)

    # --- called from any thread

    def start(self) -> None:
        """Start the device thread, which owns the pool of compute threads.

        Until `stop`, the caller and threads that start later run torch on themselves only
        (`leym.engine.compute_threads`).
        """
        self._thread.start()
        self._owns_pool.wait()
        compute_threads.compute_alone()

    def submit(self, run: Run) -> None:
        """Queue a run."""
        with self._changed:
            self._seating.waiting.add(run)
            self._changed.notify_all()

    def cancel(self, run_id: str) -> None:
        """Evict a run, waiting or running, before its next burst; its sink is not called again.

        Unknown ids are ignored.
        """
        with self._changed:
            self._cancelled.add(run_id)
            self._changed.notify_all()

    def drop(self, run_id: str, places: Places) -> None:
        """Evict members of a run, waiting or running, before the next burst; nothing more of them is delivered."""
        with self._changed:
            self._dropped.append((run_id, places))
            self._changed.notify_all()

    def hold(self, run_id: str, on_held: Callable[[int], None]) -> None:
        """Take a run out of its slots before its next burst, until `resume`; its slot is kept free.

        Args:
            run_id: the run; nothing happens if it is not here any more.
            on_held: called like a sink, after all results up to then, with the step that the run has reached.
        """
        with self._changed:
            self._to_hold[run_id] = on_held
            self._changed.notify_all()

    def resume(self, run_id: str, steering: Steering) -> None:
        """Let a held run go on with another steering, which must not differ before the step at which it was held."""
        with self._changed:
            self._to_resume.append((run_id, steering))
            self._changed.notify_all()

    def drain(self) -> None:
        """Checkpoint every slot, release every run, deliver everything, and end; returns when all of it is done."""
        with self._changed:
            self.draining = True
            self._changed.notify_all()
        self.stop()

    def stop(self) -> None:
        """End the device thread after the burst in progress, and deliver what has been recorded."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._owns_pool.is_set():
            self._thread.join()
            self._owns_pool.clear()
            compute_threads.disown_pool()
        self._results.close()
        self._admission.close()

    def warm(self, law: Bundle, precision: str, grid: tuple[int, int], wait_s: float | None = None) -> None:
        """Load and compile a bucket before its first run; blocks until it is ready.

        Raises:
            TimeoutError: it is not ready after `wait_s` seconds; the work goes on.
        """
        key = BucketKey(law.digest, precision, grid)
        bucket = self._loader.bucket(key, law).result(wait_s)
        with self._changed:
            self.buckets.setdefault(key, bucket)

    def on_device_thread(self, call: Callable[[], T]) -> T:
        """Run `call` on the device thread, between two bursts, and return its result; blocks until then.

        For measurements on a started engine: a second thread that computes on several processors slows the engine down.

        Raises:
            RuntimeError: the engine is not running.
            Exception: whatever `call` raises; the engine goes on.
        """
        with self._changed:
            if self._stopping or not self._thread.is_alive():
                raise RuntimeError("the engine is not running: nothing can be called on its device thread")
            future = self._calls.add(call)
            self._changed.notify_all()
        return future.result()

    def measure_ceilings(self) -> None:
        """Measure what the device can do, half a second of its time, so that `info` can give the share in use."""
        self.counters.ceilings = self.on_device_thread(partial(Ceilings.measure, self.device))

    def attributes(self, run: Run) -> dict[str, Any]:
        """Return how the results of a seated run are computed: equal values give equal bits."""
        return dict(run.computed_by)

    def info(self) -> dict[str, Any]:
        """Return a snapshot for heartbeats and metrics."""
        with self._changed:
            buckets = [bucket.info() for bucket in self.buckets.values()]
            return self.counters.info() | {
                "device": self.device.kind,
                "slots": self.slots,
                "busy": self._seating.seated,
                "members": sum(bucket["busy"] for bucket in buckets),
                "waiting": self._seating.unseated,
                "buckets": buckets,
                "loading": self._loader.loading(),
                "waiting_runs": self._seating.without_slots(),
                "draining": self.draining,
                "degraded": self.law_cache.degraded,
            }

    # --- the engine thread

    def _main(self) -> None:
        compute_threads.own_pool(self.device.threads)
        self._owns_pool.set()
        try:
            self._loop()
            self._flush()
            self._calls.answer()
            if self.draining:
                self._seating.release_all()
        except BaseException as error:
            log.exception("the engine thread died")
            with self._changed:
                self._stopping = True
                self._calls.refuse(f"the engine thread died: {error}")
            if self._on_fatal:
                self._on_fatal(error)
            raise

    def _loop(self) -> None:
        """Run rounds until `stop`: choose a batch, launch a burst of it, settle the bursts that have finished."""
        while not self._stopping:
            self._calls.answer()
            batch = self._schedule()
            if batch:
                self._launch(batch)
            finished = list(self._pipeline.finished() if batch else self._pipeline.flush())
            for burst in finished:
                self._settle(burst)
            self.counters.round_ended(had_work=bool(batch or finished))

    def _schedule(self) -> Batch | None:
        """Let runs leave and join, then return the batch that steps next; without any, wait for a change."""
        with self._changed:
            self._evict()
            self._steer()
            self._admission.park_slow()
            self._admission.admit()
            batch = next_batch(self.buckets.batches())
            if batch or self._pipeline:
                self.counters.idle_since = None
            else:
                self.counters.idle()
                if not self._calls:
                    self._changed.wait(timeout=0.1 if self._loader.is_busy or self._seating.parked else None)
            return batch

    def _launch(self, batch: Batch) -> None:
        """Queue a burst on the device; runs whose last step is in it leave at once, before their results arrive."""
        bucket = self.buckets[batch.key]
        try:
            burst = self._pipeline.launch(batch, batch.burst_length(self.burst_s), bucket.cost, self.checkpoint_s)
        except torch.OutOfMemoryError as error:
            self._out_of_memory(bucket, batch, error)
            return
        with self._changed:
            for result in burst.results:
                if result.final:
                    batch.leave(result.group)
            bucket.compact()

    def _settle(self, burst: InFlightBurst) -> None:
        """Wait for a burst, fail the members that diverged, deliver the results of the others, and charge its batch."""
        for result, last_good in burst.diverged():
            self._fail_diverged(result, last_good)
        seconds = self.stream.seconds(burst.began, burst.ended)
        self.counters.count(burst, seconds, self.stream.seconds(burst.ended, burst.recorded))
        self._results.burst(burst)
        burst.batch.measured(burst.steps, seconds)
        burst.batch.charged_s += (seconds - burst.expected_s) / burst.share

    def _fail_diverged(self, result: Result, last_good: Places) -> None:
        group = result.group
        with self._changed:
            bad = np.isin(group.places, result.places[last_good < result.step])
            failed = group.places[bad]
            self._seating.drop(group, bad)
        last_good = last_good[np.isin(result.places, failed)]
        for step in np.unique(last_good).tolist():
            detail = f"the state is not finite from step {step + 1} on"
            self._results.failed(group.run, step, failed[last_good == step], detail)

    def _flush(self) -> None:
        """Settle every burst in flight."""
        for burst in self._pipeline.flush():
            self._settle(burst)

    def _evict(self) -> None:
        """Take out what was cancelled since the last round."""
        self._admission.evict(self._cancelled)
        self._cancelled.clear()
        for run_id, places in self._dropped:
            self._seating.drop_members(run_id, places)
        self._dropped.clear()

    def _steer(self) -> None:
        """Let runs go on that were held, and take out those that are to be steered next."""
        for run_id, steering in self._to_resume:
            if run := self._seating.let_go(run_id):
                run.steering = steering
        self._to_resume.clear()
        self._admission.hold(self._to_hold)

    # --- memory

    def _out_of_memory(self, bucket: Bucket, lost: Batch, error: torch.OutOfMemoryError) -> None:
        """Go on with smaller batches; the runs of the lost one are stepped again from their last checkpoint."""
        self._flush()
        with self._changed:
            runs = self._seating.evacuate(bucket, lost)
            self._loader.forget(bucket.key)
            freed = self._free_idle()
            if bucket.batch_size > 1 and not freed:
                self._loader.reduce(bucket.key, bucket.batch_size)
            for run in runs:
                self._seating.waiting.drop({run.id})
                if bucket.batch_size > 1 or freed:
                    self._seating.waiting.add(run)
                else:
                    reason = f"{self.device.name} has no memory for one universe: {error}"
                    self._results.failed(run, 0, run.unfinished(), reason)

    def _free_idle(self) -> bool:
        """Remove every idle bucket; return whether there was any."""
        with self._changed:
            return self._admission.remove_idle(len(self.buckets))

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
