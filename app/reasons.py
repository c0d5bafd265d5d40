"""Adds to the body of a job why it does not advance, in a word for programs and a sentence for people."""

from __future__ import annotations

from typing import Any

from app.services import Services
from app.views import job_body
from leym.contract.records import SIMULATION, TRAINING, Job, JobState, Worker

NO_WORKER = (
    "no worker is alive: `leym up` starts one, unless LEYM_AUTOSCALE or --workers says 0; elsewhere, start a worker"
)
NO_TRAINING_WORKER = (
    "no training worker is alive: `leym up` starts one, unless LEYM_TRAINING_WORKERS = 0; elsewhere, start a worker"
    " with LEYM_WORKER=training"
)
BUSY = "all training workers are busy"


def body_with_reason(services: Services, job: Job) -> dict[str, Any]:
    """Return a job as `JobBody`, with the reason why it does not advance."""
    found = None if job.final else _reason(services, job)
    body = job_body(job) | {"reason": None if found is None else dict(zip(("code", "text"), found, strict=True))}
    if job.is_training and job.state == JobState.QUEUED and found:
        body["queue"]["waits_for"] = found[1]
    return body


def _reason(services: Services, job: Job) -> tuple[str, str] | None:
    """Return the code and the sentence; None if the job advances as it should."""
    if job.state == JobState.PAUSED:
        return "paused", f"its sweep is paused; POST /v1/sweeps/{job.sweep}/resume continues it"
    kind = TRAINING if job.is_training else SIMULATION
    workers = [worker for worker in services.table.workers(services.alive_s) if worker.kind == kind]
    if job.state == JobState.RUNNING:
        return _of_running(job, next((worker for worker in workers if worker.name == job.owner), None))
    if not workers:
        return "no_worker", NO_TRAINING_WORKER if job.is_training else NO_WORKER
    if services.table.is_held_back(job.results):
        most = services.settings.quota_running
        return "quota", f"project {job.project!r} runs as many jobs as it may (LEYM_QUOTA_RUNNING = {most})"
    if job.is_training:
        return ("busy", BUSY) if all(worker.busy >= worker.slots for worker in workers) else None
    if not any(worker.state == "ready" for worker in workers):
        states = ", ".join(sorted({worker.state for worker in workers}))
        return "no_ready_worker", f"no worker is ready yet: {states}"
    return "queue", f"waiting for a slot, {services.table.count_ahead(job)} ahead"


def _of_running(job: Job, worker: Worker | None) -> tuple[str, str] | None:
    if worker is None:
        return "worker_silent", f"its worker {job.owner} is silent; another one continues it when its lease is over"
    bucket = {"law": job.law.partition("@")[2], "precision": job.precision, "grid": list(job.grid)}
    if any({**key, "grid": list(key["grid"])} == bucket for key in worker.info.get("loading", ())):
        return "compiling", f"its worker {worker.name} loads and compiles the law for this grid"
    if job.results in worker.info.get("waiting_runs", ()):
        return "slot", f"its worker {worker.name} has it, and all slots are taken"
    return None
