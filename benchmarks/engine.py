"""The engine against the eager loop and the machine's own GEMM.

    python -m benchmarks.engine [--quick] [--json]

Per law: cell-steps/s of a full bucket in NF4, its ratio to the eager fp32 batch-1 loop and that of one job in an else
empty bucket, and achieved FLOP/s and bytes/s beside those of a matrix product and a copy, all of one run.
`engine_vs_step` is the engine over its own step: the same batch size on the same thread, with nothing around it.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.common import LAWS, Machine, eager_loop, make_law, rate, table
from leym.engine.benchmark import cell_steps_per_s, step_alone
from leym.engine.engine import Engine
from leym.engine.run import BucketKey

GRID = (64, 64)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="one second per figure: ends within a minute")
    options.add_argument("--json", action="store_true")
    options.add_argument("--slots", type=int, default=8)
    options.add_argument("--precision", default="nf4")
    chosen = options.parse_args()
    seconds = 1.0 if chosen.quick else 6.0
    engine, results = Engine(chosen.slots), {}
    engine.start()
    machine = engine.on_device_thread(Machine.measure)
    with TemporaryDirectory() as folder:
        for name in LAWS:
            law = make_law(name, Path(folder))
            cells = GRID[0] * GRID[1]
            eager = cells * engine.on_device_thread(partial(rate, eager_loop(law, GRID), seconds=seconds))
            ours = cell_steps_per_s(engine, law, chosen.precision, GRID, 2 * seconds)
            step = step_alone(engine, law, chosen.precision, GRID, seconds)
            alone = cell_steps_per_s(engine, law, chosen.precision, GRID, seconds, runs=1)
            figures = {"cell_steps_per_s": ours, "eager_cell_steps_per_s": eager, "vs_eager": ours / eager}
            figures |= {"one_job_vs_eager": alone / eager, "engine_vs_step": ours / step}
            bucket = engine.buckets[BucketKey(law.digest, chosen.precision, GRID)]
            results[name] = figures | machine.roofline(ours, bucket.cost)
    engine.stop()
    if chosen.json:
        print(json.dumps(results | {"machine": machine.as_dict()}))
    else:
        print(f"{machine.as_dict()}\n{chosen.precision}, grid {GRID}, {chosen.slots} slots, nothing recorded\n")
        print(table([{"law": name} | row for name, row in results.items()]))


if __name__ == "__main__":
    main()
