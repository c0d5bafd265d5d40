"""Decides which runs get slots, and which leave them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic

from leym.engine import compute_threads
from leym.engine.batch import Batch, Group
from leym.engine.counters import EngineCounters
from leym.engine.delivery import ResultDispatcher
from leym.engine.device_stream import DeviceStream
from leym.engine.loading import BucketLoader
from leym.engine.pipeline import BurstPipeline
from leym.engine.run import Run
from leym.engine.scheduler import makes_room
from leym.engine.seating import Seating

RESIDENT = 16  # buckets kept ready on the device


class Admission:
    """Runs join and leave. For the engine's thread, which holds the engine's lock.

    Args:
        slots: runs that have slots at once.
        seating: the runs.
        loader: makes buckets ready.
        pipeline: bursts in flight.
        results: delivers to sinks.
        stream: the device's stream.
        counters: counts swaps.
        flush: settles every burst in flight.
    """

    def __init__(
        self,
        slots: int,
        seating: Seating,
        loader: BucketLoader,
        pipeline: BurstPipeline,
        results: ResultDispatcher,
        stream: DeviceStream,
        counters: EngineCounters,
        flush: Callable[[], None],
    ):
        self._slots, self._seating, self._loader, self._pipeline = slots, seating, loader, pipeline
        self._results, self._stream, self._counters, self._flush = results, stream, counters, flush
        self._buckets = seating.buckets
        threads = max(1, (os.cpu_count() or 1) // 2)
        self._drawing = ThreadPoolExecutor(threads, "start-states", initializer=compute_threads.compute_alone)

    def close(self) -> None:
        """End the threads that draw start states."""
        self._drawing.shutdown(cancel_futures=True)

    def admit(self) -> None:
        """Seat members of waiting runs, the most urgent first, in buckets that are ready; start making the others."""
        free, full, now = self._slots - self._seating.seated - len(self._seating.held), False, monotonic()
        new: dict[Batch, list[Group]] = {}
        seated: list[tuple[Run, int]] = []
        for entry in self._seating.waiting.ordered(now):
            run = entry.run
            future = self._loader.bucket(run.bucket, run.law)
            if not future.done():
                continue
            if error := future.exception():
                self._seating.waiting.drop({run.id})
                self._loader.forget(run.bucket)
                self._results.failed(run, 0, run.unfinished(), f"the law could not be made ready: {error}")
                continue
            if free == 0 and not run.in_slots:
                full = full or not makes_room(self._buckets.batches(), run)
                if full:
                    continue
                self._swap_out_for(run)
                free = self._slots - self._seating.seated - len(self._seating.held)
            bucket = self._buckets.use(future.result())
            if not (free or run.in_slots) or not (batch := bucket.batch_with_room(run)):
                continue
            free -= not run.in_slots
            group = self._seating.seat(run, bucket, batch, entry.level(now))
            seated.append((run, bucket.batch_size))
            if not run.left:
                self._seating.waiting.drop({run.id})
            if group.step == 0:
                new.setdefault(batch, []).append(group)
            self.remove_idle(len(self._buckets) - RESIDENT)
        for batch, groups in new.items():
            for group, recorded in self._pipeline.record_start(batch, groups):
                self._results.frames(group.run, 0, group.places, recorded)
        for run, batch_size in seated:  # not before: it would take a processor from what is recorded
            run.draw_ahead(batch_size, self._drawing)

    def _swap_out_for(self, run: Run) -> None:
        """Take the slots of a less urgent run, which waits again."""
        self._flush()  # so that nothing of that run is in flight
        if found := makes_room(self._buckets.batches(), run):
            self._seating.vacate_run(found)
            self._seating.waiting.drop({found.id})
            self._seating.waiting.add(found)
            self._counters.swapped_out += 1

    def park_slow(self) -> None:
        """Take the slots of runs whose sinks are behind, and let those that have caught up wait for one again."""
        if self._results.behind:
            self._flush()
            self._counters.parked += self._seating.park(set(self._results.behind))
        self._seating.unpark()

    def hold(self, requests: dict[str, Callable[[int], None]]) -> None:
        """Take runs out that are to be steered, and tell the step that each has reached; the others are not here.

        Requests for runs that are held already stay.
        """
        wanted = requests.keys() - self._seating.held.keys()
        if wanted:
            self._flush()  # so that nothing of them is in flight
        for run_id in sorted(wanted):
            on_held = requests.pop(run_id)
            if run := self._seating.hold(run_id):
                step = max((state.step for state in run.resumed), default=0)
                self._results.post(run_id, partial(on_held, step))

    def evict(self, run_ids: set[str]) -> None:
        """Take runs out of slots and queues; nothing more of them is delivered."""
        if run_ids:
            self._pipeline.close(run_ids)
            self._seating.remove(run_ids)
            for run_id in run_ids:
                self._results.drop(run_id)

    def remove_idle(self, most: int) -> bool:
        """Remove up to `most` idle buckets, the least recently used first; return whether there was any."""
        removed = self._buckets.remove_idle(most)
        for key in removed:
            self._loader.forget(key)
        if removed:
            self._stream.free()
        return bool(removed)
