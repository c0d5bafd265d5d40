"""Adds to the body of a training why it waits."""

from __future__ import annotations

from typing import Any

from app.services import Services
from app.views import job_body
from leym.contract.records import TRAINING, Job, JobState

NO_WORKER = (
    "no training worker is alive: `leym up` starts one, unless LEYM_TRAINING_WORKERS = 0; elsewhere, start a worker"
    " with LEYM_WORKER=training"
)
BUSY = "all training workers are busy"


def training_body(services: Services, job: Job) -> dict[str, Any]:
    """Return a job as `JobBody`; that of a training that is queued says what it waits for."""
    body = job_body(job)
    if job.is_training and job.state == JobState.QUEUED:
        able = [worker for worker in services.table.workers(services.alive_s) if worker.kind == TRAINING]
        busy = bool(able) and all(worker.busy >= worker.slots for worker in able)
        body["queue"]["waits_for"] = BUSY if busy else None if able else NO_WORKER
    return body
