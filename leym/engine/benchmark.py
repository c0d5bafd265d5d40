"""Measures how fast this machine runs a law, and how far that is from what the machine can do (`leym bench`).

Every slot runs a universe of the same length and nothing is recorded. The ceilings are measured before and after, and
the higher one counts, so that a share does not look better because the machine was busy with something else meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from string import ascii_uppercase
from threading import Event
from time import perf_counter
from typing import Any

import torch

from leym.contract.problems import Problem
from leym.contract.spec import ComplexNoise
from leym.engine.batch import Batch
from leym.engine.bucket import Bucket
from leym.engine.device import Device, pick_device
from leym.engine.engine import Engine
from leym.engine.loading import LawCache
from leym.engine.roofline import Ceilings, calls_per_s
from leym.engine.run import BucketKey, Run
from leym.engine.states import GroupState, Places
from leym.laws.bundle import Bundle

BITS_AFTER = 20  # steps
BURST_CELLS = 2**19  # cell-steps of a timed burst: so many that the call itself does not count


class Countdown:
    """A sink that ignores results and sets `over` when every member of its run has ended."""

    def __init__(self, members: int = 1) -> None:
        self.over = Event()
        self.problem: Problem | None = None
        self._left = members

    def ignore(self, *_: Any) -> None:
        """Ignore a result."""

    admitted = frames = progress = checkpoint = released = ignore

    def finished(self, state: GroupState) -> None:
        """Count members that have ended."""
        self._count(len(state.places))

    def failed(self, step: int, places: Places, problem: Problem) -> None:
        """Count members that have ended, and keep the problem."""
        self.problem = problem
        self._count(len(places))

    def _count(self, members: int) -> None:
        self._left -= members
        if self._left <= 0:
            self.over.set()


def cell_steps_per_s(
    engine: Engine, law: Bundle, precision: str, grid: tuple[int, int], seconds: float, runs: int | None = None
) -> float:
    """Measure the engine's speed: the best of three measurements of `seconds / 3` each.

    Args:
        engine: a started engine.
        law: the law that all universes run.
        precision: precision of its weights.
        grid: (H, W) in cells.
        seconds: time for all three measurements, about.
        runs: universes at once; default: one per slot.

    Raises:
        Problem: a universe diverges.
    """
    engine.warm(law, precision, grid)
    best, steps = 0.0, 8
    for _ in range(3):
        while True:
            sinks = [Countdown() for _ in range(runs or engine.slots)]
            began, before = perf_counter(), engine.info()["cell_steps"]
            for i, sink in enumerate(sinks):
                engine.submit(Run.one(f"{steps}-{i}", law, precision, grid, steps, 0.01, i, ComplexNoise(), sink))
            for sink in sinks:
                sink.over.wait()
                if sink.problem:
                    raise sink.problem
            took = perf_counter() - began
            if took > seconds / 3:
                break
            steps = int(steps * min(8, max(1.5, seconds / 3 / took * 1.2)))
        best = max(best, (engine.info()["cell_steps"] - before) / took)
    return best


def step_alone(engine: Engine, law: Bundle, precision: str, grid: tuple[int, int], seconds: float) -> float:
    """Measure the speed of a bucket's step in cell-steps/s: a full batch on the device thread, without the engine.

    The bucket must be warm. `engine_vs_step`, the share of this speed that the engine reaches, shows the cost of
    scheduling and any accidental loss, such as a second pool of threads.
    """
    bucket = engine.buckets[BucketKey(law.digest, precision, grid)]

    @torch.no_grad()
    def measure() -> float:
        batch = Batch(bucket.law, bucket.key, bucket.batch_size)
        _fill(batch, law)
        return _speed(batch, engine.device, seconds)

    return engine.on_device_thread(measure)


def _fill(batch: Batch, law: Bundle) -> None:
    """Admit a run that never ends to every slot."""
    for i in range(batch.size):
        run = Run.one(str(i), law, batch.key.precision, batch.grid, 10**9, 0.01, i, ComplexNoise(), Countdown())
        batch.admit(run)


def _speed(batch: Batch, device: Device, seconds: float) -> float:
    """Return cell-steps/s, the best of three measurements of `seconds / 3` each."""
    cells = batch.size * batch.grid[0] * batch.grid[1]
    burst = max(1, min(8, BURST_CELLS // cells))
    return calls_per_s(partial(batch.runner.run, burst), device, seconds, warm=1) * burst * cells


def bench(law: Bundle, precision: str, grid: tuple[int, int], slots: int, seconds: float) -> dict[str, Any]:
    """Measure the speed of a law on this machine and the ceilings of the machine, as one JSON object."""
    engine = Engine(slots)
    engine.start()
    try:
        measure = partial(engine.on_device_thread, partial(Ceilings.measure, engine.device))
        before = measure()
        rate = cell_steps_per_s(engine, law, precision, grid, seconds)
        step = step_alone(engine, law, precision, grid, seconds / 2)
        ceilings = before.higher(measure())
        bucket = engine.buckets[BucketKey(law.digest, precision, grid)]
    finally:
        engine.stop()
    flops, moved = rate * bucket.cost.flops, rate * bucket.cost.bytes
    return {
        "law": law.ref,
        "precision": precision,
        "grid": list(grid),
        "slots": slots,
        "batch_size": bucket.batch_size,
        "kernel": bucket.law.kernel,
        "device": engine.device.kind,
        "cell_steps_per_s": rate,
        "engine_vs_step": rate / step,
        "gflops": flops / 1e9,
        "gbytes_per_s": moved / 1e9,
        "compute_share": flops / ceilings.of(bucket.law.operands),
        "memory_share": moved / ceilings.bytes_per_s,
        "ceilings": ceilings.as_dict(),
        "degraded": engine.law_cache.degraded,
    }


@dataclass
class MeasuredSize:
    """The speed and the bits of full batches of one size.

    Attributes:
        slots: universes in a batch.
        bits: a letter for the bits of one universe after BITS_AFTER steps in such a batch; equal letters, equal bits.
        cell_steps_per_s: the best speed measured.
    """

    slots: int
    bits: str
    cell_steps_per_s: float = 0.0


@torch.no_grad()
def measure_batch_sizes(
    law: Bundle, precision: str, grid: tuple[int, int], slots: int, seconds: float
) -> list[MeasuredSize]:
    """Measure every power of two up to `slots`; a speed is the best of three rounds over all sizes."""
    device = pick_device()
    law_cache, key = LawCache(device, compile=True), BucketKey(law.digest, precision, grid)
    batches, letters, found = [], dict[bytes, str](), []
    for batch_size in (2**i for i in range(slots.bit_length())):
        bucket = Bucket(key, law_cache.resident(law, precision), batch_size)
        bucket.warm()
        [batch] = bucket.batches
        _fill(batch, law)
        batch.runner.run(BITS_AFTER)
        digest = sha256(batch.state[0].contiguous().cpu().numpy().tobytes()).digest()
        letters.setdefault(digest, ascii_uppercase[len(letters)])
        batches.append(batch)
        found.append(MeasuredSize(batch_size, letters[digest]))
    for _ in range(3):
        for one, batch in zip(found, batches, strict=True):
            one.cell_steps_per_s = max(one.cell_steps_per_s, _speed(batch, device, seconds / len(found) / 3))
    return found
