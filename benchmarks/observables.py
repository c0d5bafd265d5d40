"""Measures what observables cost: `python -m benchmarks.observables [--members 16]`.

One engine runs the same members with the observables that a job has by default, with each of the others, and with all.
What it prints is the processor time of the thread that computes them, so set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from benchmarks.common import LAWS, make_law, table
from benchmarks.members import LIMIT_S, members_of
from leym.contract.catalog import DEFAULT_OBSERVABLES, OBSERVABLES
from leym.contract.spec import Observe
from leym.engine import pipeline
from leym.engine.benchmark import Countdown
from leym.engine.engine import Engine
from leym.engine.recorder import record
from leym.engine.run import Run
from leym.laws.bundle import Bundle

GRID, STEPS, EVERY, SLOTS, PRECISION = (64, 64), 40, 10, 16, "nf4"
SPELLS = 3  # the best counts


def processor_s(engine: Engine, law: Bundle, members: int, names: Sequence[str]) -> tuple[float, float]:
    """Run members to their end and return the processor time in seconds of their observables, and of everything."""
    found = []
    for _ in range(SPELLS):
        spent = 0.0

        def timed(*arguments: Any, **more: Any) -> Any:
            nonlocal spent
            begun = time.thread_time()
            answer = record(*arguments, **more)
            spent += time.thread_time() - begun
            return answer

        sink, begun, observe = Countdown(members), time.process_time(), Observe(every=EVERY, names=tuple(names))
        with patch.object(pipeline, "record", timed):
            engine.submit(Run("members", law, PRECISION, GRID, STEPS, members_of(members), sink, (), observe))
            if not sink.over.wait(LIMIT_S):
                raise TimeoutError(f"{members} members have not ended after {LIMIT_S:.0f} s")
        found.append((spent, time.process_time() - begun))
    return min(found)


def rows(name: str, members: int) -> list[dict[str, object]]:
    """Measure one law: per set of observables, ms per member and frame, and the share of the run."""
    others = [one for one in OBSERVABLES if one not in DEFAULT_OBSERVABLES]
    sets = {"by default": DEFAULT_OBSERVABLES} | {one: (one,) for one in others} | {"all": tuple(OBSERVABLES)}
    with TemporaryDirectory() as folder:
        law, engine = make_law(name, Path(folder)), Engine(SLOTS, compile=False)
        engine.start()
        try:
            engine.warm(law, PRECISION, GRID)
            times = {label: processor_s(engine, law, members, names) for label, names in sets.items()}
        finally:
            engine.stop()
    frames = members * (STEPS // EVERY + 1)
    return [
        {"law": name, "observables": label, "core ms per frame": 1e3 * own / frames, "share of the run": own / whole}
        for label, (own, whole) in times.items()
    ]


def main() -> None:
    """Run the benchmark and print its table."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.observables", description=__doc__)
    options.add_argument("--members", type=int, default=16)
    options.add_argument("--laws", nargs="+", choices=list(LAWS), default=["nca"])
    asked = options.parse_args()
    found = [row for name in asked.laws for row in rows(name, asked.members)]
    print(f"{GRID[0]} x {GRID[1]}, {STEPS} steps, observed every {EVERY}, {SLOTS} slots, OMP_NUM_THREADS=", end="")
    print(os.environ.get("OMP_NUM_THREADS", "unset"))
    print(table(found))


if __name__ == "__main__":
    main()
