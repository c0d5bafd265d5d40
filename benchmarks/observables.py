"""Measures what observables cost: `python -m benchmarks.observables [--members 16]`.

One engine on one thread runs the same members without observables, with those that a job has by default, with each of
the others, and with all. What it prints is processor time, so a busy machine changes little.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.common import LAWS, make_law, table
from benchmarks.members import LIMIT_S, members_of
from leym.contract.catalog import DEFAULT_OBSERVABLES, OBSERVABLES
from leym.contract.spec import Observe
from leym.engine.benchmark import Countdown
from leym.engine.engine import Engine
from leym.engine.run import Run
from leym.laws.bundle import Bundle

GRID, STEPS, EVERY, SLOTS, PRECISION = (64, 64), 40, 10, 16, "nf4"
SPELLS = 3  # the best counts


def processor_s(engine: Engine, law: Bundle, members: int, names: Sequence[str]) -> float:
    """Run members to their end and return the processor time of the process in seconds."""
    found = []
    for _ in range(SPELLS):
        sink, begun = Countdown(members), time.process_time()
        observe = Observe(every=EVERY, names=tuple(names)) if names else None
        engine.submit(Run("members", law, PRECISION, GRID, STEPS, members_of(members), sink, (), observe))
        if not sink.over.wait(LIMIT_S):
            raise TimeoutError(f"{members} members have not ended after {LIMIT_S:.0f} s")
        found.append(time.process_time() - begun)
    return min(found)


def rows(name: str, members: int) -> list[dict[str, object]]:
    """Measure one law: per set of observables, ms per member and frame, and the share of a run that observes."""
    frames = members * (STEPS // EVERY + 1)
    others = [one for one in OBSERVABLES if one not in DEFAULT_OBSERVABLES]
    sets = {"by default": DEFAULT_OBSERVABLES} | {one: (one,) for one in others} | {"all": tuple(OBSERVABLES)}
    with TemporaryDirectory() as folder:
        law, engine = make_law(name, Path(folder)), Engine(SLOTS, compile=False)
        engine.start()
        try:
            engine.warm(law, PRECISION, GRID)
            alone = processor_s(engine, law, members, ())
            spent = {label: processor_s(engine, law, members, names) - alone for label, names in sets.items()}
        finally:
            engine.stop()
    return [
        {"law": name, "observables": label, "core ms per frame": 1e3 * s / frames, "share of the run": s / (alone + s)}
        for label, s in spent.items()
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
