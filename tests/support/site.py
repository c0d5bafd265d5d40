"""A job table, a store and a law, at which workers without Celery come and go."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import numpy as np

from leym.contract.records import Job, NewBlock, NewJob
from leym.contract.spec import JobSpec
from leym.contract.sweep_plan import SweepPlan
from leym.contract.sweeps import SweepSpec
from leym.engine.engine import Engine
from leym.events import Events
from leym.frames.checkpoint import references
from leym.frames.last import last_state
from leym.frames.reader import FrameReader
from leym.frames.stores.open import open_store
from leym.jobs.table import JobTable
from leym.laws.registry import Registry
from leym.settings import Settings
from tests.support.laws import random_law
from tests.support.service import until
from workers.claimed_job import HandedBack
from workers.job_runner import JobRunner

STEPS = 600
RECORD = [{"field": "psi", "every": 20}, {"field": "phase", "every": 10}]


class Site:
    def __init__(self, url: str, store_url: str, folder: Path, kind: str = "UNET", **law):
        self.table, self.store = JobTable(url), open_store(store_url)
        self.laws = Registry(random_law(folder / "laws" / "tiny", kind, **law).path.parent)

    def runner(self, checkpoint_s: float = 0.05) -> JobRunner:
        engine = Engine(4, largest_batch=4, compile=False, checkpoint_s=checkpoint_s)
        parts = {"table": self.table, "store": self.store, "events": Events(None), "laws": self.laws, "engine": engine}
        made = JobRunner(Settings(commit_s=0.05, lease_s=60), "w", lambda job: None, **parts)
        engine.start()
        return made

    def submit(self) -> str:
        spec = JobSpec(law="tiny", grid=(8, 8), steps=STEPS, seed=3, record=RECORD, observe={"every": 20})
        law = self.laws.resolve("tiny").ref
        return self.table.submit(spec, law=law, precision="fp32", d_state=self.laws.resolve("tiny").manifest.d_state)[
            0
        ].id

    def run(self, job_id: str) -> None:
        runner = self.runner(checkpoint_s=60.0)
        assert runner.run(job_id, job_id)["state"] == "succeeded"
        runner.drain()

    def run_a_part(self, job_id: str) -> None:
        """Run past the second checkpoint; then the worker ends and hands the job back."""
        runner = self.runner()
        thread = self.start(runner, job_id)
        until(lambda: len(references(self.table.get(job_id).checkpoint)) == 2, what="two checkpoints", pause_s=0.002)
        runner.drain()
        thread.join()
        job = self.table.get(job_id)
        assert job.state == "queued"
        assert 0 < job.step < STEPS

    def start(self, runner: JobRunner, row_id: str) -> threading.Thread:
        """Run a row in a thread, until its end or until the worker drains."""

        def run() -> None:
            with suppress(HandedBack):
                runner.run(row_id, row_id)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def results(self, job_id: str) -> dict[str, np.ndarray]:
        reader = FrameReader(self.store, self.table.get(job_id))
        return {field: reader.read(field)[1] for field in ("psi", "phase")} | reader.observables()[1]

    # --- sweeps

    def sweep(self, axes: dict, *, steps: int = 60, per_block: int = 5, stop: tuple = (), **base) -> str:
        """Submit a sweep in blocks of at most so many members, and return its id."""
        law = self.laws.resolve("tiny")
        whole = {"law": law.ref, "grid": [8, 8], "steps": steps, "record": RECORD, "observe": {"every": 10}} | base
        plan = SweepPlan(SweepSpec.model_validate({"base": whole, "axes": axes, "stop": stop}))
        blocks = []
        for shape in plan.shapes():
            job = NewJob(plan.job(int(shape.indices[0])), law.ref, "fp32", law.manifest.d_state)
            parts = range(0, len(shape.indices), per_block)
            blocks += [NewBlock(shape.number, job, shape.indices[i : i + per_block]) for i in parts]
        return self.table.submit_sweep(plan, blocks)[0].id

    def run_all(self, sweep_id: str, runner: JobRunner | None = None) -> None:
        """Run the queued blocks of a sweep one after another."""
        own = runner or self.runner(checkpoint_s=60.0)
        for block in self.table.blocks(sweep_id):
            if block.state == "queued":
                own.run(block.id, block.id)
        if runner is None:
            own.drain()

    def single(self, member: Job) -> Job:
        """Run the spec of a member as a job of its own."""
        spec = JobSpec.model_validate(member.spec)
        law = self.laws.resolve("tiny")
        job, _ = self.table.submit(spec, law=law.ref, precision="fp32", d_state=law.manifest.d_state)
        self.run(job.id)
        return self.table.get(job.id)

    def reader(self, job: Job) -> FrameReader:
        return FrameReader(self.store, job)

    def everything(self, job: Job) -> dict[str, np.ndarray]:
        """Return all results of a job or member: frames, observables and the last state, and the steps of each."""
        reader, found = FrameReader(self.store, job), {}
        for field in ("psi", "phase"):
            found[f"{field} steps"], found[field] = reader.read(field)
        found["observed steps"], observables = reader.observables()
        return found | observables | {"last": last_state(self.store, job)}
