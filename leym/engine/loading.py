"""Buckets made ready beside the engine thread: laws decoded and compiled, one at a time, while others step."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread

import torch

from leym.engine.batch_size import Ladder
from leym.engine.bucket import Bucket, LawCache
from leym.engine.compute_threads import compute_alone
from leym.engine.run import BucketKey
from leym.laws.bundle import Bundle

log = logging.getLogger(__name__)


class BucketLoader:
    """`on_ready` is called, from another thread, when any bucket is ready or cannot be made so; `make_room` when there
    is no memory, and says whether it freed any."""

    def __init__(
        self,
        law_cache: LawCache,
        ladder: Ladder,
        slots: int,
        on_ready: Callable[[], None],
        make_room: Callable[[], bool] = lambda: False,
    ):
        self._law_cache, self._ladder, self._slots = law_cache, ladder, slots
        self._on_ready, self._make_room = on_ready, make_room
        self._futures: dict[BucketKey, Future[Bucket]] = {}
        self._rungs: dict[BucketKey, int] = {}
        self._lock, self._one_at_a_time = Lock(), Lock()

    def bucket(self, key: BucketKey, law: Bundle) -> Future[Bucket]:
        """The bucket, made at the first call."""
        with self._lock:
            if key not in self._futures:
                future = self._futures[key] = Future()
                # a daemon, so that a worker told to stop need not wait for a compiler
                Thread(target=self._make, args=(key, law, future), name="warmer", daemon=True).start()
            return self._futures[key]

    def forget(self, key: BucketKey) -> None:
        with self._lock:
            del self._futures[key]

    def __bool__(self) -> bool:
        """Whether any is under way."""
        return any(not future.done() for future in self._futures.copy().values())

    def _make(self, key: BucketKey, law: Bundle, future: Future[Bucket]) -> None:
        compute_alone()
        try:
            with self._one_at_a_time, torch.no_grad():
                bucket = self._made(key, law)
        except Exception as error:
            log.exception("bucket %s could not be made ready", key)
            future.set_exception(error)
        else:
            future.set_result(bucket)
        self._on_ready()

    def step_down(self, key: BucketKey, rung: int) -> None:
        """The bucket is made anew when it is next wanted, with batches of fewer than `rung` slots."""
        reason = f"{key.precision} {key.grid[0]}x{key.grid[1]}: no memory for batches of {rung}; now of {rung // 2}"
        log.error("degraded: %s", reason)
        self._law_cache.degraded.append(reason)
        self._rungs[key] = rung // 2

    def _made(self, key: BucketKey, law: Bundle) -> Bucket:
        while True:
            rung = self._rungs.get(key) or self._ladder.rung(law.manifest, key.precision, key.grid, self._slots)
            try:
                bucket = Bucket(key, self._law_cache.resident(law, key.precision), rung)
                bucket.warm()
                return bucket
            except torch.OutOfMemoryError:
                if self._make_room():
                    continue
                if rung == 1:
                    raise
                self.step_down(key, rung)
