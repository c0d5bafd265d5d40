"""Makes buckets ready in a thread of their own: laws are decoded and compiled, one at a time, while others step."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from threading import Lock, Thread
from typing import Any

import torch

from leym.engine.batch_size import BatchSizeTable
from leym.engine.bucket import Bucket
from leym.engine.compute_threads import compute_alone
from leym.engine.device import Device
from leym.engine.run import BucketKey
from leym.engine.step.compiled import CompiledSteps
from leym.engine.step.cuda_graphs import capture_of
from leym.engine.step.resident_law import ResidentLaw
from leym.laws.bundle import Bundle
from leym.laws.loading import load_weights
from leym.quantization.quantized_law import QuantizedLaw, quantize_law

log = logging.getLogger(__name__)

KEPT = 32  # quantised laws in the cache; a bucket keeps its own in any case


class LawCache:
    """Quantised laws and compiled steps, shared by the buckets of a device.

    Attributes:
        degraded: what runs slower than it should and why, one sentence each.
    """

    def __init__(self, device: Device, *, compile: bool):
        self.device = device
        self._compiled = CompiledSteps(device.threads) if compile else None
        self._capture = capture_of(device) if compile else None
        self._quantized: dict[tuple[str, str], QuantizedLaw] = {}
        self.degraded: list[str] = []

    def resident(self, bundle: Bundle, precision: str) -> ResidentLaw:
        """Load a law onto the device, with decoded weights of its own."""
        key = (bundle.digest, precision)
        if key not in self._quantized:
            self._quantized[key] = quantize_law(bundle, load_weights(bundle), precision, self.device.operands)
        self._quantized[key] = self._quantized.pop(key)  # last in the order of use
        for old in list(self._quantized)[: max(0, len(self._quantized) - KEPT)]:
            del self._quantized[old]
        return ResidentLaw(
            self._quantized[key],
            self.device,
            compiled=self._compiled,
            capture=self._capture,
            on_degraded=self.degraded.append,
        )


class BucketLoader:
    """Makes buckets on demand.

    Args:
        law_cache: loads the laws.
        batch_sizes: chooses the batch size of a bucket.
        largest_batch: most slots of a batch.
        on_ready: called from the loading thread when a bucket is ready or has failed.
        make_room: called when the device is full; returns whether it freed memory.
    """

    def __init__(
        self,
        law_cache: LawCache,
        batch_sizes: BatchSizeTable,
        largest_batch: int,
        on_ready: Callable[[], None],
        make_room: Callable[[], bool] = lambda: False,
    ):
        self._law_cache, self._batch_sizes, self._largest_batch = law_cache, batch_sizes, largest_batch
        self._on_ready, self._make_room = on_ready, make_room
        self._futures: dict[BucketKey, Future[Bucket]] = {}
        self._reduced: dict[BucketKey, int] = {}  # batch sizes for which there was memory
        self._lock, self._one_at_a_time = Lock(), Lock()

    def bucket(self, key: BucketKey, law: Bundle) -> Future[Bucket]:
        """Return the bucket, whose making starts at the first call."""
        with self._lock:
            if key not in self._futures:
                future = self._futures[key] = Future()
                # a daemon, so that a worker that must stop need not wait for a compiler
                Thread(target=self._make, args=(key, law, future), name="loader", daemon=True).start()
            return self._futures[key]

    def forget(self, key: BucketKey) -> None:
        """Drop a bucket: the next call makes it anew."""
        with self._lock:
            del self._futures[key]

    @property
    def is_busy(self) -> bool:
        """True while a bucket is being made."""
        return bool(self.loading())

    def loading(self) -> list[dict[str, Any]]:
        """Return the buckets that are being made: law (digest), precision and grid."""
        return [asdict(key) for key, future in self._futures.copy().items() if not future.done()]

    def reduce(self, key: BucketKey, batch_size: int) -> None:
        """Make the bucket, when it is next asked for, with batches of half this size."""
        bucket = f"{key.precision} {key.grid[0]}x{key.grid[1]}"
        reason = f"{bucket}: no memory for batches of {batch_size}; now of {batch_size // 2}"
        log.error("degraded: %s", reason)
        self._law_cache.degraded.append(reason)
        self._reduced[key] = batch_size // 2

    def _make(self, key: BucketKey, law: Bundle, future: Future[Bucket]) -> None:
        compute_alone()
        try:
            with self._one_at_a_time, torch.no_grad():
                bucket = self._load(key, law)
        except Exception as error:
            log.exception("bucket %s could not be made ready", key)
            future.set_exception(error)
        else:
            future.set_result(bucket)
        self._on_ready()

    def _load(self, key: BucketKey, law: Bundle) -> Bucket:
        while True:
            resident = self._law_cache.resident(law, key.precision)
            chosen = self._batch_sizes.batch_size(
                law.manifest, key.precision, key.grid, self._largest_batch, skips_empty=resident.kernel == "fused"
            )
            batch_size = self._reduced.get(key) or chosen
            try:
                bucket = Bucket(key, resident, batch_size)
                bucket.warm()
                return bucket
            except torch.OutOfMemoryError:
                if self._make_room():
                    continue
                if batch_size == 1:
                    raise
                self.reduce(key, batch_size)
