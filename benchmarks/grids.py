"""Every law on every grid at every batch: cell-steps/s of full batches, and their share of the machine.

    python -m benchmarks.grids [--quick] [--json] [--precision nf4]

The step alone, in bursts, nothing recorded; the best of three rounds over all batches of a law and grid, so that a
moment in which the machine was busy hits none of them alone. Beside it the eager float32 loop at batch 1 on the grid.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.common import LAWS, Machine, cost_per_cell_step, eager_loop, make_law, rate, table
from leym.engine.benchmark import measure_batch_sizes
from leym.engine.device import pick_device
from leym.laws.bundle import Bundle

SIDES, BATCHES = (64, 128, 256, 512), (1, 2, 4, 8)
MOST_CELLS = 512 * 512 * 4


def of_law(
    law: Bundle, precision: str, sides: tuple[int, ...], seconds: float, machine: Machine
) -> list[dict[str, Any]]:
    rows = []
    for side in sides:
        grid, slots = (side, side), min(BATCHES[-1], MOST_CELLS // side**2)
        eager = side**2 * rate(eager_loop(law, grid), seconds=seconds)
        for found in measure_batch_sizes(law, precision, grid, slots, seconds * slots.bit_length()):
            speed, cost = found.cell_steps_per_s, cost_per_cell_step(law, grid, found.slots)
            row = {"law": law.name, "grid": side, "batch": found.slots, "cell_steps_per_s": speed}
            rows.append(row | {"vs_eager": speed / eager} | machine.roofline(speed, cost) | {"bits": found.bits})
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="64x64 and 128x128, half a second each")
    options.add_argument("--json", action="store_true")
    options.add_argument("--precision", default="nf4")
    chosen = options.parse_args()
    sides, seconds = (SIDES[:2], 0.5) if chosen.quick else (SIDES, 1.0)
    machine, rows = Machine.measure(), []
    with TemporaryDirectory() as folder:
        for name in LAWS:
            rows += of_law(make_law(name, Path(folder)), chosen.precision, sides, seconds, machine)
    if chosen.json:
        print(json.dumps({"rows": rows, "machine": machine.as_dict()}))
        return
    print(f"{machine.as_dict()}\n{chosen.precision}, {pick_device().kind}\n")
    print(table(rows))


if __name__ == "__main__":
    main()
