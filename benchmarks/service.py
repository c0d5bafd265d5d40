"""The service against other ways to run the same jobs, in one run on one machine.

    python -m benchmarks.service [--quick] [--json] [--law unet_unitary] [--slots 16]

Arms, all of the same law and grid, the compiled ones in the same precision:

    eager       float32, one universe, no compiler, a loop: how a notebook does it
    one_job     one job per task: the compiled law at batch 1
    static      one batch of as many lanes as slots: they start together, all are stepped until the longest is done
    continuous  the engine alone: a job takes a slot as soon as one is free
    recorded    the same with a frame every EVERY steps, handed over and thrown away
    service     REST, Redis, Celery, job table and frame store around it, every frame stored

`lengths`: equal, or exponentially distributed (many short jobs, few long ones). `continuous` is measured while jobs
wait, for a service has a queue; how a queue ends is another question. `recorded` and `service` are measured from the
first start to the last end of equal jobs, more and longer ones until that takes SPELL_S, so that a fast machine has
something to measure too. Occupancy: steps of jobs over steps of slots.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter, sleep
from typing import Any

import torch

from benchmarks.common import LAWS, Machine, cost_per_cell_step, eager_loop, exponential_lengths, make_law, rate, table
from leym.client import Client, Job
from leym.contract.spec import ComplexNoise, Recording
from leym.demo.service import running_service
from leym.engine.batch import Batch
from leym.engine.benchmark import Countdown
from leym.engine.engine import Engine
from leym.engine.run import Run
from leym.laws.bundle import Bundle

GRID = (64, 64)
EVERY = 10
FIELD = "phase"
LEAST_STEPS, TELLING_S = 10, 0.2
SPELL_S = 3.0  # time that the jobs of `service` take together at least
MOST_JOBS = 4096
LIMIT_S = 600.0  # against hanging: what takes longer has failed


class Bench:
    """One law on one machine."""

    def __init__(self, law: Bundle, precision: str, slots: int, jobs: int, seconds: float):
        """seconds: how long the jobs take together at least, or a fast machine would have nothing to measure."""
        self.law, self.precision, self.slots = law, precision, slots
        self._engine: Engine | None = None
        self._number = count()
        self.mean = max(LEAST_STEPS, ceil(seconds * self._steps_per_s() / jobs))
        [bucket] = self.engine(slots).buckets.values()
        self.batch_size = bucket.batch_size
        self.lengths = {"equal": [self.mean] * jobs, "exponential": exponential_lengths(jobs, self.mean, 1)}

    def _steps_per_s(self) -> float:
        """Measure the steps/s of all slots together, with runs made longer until they take TELLING_S."""
        engine, steps, took = self.engine(self.slots), LEAST_STEPS, 0.0
        while took < TELLING_S:
            began = perf_counter()
            self._finish(self.submit(engine, [steps] * self.slots))
            took = perf_counter() - began
            steps *= 4
        return self.slots * (steps // 4) / took

    def _finish(self, runs: list[Run]) -> None:
        for run in runs:
            if isinstance(run.sink, Countdown) and not run.sink.over.wait(LIMIT_S):
                raise TimeoutError(f"a run of {run.steps} steps had not ended after {LIMIT_S:.0f} s")

    def engine(self, slots: int) -> Engine:
        """The one engine of this process: two would each have a pool of threads, which slows both down on a CPU."""
        if self._engine is None or self._engine.slots != slots:
            self.close()
            self._engine = Engine(slots)
            self._engine.start()
            self._engine.warm(self.law, self.precision, GRID)
        return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.stop()
            self._engine = None

    def submit(self, engine: Engine, lengths: list[int], record: tuple[Recording, ...] = ()) -> list[Run]:
        runs = [self._run(steps, record) for steps in lengths]
        for run in runs:
            engine.submit(run)
        return runs

    def _run(self, steps: int, record: tuple[Recording, ...] = ()) -> Run:
        i = next(self._number)
        return Run.one(str(i), self.law, self.precision, GRID, steps, 0.01, i, ComplexNoise(), Countdown(), record)

    def one_job(self, lengths: list[int]) -> dict[str, float]:
        engine = self.engine(1)
        few = lengths[: max(8, len(lengths) // self.slots)]

        def one_after_another() -> None:
            for steps in few:
                self._finish(self.submit(engine, [steps]))

        return self._over(engine, one_after_another)

    def static(self, lengths: list[int]) -> dict[str, float]:
        """In calls of the same shape as the engine's, on the same thread, so that only the schedule differs."""
        engine = self.engine(self.slots)
        return engine.on_device_thread(lambda: self._static(engine, lengths))

    @torch.no_grad()
    def _static(self, engine: Engine, lengths: list[int]) -> dict[str, float]:
        [bucket] = engine.buckets.values()
        batches = [Batch(bucket.law, bucket.key, bucket.batch_size) for _ in range(self.slots // bucket.batch_size)]
        groups = [lengths[i : i + self.slots] for i in range(0, len(lengths), self.slots)]
        runs = iter([self._run(steps) for steps in lengths])
        began = perf_counter()
        for group in groups:
            for lane, _ in enumerate(group):
                batches[lane // bucket.batch_size].admit(next(runs))
            for _ in range(max(group)):
                for batch in batches:
                    batch.runner.run(1)
            for batch in batches:
                for seated in list(batch.groups):
                    batch.checkpoint(seated, engine.stream)
                    batch.leave(seated)
        took = perf_counter() - began
        done, offered = sum(lengths), sum(max(group) * self.slots for group in groups)
        return {"cell_steps_per_s": done * GRID[0] * GRID[1] / took, "occupancy": done / offered, "idle": 0.0}

    def recorded(self, lengths: list[int]) -> dict[str, float]:
        engine, record = self.engine(self.slots), (Recording(field=FIELD, every=EVERY),)
        return self._over(engine, lambda: self._finish(self.submit(engine, lengths, record)))

    def continuous(self, lengths: list[int]) -> dict[str, float]:
        engine = self.engine(self.slots)

        def while_jobs_wait() -> list[Run]:
            runs = self.submit(engine, lengths)
            _wait(lambda: not engine.info()["waiting"], "the queue to be empty")
            return runs

        return self._over(engine, while_jobs_wait)

    def _over(self, engine: Engine, work: Any) -> dict[str, float]:
        before, began = engine.info(), perf_counter()
        left = work()
        took, after = perf_counter() - began, engine.info()
        for run in left or ():  # what is left is not measured
            engine.cancel(run.id)
        _wait(lambda: not engine.info()["busy"], "the slots to be empty")
        return {"cell_steps_per_s": (after["cell_steps"] - before["cell_steps"]) / took} | shares(before, after)

    def eager(self, seconds: float) -> dict[str, float]:
        loop = eager_loop(self.law, GRID)
        steps_per_s = self.engine(self.slots).on_device_thread(lambda: rate(loop, seconds=seconds))
        return {"cell_steps_per_s": GRID[0] * GRID[1] * steps_per_s, "occupancy": 1.0, "idle": 0.0}

    def service(self, lengths: list[int]) -> dict[str, float]:
        """Run jobs of these lengths; repeat with more or longer ones until they take SPELL_S together."""
        os.environ["LEYM_SLOTS"] = str(self.slots)
        warm = f"{self.law.name}/{self.precision}/{GRID[0]}x{GRID[1]}"
        cells = GRID[0] * GRID[1]
        with running_service([self.law.path], warm) as client:
            before = worker_after(client, 0)
            while True:
                jobs = [self._submit(client, steps, seed) for seed, steps in enumerate(lengths)]
                ended = [job.wait(LIMIT_S).as_dict() for job in jobs]
                # perhaps no heartbeat came while the jobs ran, but the next one has their sum
                after = worker_after(client, before["cell_steps"] + sum(lengths) * cells)
                if spell_s(ended) >= SPELL_S:
                    break
                lengths, before = grown(lengths, SPELL_S / max(spell_s(ended), SPELL_S / 8)), after
        return {"cell_steps_per_s": sum(lengths) * cells / spell_s(ended)} | shares(before["info"], after["info"])

    def _submit(self, client: Client, steps: int, seed: int) -> Job:
        record = {FIELD: min(EVERY, steps)}
        return client.submit(self.law.name, GRID, steps, record=record, seed=seed, precision=self.precision)


def worker_after(client: Client, cell_steps: int) -> dict[str, Any]:
    """Return the record of the worker that has done `cell_steps` of work since its start, once it has reported them."""
    end = monotonic() + LIMIT_S
    while monotonic() < end:
        for worker in client.workers():
            if worker["cell_steps"] >= cell_steps:
                return dict(worker)
        sleep(0.1)
    raise TimeoutError(f"no worker has reported {cell_steps} cell-steps after {LIMIT_S:.0f} s")


def _wait(over: Callable[[], bool], what: str) -> None:
    end = monotonic() + LIMIT_S
    while not over():
        if monotonic() > end:
            raise TimeoutError(f"waited {LIMIT_S:.0f} s for {what}")
        sleep(0.02)


def spell_s(jobs: list[dict[str, Any]]) -> float:
    """Return the seconds from the first start to the last end of jobs that have succeeded, as the API shows them."""
    return max(_seconds(job["finished_at"]) for job in jobs) - min(_seconds(job["started_at"]) for job in jobs)


def grown(lengths: list[int], factor: float) -> list[int]:
    """Return a little more than `factor` times the work: more jobs, and longer ones if MOST_JOBS are not enough."""
    factor *= 1.2
    more = min(ceil(factor), max(1, MOST_JOBS // len(lengths)))
    return [ceil(steps * max(1.0, factor / more)) for steps in lengths] * more


def shares(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """occupancy: steps of jobs over steps of slots; idle: of the engine's busy time, in which nothing was stepped."""
    keys = ("slot_steps", "batch_steps", "busy_s", "stepping_s")
    done, offered, busy, stepping = (after[key] - before.get(key, 0) for key in keys)
    return {"occupancy": done / offered, "idle": 1 - stepping / busy}


def best(measure: Callable[[], dict[str, float]], spells: int) -> dict[str, float]:
    """The fastest of some spells: on a shared machine the others tell of its neighbours."""
    return max((measure() for _ in range(spells)), key=lambda found: found["cell_steps_per_s"])


def _seconds(moment: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="few short jobs; the ratios are rough")
    options.add_argument("--json", action="store_true")
    options.add_argument("--law", choices=LAWS, default="unet_unitary")
    options.add_argument("--slots", type=int, default=16)
    options.add_argument("--precision", default="nf4")
    chosen = options.parse_args()
    with TemporaryDirectory() as folder, ExitStack() as ending:
        law = make_law(chosen.law, Path(folder))
        jobs, seconds, spells = (3 * chosen.slots, 1.0, 1) if chosen.quick else (12 * chosen.slots, 4.0, 2)
        bench = Bench(law, chosen.precision, chosen.slots, jobs, seconds)
        ending.callback(bench.close)
        machine = bench.engine(chosen.slots).on_device_thread(Machine.measure)
        rows: list[dict[str, Any]] = []

        def add(arm: str, lengths: str, figures: dict[str, float]) -> None:
            speed = figures["cell_steps_per_s"]
            row = {"arm": arm, "lengths": lengths, **figures}
            row |= {"vs_eager": speed / (rows[0]["cell_steps_per_s"] if rows else speed)}
            size = 1 if arm in ("eager", "one_job") else bench.batch_size
            rows.append(row | machine.roofline(speed, cost_per_cell_step(law, GRID, size)))

        add("eager", "-", bench.eager(2 if chosen.quick else 10))
        for kind, lengths in bench.lengths.items():
            for arm in (bench.one_job, bench.static, bench.continuous):
                add(arm.__name__, kind, best(lambda arm=arm, lengths=lengths: arm(lengths), spells))
        longer = 2 if chosen.quick else 4
        long = [steps * longer for steps in bench.lengths["equal"]][: 4 * chosen.slots]
        add("recorded", "longer", best(lambda: bench.recorded(long), spells))
        bench.close()
        add("service", "longer", best(lambda: bench.service(long), spells))
    found = {(row["arm"], row["lengths"]): row["cell_steps_per_s"] for row in rows}
    ratios = {
        "continuous_vs_static_equal": found["continuous", "equal"] / found["static", "equal"],
        "continuous_vs_static_exponential": found["continuous", "exponential"] / found["static", "exponential"],
        "service_vs_engine": found["service", "longer"] / found["recorded", "longer"],
    }
    if chosen.json:
        whole = {key: value for key, value in rows[-1].items() if key not in ("arm", "lengths")}
        print(json.dumps({chosen.law: whole | ratios | {"arms": rows}, "machine": machine.as_dict()}))
        return
    print(machine.as_dict())
    print(f"{chosen.law} {chosen.precision}, grid {GRID}, {chosen.slots} slots")
    print(f"{jobs} jobs of mean {bench.mean} steps\n")
    print(table(rows))
    print("\n" + "\n".join(f"{name}: {value:.2f}" for name, value in ratios.items()))


if __name__ == "__main__":
    main()
