"""A bucket: the runs of one law, precision and grid, in as many batches of one rung as their number needs."""

from __future__ import annotations

import logging
from typing import Any

import torch

from leym.engine.batch import Batch
from leym.engine.device import Device
from leym.engine.roofline import cost_of
from leym.engine.run import BucketKey
from leym.engine.step.compiled import CompiledSteps
from leym.engine.step.cuda_graphs import capture_of
from leym.engine.step.resident_law import ResidentLaw
from leym.laws.bundle import Bundle
from leym.laws.loading import load_weights
from leym.quantization.quantized_law import QuantizedLaw, quantize_law

log = logging.getLogger(__name__)


class Bucket:
    """The batches of one bucket. They grow with the runs and shrink by compaction; all have the same rung."""

    def __init__(self, key: BucketKey, law: ResidentLaw, rung: int):
        self.key, self.law, self.rung = key, law, rung
        self.batches: list[Batch] = []
        self.full = False  # there was no memory for one batch more
        self.cost = cost_of(law.network, law.bundle.manifest, key.grid, self.rung)

    @property
    def busy(self) -> int:
        return sum(len(batch.active) for batch in self.batches)

    def warm(self) -> None:
        """Compile the step for this shape.

        Without a compiler the law runs eagerly, which is said in the log, in info and in results. Raises
        torch.OutOfMemoryError.
        """
        batch = Batch(self.law, self.key, self.rung)
        try:
            batch.warm()
        except torch._inductor.exc.InductorError as error:
            self.law.run_eagerly(f"{self.law.bundle.ref} {self.key.precision}: no compiled step: {error}")
            batch = Batch(self.law, self.key, self.rung)
        batch.advance(1)
        self.batches.append(batch)

    def roomiest(self) -> Batch | None:
        """A batch with a free slot: the fullest of them, so that few batches run; a new one when all are full, or None
        when there is no memory for it."""
        open_batches = [batch for batch in self.batches if batch.free]
        if open_batches:
            return min(open_batches, key=lambda batch: batch.free)
        if self.full:
            return None
        try:
            batch = Batch(self.law, self.key, self.rung)
            batch.bursts.capture()
        except torch.OutOfMemoryError as error:
            log.warning("%s: %d batches are as many as fit: %s", self.law.bundle.ref, len(self.batches), error)
            self.full = True
            return None
        self.batches.append(batch)
        return batch

    def compact(self) -> None:
        """Empty the least full batch into the others when its runs fit there: fewer calls for the same universes."""
        working = sorted((b for b in self.batches if b.active), key=lambda b: len(b.active))
        if len(working) < 2:
            return
        least, others = working[0], working[1:]
        if len(least.active) <= sum(b.free for b in others):
            for slot in least.active:
                least.move(slot, next(b for b in others if b.free))

    def info(self) -> dict[str, Any]:
        return {
            "law": self.law.bundle.ref,
            "precision": self.key.precision,
            "grid": list(self.key.grid),
            "rung": self.rung,
            "slots": self.rung * len(self.batches),
            "full": self.full,
            "busy": self.busy,
            "compiled": self.law.compiled,
            "kernel": self.law.kernel,
            "bytes_at_rest": self.law.bytes_at_rest,
            "bytes_resident": self.law.bytes_resident,
        }


KEPT = 32  # encoded laws at hand; a bucket holds on to its own anyway


class LawCache:
    """Laws resident on the device, by digest and precision: decoded once, shared by their buckets."""

    def __init__(self, device: Device, *, compile: bool):
        self.device = device
        self._compiled = CompiledSteps(device.threads) if compile else None
        self._capture = capture_of(device) if compile else None
        self._quantized: dict[tuple[str, str], QuantizedLaw] = {}
        self.degraded: list[str] = []

    def resident(self, bundle: Bundle, precision: str) -> ResidentLaw:
        """The law ready to step. Each bucket has weights of its own; encoded ones and compiled steps are shared."""
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
