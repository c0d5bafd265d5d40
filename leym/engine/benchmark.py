"""How fast this machine runs a law, and how far that is from what the machine can do.

    leym bench [LAW] [--precision nf4] [--grid 64 64] [--slots 8] [--seconds 6] [--json]
    leym bench [LAW] --rungs [--keep]              batches of which size; --keep: workers go by it from now on

Every slot is taken by a run of equal length and nothing is recorded. The ceilings are measured before and after, and
the higher counts: a figure is no better for a moment in which the machine was busy with something else.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from string import ascii_uppercase
from threading import Event
from time import perf_counter
from typing import Any

import torch

from leym.common.typed_numbers import real, whole
from leym.contract.problems import Problem
from leym.contract.spec import LIMITS, ComplexNoise
from leym.engine.batch import Batch
from leym.engine.batch_size import Ladder, choose
from leym.engine.bucket import Bucket, LawCache
from leym.engine.device import Device, pick_device
from leym.engine.engine import Engine
from leym.engine.roofline import Ceilings, calls_per_s
from leym.engine.run import BucketKey, Run
from leym.laws.bundle import Bundle

BITS_AFTER = 20  # steps
BURST_CELLS = 2**19  # cell-steps of a timed burst: enough that calling it costs nothing


class Countdown:
    """A sink that only says when its run is over."""

    def __init__(self) -> None:
        self.over = Event()
        self.problem: Problem | None = None

    def ignore(self, *_: Any) -> None: ...

    admitted = frames = progress = checkpoint = released = ignore

    def finished(self, *_: Any) -> None:
        self.over.set()

    def failed(self, step: int, problem: Problem) -> None:
        self.problem = problem
        self.over.set()


def cell_steps_per_s(
    engine: Engine, law: Bundle, precision: str, grid: tuple[int, int], seconds: float, runs: int | None = None
) -> float:
    """The best of three spells of `seconds / 3` with so many runs, or every slot taken.

    Raises Problem when a universe diverges.
    """
    engine.warm(law, precision, grid)
    best, steps = 0.0, 8
    for _ in range(3):
        while True:
            sinks = [Countdown() for _ in range(runs or engine.slots)]
            began, before = perf_counter(), engine.info()["cell_steps"]
            for i, sink in enumerate(sinks):
                engine.submit(Run(f"{steps}-{i}", law, precision, grid, steps, 0.01, i, ComplexNoise(), sink))
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
    """Return the cell-steps/s of a bucket's own step: a full batch on the device thread, with no engine around it.

    The bucket must be warm. The share of it that the engine reaches (`engine_vs_step`) shows what scheduling costs, and
    any loss by accident, such as a second pool of threads.
    """
    bucket = engine.buckets[BucketKey(law.digest, precision, grid)]

    @torch.no_grad()
    def measure() -> float:
        batch = Batch(bucket.law, bucket.key, bucket.rung)
        _fill(batch, law)
        return _speed(batch, engine.device, seconds)

    return engine.on_device_thread(measure)


def _fill(batch: Batch, law: Bundle) -> None:
    """Seat a run that never ends in every slot."""
    for i in range(batch.rung):
        run = Run(str(i), law, batch.key.precision, batch.grid, 10**9, 0.01, i, ComplexNoise(), Countdown())
        batch.admit(run)


def _speed(batch: Batch, device: Device, seconds: float) -> float:
    """Return cell-steps/s, the best of three spells of `seconds / 3`."""
    cells = batch.rung * batch.grid[0] * batch.grid[1]
    burst = max(1, min(8, BURST_CELLS // cells))
    return calls_per_s(partial(batch.bursts.advance, burst), device, seconds, warm=1) * burst * cells


def bench(law: Bundle, precision: str, grid: tuple[int, int], slots: int, seconds: float) -> dict[str, Any]:
    """Cell-steps/s of a law on this machine, beside the ceilings measured around it."""
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
        "rung": bucket.rung,
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
class Rung:
    """Full batches of so many slots. bits: of one universe after BITS_AFTER steps in such a batch; equal letters, equal
    bits."""

    slots: int
    bits: str
    cell_steps_per_s: float = 0.0


@torch.no_grad()
def rungs(law: Bundle, precision: str, grid: tuple[int, int], slots: int, seconds: float) -> list[Rung]:
    """Every power of two up to `slots`; speeds are the best of three rounds over all of them."""
    device = pick_device()
    law_cache, key = LawCache(device, compile=True), BucketKey(law.digest, precision, grid)
    batches, letters, found = [], dict[bytes, str](), []
    for rung in (2**i for i in range(slots.bit_length())):
        bucket = Bucket(key, law_cache.resident(law, precision), rung)
        bucket.warm()
        [batch] = bucket.batches
        _fill(batch, law)
        batch.bursts.advance(BITS_AFTER)
        digest = sha256(batch.state[0].contiguous().cpu().numpy().tobytes()).digest()
        letters.setdefault(digest, ascii_uppercase[len(letters)])
        batches.append(batch)
        found.append(Rung(rung, letters[digest]))
    for _ in range(3):
        for one, batch in zip(found, batches, strict=True):
            one.cell_steps_per_s = max(one.cell_steps_per_s, _speed(batch, device, seconds / len(found) / 3))
    return found


def show_rungs(found: list[Rung], chosen: int) -> None:
    print(f"{'rung':>6} {'cell-steps/s':>16}  bits")
    for one in found:
        print(
            f"{one.slots:>6} {one.cell_steps_per_s:>16,.0f}  {one.bits}{'     chosen' if one.slots == chosen else ''}"
        )


def show(found: dict[str, Any]) -> None:
    height, width = found["grid"]
    ceilings = found["ceilings"]
    print(f"{found['law'][:40]} {found['precision']}, {height}x{width}, {found['slots']} slots, rung {found['rung']}")
    print(f"{found['device']}; kernel: {found['kernel']}")
    print(f"{found['cell_steps_per_s']:>16,.0f} cell-steps/s  {found['engine_vs_step']:6.1%} of the step alone")
    print(f"{found['gflops']:>16,.1f} GFLOP/s  {found['compute_share']:6.1%} of a matrix product's")
    print(f"{found['gbytes_per_s']:>16,.2f} GB/s     {found['memory_share']:6.1%} of a copy's, of bytes that must move")
    print("ceilings: " + ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in ceilings.items()))
    for reason in found["degraded"]:
        print(f"degraded: {reason}")


def main() -> None:
    # here, because benchmarks of the step alone run on a bare GPU box, which lacks what settings are read by
    from leym.laws.registry import default_registry, resolve_precision
    from leym.settings import settings

    options = argparse.ArgumentParser(prog="leym bench", description="How fast this machine runs a law.")
    options.add_argument("law", nargs="?", default="aurora", help="name or name@digest [aurora]")
    options.add_argument("--precision", choices=("nf4", "int8", "bf16", "fp32", "auto"), default="nf4")
    options.add_argument("--grid", type=whole(*LIMITS.side), nargs=2, metavar=("H", "W"), default=(64, 64))
    options.add_argument("--slots", type=whole(1, 4096), default=8)
    options.add_argument("--seconds", type=real(0.01, 3600), default=6.0)
    options.add_argument("--json", action="store_true")
    options.add_argument("--rungs", action="store_true", help="measure full batches of 1, 2, 4, ... slots")
    options.add_argument("--keep", action="store_true", help="with --rungs: workers of this kind go by what was found")
    chosen = options.parse_args()
    try:
        law = default_registry().resolve(chosen.law)
        precision = resolve_precision(law, chosen.precision)
        if chosen.rungs:
            rows = rungs(law, precision, tuple(chosen.grid), chosen.slots, chosen.seconds)
            rung = choose({one.slots: one.cell_steps_per_s for one in rows})
            if chosen.json:
                print(json.dumps({"rung": rung, "rungs": [asdict(one) for one in rows]}))
            else:
                show_rungs(rows, rung)
            if chosen.keep:
                Ladder(pick_device(), settings().ladder).keep(law.manifest, precision, tuple(chosen.grid), rung)
            return
        found = bench(law, precision, tuple(chosen.grid), chosen.slots, chosen.seconds)
    except Problem as problem:
        sys.exit(f"leym: {problem.detail}")
    print(json.dumps(found)) if chosen.json else show(found)


if __name__ == "__main__":
    main()
