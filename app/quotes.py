"""Quotes: when a job or a sweep would end and what it would take, from what similar ones have taken.

Nothing is invented: what is not known is null, and `reason` says why.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from app.services import Services
from app.validation import validate_job, validate_sweep
from app.webhook_checks import check_webhook
from leym.contract.problems import Problem
from leym.contract.record_bodies import rfc3339
from leym.contract.records import SIMULATION, Worker
from leym.contract.spec import JobSpec
from leym.contract.sweeps import SweepSpec
from leym.jobs.block_size import speed_of
from leym.jobs.forecasts import HIGH, MEDIAN, PRIOR_RATIOS, Forecast, forecast, then

WAIT_SPREAD = forecast(PRIOR_RATIOS)  # measured over predicted, of waits in a queue
UNKNOWN = "no similar job has succeeded yet, so its speed is not known"
NO_WORKER = "no worker is alive, so its start is not known"


@dataclass(frozen=True)
class Work:
    """Holds what is quoted: members of one shape."""

    law: str
    precision: str
    grid: tuple[int, int]
    steps: int
    members: int

    @property
    def cell_steps(self) -> int:
        """Work of all members."""
        return self.steps * prod(self.grid) * self.members


def quote_job(services: Services, spec: JobSpec) -> dict[str, Any]:
    """Check a job and return its quote, as `QuoteBody`.

    Raises:
        Problem: 422 if the spec is not valid.
    """
    check_webhook(services.settings, spec.webhook)
    valid = validate_job(services, spec)
    work = Work(valid.law, valid.precision, spec.grid, spec.steps - spec.begins_at, 1)
    stored = valid.spec.stored_bytes(valid.d_state)
    return _quote(services, [work], stored, spec.priority)


def quote_sweep(services: Services, sweep: SweepSpec) -> dict[str, Any]:
    """Check a sweep and return its quote, as `QuoteBody`.

    Raises:
        Problem: 422 if the spec is not valid.
    """
    check_webhook(services.settings, sweep.webhook)
    valid = validate_sweep(services, sweep)
    works, priority = [], 0
    for job, indices in valid.shapes:
        spec = job.spec
        if not isinstance(spec, JobSpec):
            raise TypeError("members of a sweep are simulations")
        works.append(Work(job.law, job.precision, spec.grid, spec.steps - spec.begins_at, len(indices)))
        priority = max(priority, spec.priority)
    return _quote(services, works, valid.stored_bytes, priority)


def predicted_s(services: Services, law: str, precision: str, spec: JobSpec) -> float | None:
    """Return the median running time that a quote would state, from what this process knows, or None."""
    steps = spec.steps - spec.begins_at
    found = services.speeds.samples(law, precision, spec.grid).seconds(steps, steps * prod(spec.grid))
    return None if found is None else float(found[MEDIAN])


def _quote(services: Services, works: list[Work], stored: int, priority: int) -> dict[str, Any]:
    now = time.time()
    workers = [
        worker
        for worker in services.table.workers(services.alive_s)
        if worker.kind == SIMULATION and worker.state == "ready"
    ]
    buckets = {(work.law, work.precision, work.grid) for work in works}
    known = {bucket: services.speeds.samples(*bucket, within_s=0.0) for bucket in buckets}
    samples = [known[work.law, work.precision, work.grid] for work in works]
    device = _sum([found.device_seconds(work.cell_steps) for work, found in zip(works, samples, strict=True)])
    pairs = zip(works, samples, strict=True)
    run = _longest([found.seconds(work.steps, work.cell_steps // work.members) for work, found in pairs])
    members = sum(work.members for work in works)
    if members > 1:  # they share the devices; the longest takes as long as a job of its own
        shared = None if device is None else device / max(len(workers), 1)
        run = shared if run is None or shared is None else np.maximum(run, shared)
    wait = _wait(services, workers, priority)
    finish = None if run is None or wait is None else then(wait, run)
    steps = sum(work.steps * work.members for work in works)
    steps_per_s = None if run is None else steps / np.maximum(run, 1e-6)
    price = services.settings.price_per_device_hour
    cost = None if not price or device is None else device / 3600 * price
    reasons = [UNKNOWN] * (run is None) + [NO_WORKER] * (wait is None)
    bases = [found.basis for found in samples if found.times]
    return {
        "members": members,
        "cell_steps": sum(work.cell_steps for work in works),
        "bytes": stored,
        "steps_per_s": _interval(steps_per_s),
        "wait_s": _interval(wait),
        "run_s": _interval(run),
        "start_at": _moments(now, wait),
        "finish_at": _moments(now, finish),
        "device_seconds": _interval(device),
        "cost": _interval(cost),
        "basis": None if run is None else max(bases, key=("bucket", "law", "service").index),
        "reason": "; ".join(reasons) or None,
    }


def _wait(services: Services, workers: list[Worker], priority: int) -> Forecast | None:
    """Return the forecast of the seconds until a slot is free for a new job of a priority; None without a worker."""
    if not workers:
        return None
    slots = sum(worker.slots for worker in workers)
    pick_up = services.table.pick_up_times(slots)
    queued, work = services.table.work_ahead(priority)
    if queued < slots - sum(worker.busy for worker in workers):
        return pick_up
    speed = speed_of(workers) * len(workers)
    if not speed:
        return None
    _, running = services.table.work_running()
    seconds = (work + running / max(slots, 1)) / speed  # the first of those that run makes room
    return then(seconds * WAIT_SPREAD, pick_up)


def _sum(parts: list[Forecast | None]) -> Forecast | None:
    """Return the sum of forecasts that are all high or all low together; None if one is not known."""
    known = [part for part in parts if part is not None]
    return np.sum(known, axis=0) if len(known) == len(parts) else None


def _longest(parts: list[Forecast | None]) -> Forecast | None:
    known = [part for part in parts if part is not None]
    return np.max(known, axis=0) if len(known) == len(parts) else None


def _interval(found: Forecast | None) -> dict[str, float] | None:
    return None if found is None else {"p50": float(found[MEDIAN]), "p90": float(found[HIGH])}


def _moments(now: float, found: Forecast | None) -> dict[str, str | None] | None:
    return None if found is None else {"p50": rfc3339(now + found[MEDIAN]), "p90": rfc3339(now + found[HIGH])}


def pointed_at(problem: Problem, key: str) -> Problem:
    """Return the problem of a spec that is below a key of the request."""
    errors = [error | {"pointer": f"/{key}{error['pointer']}"} for error in problem.errors]
    return Problem(problem.status, problem.title, problem.detail, kind=problem.kind, errors=errors)
