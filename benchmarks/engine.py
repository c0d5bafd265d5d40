"""The engine against the eager loop and the machine's own GEMM.

    python -m benchmarks.engine [--quick] [--json]

Per law: cell-steps/s of a full bucket in NF4, the ratio to the eager fp32 batch-1 loop, and achieved FLOP/s over the
GEMM peak, all of one run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from time import perf_counter
from typing import Any

from benchmarks.common import LAWS, Machine, eager_loop, flops_per_cell_step, make_law, rate, table
from leym.engine.engine import Engine
from leym.engine.run import Run
from leym.laws.bundle import Bundle
from leym.spec import ComplexNoise

GRID = (64, 64)


class Countdown:
    """A sink that only says when its run is over."""

    def __init__(self) -> None:
        self.over = Event()

    def ignore(self, *_: Any) -> None: ...

    admitted = frames = progress = checkpoint = released = ignore

    def finished(self, *_: Any) -> None:
        self.over.set()

    def failed(self, step: int, problem: Exception) -> None:
        raise problem


def engine_rate(engine: Engine, law: Bundle, precision: str, seconds: float) -> float:
    """Cell-steps/s with every slot taken by a run of equal length and nothing recorded."""
    engine.warm(law, precision, GRID)
    best = 0.0
    for _ in range(3):
        steps = 8
        while True:
            sinks = [Countdown() for _ in range(engine.slots)]
            began, before = perf_counter(), engine.info()["cell_steps"]
            for i, sink in enumerate(sinks):
                engine.submit(Run(f"{steps}-{i}", law, precision, GRID, steps, 0.01, i, ComplexNoise(), sink))
            for sink in sinks:
                sink.over.wait()
            took = perf_counter() - began
            if took > seconds / 3:
                break
            steps = int(steps * min(8, max(1.5, seconds / 3 / took * 1.2)))
        best = max(best, (engine.info()["cell_steps"] - before) / took)
    return best


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="one second per figure: ends within a minute")
    options.add_argument("--json", action="store_true")
    options.add_argument("--slots", type=int, default=8)
    options.add_argument("--precision", default="nf4")
    chosen = options.parse_args()
    seconds = 1.0 if chosen.quick else 6.0
    machine, results = Machine.measure(), {}
    engine = Engine(chosen.slots)
    engine.start()
    with TemporaryDirectory() as folder:
        for name in LAWS:
            law = make_law(name, Path(folder))
            flops = flops_per_cell_step(law)
            cells = GRID[0] * GRID[1]
            eager = cells * rate(eager_loop(law, GRID), seconds=seconds)
            ours = engine_rate(engine, law, chosen.precision, 2 * seconds)
            results[name] = {
                "cell_steps_per_s": ours,
                "eager_cell_steps_per_s": eager,
                "vs_eager": ours / eager,
                "gflops": ours * flops / 1e9,
                "gemm_share": ours * flops / machine.bf16_gemm,
                "operand_gemm_share": ours * flops / machine.operand_gemm,
            }
    engine.stop()
    if chosen.json:
        print(json.dumps(results | {"machine": machine.as_dict()}))
    else:
        print(f"{machine.as_dict()}\n{chosen.precision}, grid {GRID}, {chosen.slots} slots, nothing recorded\n")
        print(table([{"law": name} | row for name, row in results.items()]))


if __name__ == "__main__":
    main()
