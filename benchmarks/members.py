"""Runs of many members in an engine without a service: its speed over its step, and the host's time per burst."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter, sleep
from typing import Any

import numpy as np

from benchmarks.common import make_law
from leym.contract.spec import ComplexNoise, Recording
from leym.engine.batch_size import BatchSizeTable
from leym.engine.benchmark import Countdown, step_alone
from leym.engine.device import pick_device
from leym.engine.engine import Engine
from leym.engine.run import Members, Run
from leym.laws.bundle import Bundle

NCA_GRID, NCA_STEPS, PRECISION = (64, 64), 20, "nf4"
NCA_CELL_STEPS = NCA_GRID[0] * NCA_GRID[1] * NCA_STEPS  # of a member
BURSTS = 50
ROUNDS = 3
FEW, MANY = 16, 4096  # slots between which the host time of a burst is compared
LIMIT_S = 1800.0  # against hanging


def engine_alone(law: Bundle, slots: int, seconds: float) -> tuple[float, float]:
    """Measure an engine that records and throws the frames away, and the step in a loop, in turn.

    Returns:
        Cell-steps/s of each, the medians of ROUNDS rounds.
    """
    engine = Engine(slots, largest_batch=4096)
    engine.start()
    try:
        engine.warm(law, PRECISION, NCA_GRID)
        alone, kernel = [], []
        for _ in range(ROUNDS):
            kernel.append(step_alone(engine, law, PRECISION, NCA_GRID, seconds / 2 / ROUNDS))
            members = ceil(seconds / ROUNDS * kernel[-1] / NCA_CELL_STEPS / slots) * slots
            took = _run_members(engine, law, NCA_GRID, NCA_STEPS, members, Recording(field="phase", every=NCA_STEPS))
            alone.append(members * NCA_CELL_STEPS / took)
        return median(alone), median(kernel)
    finally:
        engine.stop()


def host_burst_s(slots: int) -> float:
    """Measure the host's seconds per burst of one full batch of a tiny law, a recording at the end of each.

    That is the engine's busy time in which the device neither stepped nor computed what is recorded.
    """
    with TemporaryDirectory() as folder:
        law, grid = make_law("mlp", Path(folder)), (8, 8)
        sizes = Path(folder) / "batch-sizes.json"
        BatchSizeTable(pick_device(), sizes).keep(law.manifest, PRECISION, grid, slots)
        engine = Engine(1, largest_batch=slots, batch_sizes=sizes)
        engine.start()
        try:
            engine.warm(law, PRECISION, grid)
            of, sink = members_of(slots), Countdown(slots)
            record = (Recording(field="phase", every=1),)
            engine.submit(Run("members", law, PRECISION, grid, BURSTS + 50, of, sink, record))
            before = _info_after(engine, 10)  # the members have their slots
            after = _info_after(engine, 10 + BURSTS)
            sink.over.wait(LIMIT_S)
        finally:
            engine.stop()
    found = {key: after[key] - before[key] for key in ("busy_s", "stepping_s", "recording_s", "bursts")}
    return float(found["busy_s"] - found["stepping_s"] - found["recording_s"]) / found["bursts"]


def _info_after(engine: Engine, bursts: int) -> dict[str, Any]:
    end = monotonic() + LIMIT_S
    while (found := engine.info())["bursts"] < bursts:
        if monotonic() > end:
            raise TimeoutError(f"the engine has made {found['bursts']} bursts after {LIMIT_S:.0f} s")
        sleep(0.001)
    return found


def members_of(n: int) -> Members:
    return Members(np.arange(n, dtype=np.int64), np.full(n, 0.01, np.float32), [ComplexNoise()] * n)


def _run_members(
    engine: Engine, law: Bundle, grid: tuple[int, int], steps: int, members: int, recording: Recording
) -> float:
    """Run so many members as one run, and return the seconds that it took."""
    of, sink = members_of(members), Countdown(members)
    began = perf_counter()
    engine.submit(Run("members", law, PRECISION, grid, steps, of, sink, (recording,)))
    if not sink.over.wait(LIMIT_S):
        raise TimeoutError(f"{members} members of {steps} steps had not ended after {LIMIT_S:.0f} s")
    return perf_counter() - began
