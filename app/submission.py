"""Submits jobs, fidelity jobs and sweeps: validates them, commits their rows, then sends their tickets.

A request that repeats an `Idempotency-Key` gets what the first request made. The key stands for the request as it was
sent, so values that a job inherits or resolves do not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from app.continuation import check_fork, continuation, extension_step
from app.lookup import find_law, find_results
from app.quotes import predicted_s
from app.services import Services
from app.training_checks import validate_training
from app.validation import (
    ValidJob,
    ValidSweep,
    validate_fidelity_job,
    validate_job,
    validate_members,
    validate_sweep,
)
from app.webhook_checks import check_webhook
from leym.contract.fidelity_spec import FidelityRequest
from leym.contract.records import SIMULATION, Addition, Job, JobState, NewBlock, NewJob, Sweep, Worker
from leym.contract.spec import Continue, JobSpec
from leym.contract.sweeps import MoreMembers, SweepSpec
from leym.contract.training_spec import TrainingRequest
from leym.jobs.add_members import added_with
from leym.jobs.block_size import make_blocks, speed_of
from leym.jobs.submit import (
    continuation_request,
    fidelity_request,
    job_request,
    members_request,
    sweep_request,
    training_request,
)


@dataclass(frozen=True)
class Submitted:
    """The job that answers a submission.

    Attributes:
        job: The job.
        reuse: None for a job as requested; "returned" and "joined" for an earlier one that computes the same and has
            succeeded or goes on; "continued" for a new one that goes on from an earlier one.
    """

    job: Job
    reuse: Literal["returned", "joined", "continued"] | None = None


def submit_job(services: Services, spec: JobSpec, idempotency_key: str | None) -> Submitted:
    """Submit a job and return it.

    Raises:
        Problem: 422 if the spec is not valid, 409 if the key was used with another body, 429 or 503 if a quota is
            reached, 507 if the disk is nearly full.
    """
    request = job_request(spec)
    if earlier := services.table.accepted(idempotency_key, request):
        return Submitted(services.table.get(earlier))
    services.disk.check()
    return _insert_or_reuse(services, validate_job(services, spec), idempotency_key, request)


def extend_job(services: Services, job_id: str, body: Mapping[str, Any], idempotency_key: str | None) -> Submitted:
    """Submit a job that goes on from the last state of another one, and return it.

    Args:
        services: The services.
        job_id: The other job.
        body: Keys of a JobSpec, `steps` among them; the others are inherited.
        idempotency_key: The caller's key.

    Raises:
        Problem: 404 or 410 if the job or its results are gone, 409 if it has no last state; otherwise as `submit_job`.
    """
    request = continuation_request("extend", job_id, dict(body))
    if earlier := services.table.accepted(idempotency_key, request):
        return Submitted(services.table.get(earlier))
    services.disk.check()
    parent = find_results(services, job_id)[0]
    spec = continuation(parent, extension_step(parent), body)
    return _insert_or_reuse(services, validate_job(services, spec), idempotency_key, request)


def fork_job(services: Services, job_id: str, body: Mapping[str, Any], idempotency_key: str | None) -> Submitted:
    """Submit a job that goes on from any kept state of another one, and return it.

    Args:
        services: The services.
        job_id: The other job.
        body: `step`, and keys of a JobSpec; the others are inherited.
        idempotency_key: The caller's key.

    Raises:
        Problem: 404 or 410 if the job or its results are gone; otherwise as `submit_job`.
    """
    request = continuation_request("fork", job_id, dict(body))
    if earlier := services.table.accepted(idempotency_key, request):
        return Submitted(services.table.get(earlier))
    services.disk.check()
    parent = find_results(services, job_id)[0]
    check_fork(parent, body["step"])
    spec = continuation(parent, body["step"], {key: value for key, value in body.items() if key != "step"})
    return _insert_or_reuse(services, validate_job(services, spec), idempotency_key, request)


def submit_fidelity_job(services: Services, law: str, body: FidelityRequest, idempotency_key: str | None) -> Job:
    """Submit a job that judges a precision of a law, and return it.

    Raises:
        Problem: 404 if there is no such law; otherwise as `submit_job`.
    """
    request = fidelity_request(law, body)
    if earlier := services.table.accepted(idempotency_key, request):
        return services.table.get(earlier)
    bundle = find_law(services, law)
    check_webhook(services.settings, body.webhook)
    services.disk.check()
    return _insert_job(services, validate_fidelity_job(bundle, body), idempotency_key, request)[0]


def submit_training(services: Services, body: TrainingRequest, idempotency_key: str | None) -> Job:
    """Submit a job that trains a law, and return it.

    Raises:
        Problem: as `submit_job`.
    """
    request = training_request(body)
    if earlier := services.table.accepted(idempotency_key, request):
        return services.table.get(earlier)
    check_webhook(services.settings, body.webhook)
    services.disk.check()
    return _insert_job(services, validate_training(body), idempotency_key, request)[0]


def submit_sweep(services: Services, sweep_spec: SweepSpec, idempotency_key: str | None) -> Sweep:
    """Submit all jobs of a sweep, or none of them, and return the sweep.

    Raises:
        Problem: As `submit_job`.
    """
    request = sweep_spec.model_dump(mode="json")
    if earlier := services.table.accepted(idempotency_key, sweep_request(request)):
        return services.table.get_sweep(earlier)
    check_webhook(services.settings, sweep_spec.webhook)
    services.disk.check()
    valid = validate_sweep(services, sweep_spec)
    blocks = blocks_of(valid, _workers(services), services.settings.quota_running)
    sweep, rows, is_new = services.table.submit_sweep(valid.plan, blocks, idempotency_key, request=request)
    if is_new:
        services.ticket_sender.send(rows)
    return sweep


def estimate_sweep(services: Services, sweep_spec: SweepSpec) -> dict[str, Any]:
    """Check a sweep and return its size as `Estimate`, without submitting it.

    Raises:
        Problem: 422 if the spec is not valid.
    """
    return _estimate(services, validate_sweep(services, sweep_spec))


def add_members(
    services: Services, sweep_id: str, more: MoreMembers, idempotency_key: str | None
) -> tuple[Sweep, Addition]:
    """Add members to a sweep, all or none of them, and return the sweep and which members they are.

    Raises:
        Problem: 404 if there is no such sweep; 409 if it can have no more members; otherwise as `submit_job`.
    """
    request = members_request(sweep_id, more.model_dump(mode="json"))
    if earlier := services.table.accepted(idempotency_key, request):
        sweep = services.table.get_sweep(earlier)
        return sweep, added_with(sweep, idempotency_key)
    services.table.check_grows(sweep_id)
    services.disk.check()
    valid = validate_members(services, services.table.get_sweep(sweep_id), more)
    blocks = blocks_of(valid, _workers(services), services.settings.quota_running)
    sweep, added, rows = services.table.add_members(
        sweep_id, more, valid.plan, blocks, valid.stored_bytes, idempotency_key
    )
    services.ticket_sender.send([row for row in rows if row.state == JobState.QUEUED])
    return sweep, added


def estimate_members(services: Services, sweep_id: str, more: MoreMembers) -> dict[str, Any]:
    """Check members that are to be added to a sweep and return their size as `Estimate`, without adding them.

    Raises:
        Problem: 404 if there is no such sweep; 409 if it can have no more members; 422 if they are not valid.
    """
    services.table.check_grows(sweep_id)
    valid = validate_members(services, services.table.get_sweep(sweep_id), more)
    services.table.check_members(sweep_id, more, valid.plan, valid.stored_bytes)
    return _estimate(services, valid)


def _estimate(services: Services, valid: ValidSweep) -> dict[str, Any]:
    workers = _workers(services)
    cell_steps = sum(job.spec.steps * prod(job.spec.grid) * len(indices) for job, indices in valid.shapes)
    speed = speed_of(workers) * len(workers)
    return {
        "size": valid.plan.size,
        "shapes": len(valid.shapes),
        "blocks": len(blocks_of(valid, workers, services.settings.quota_running)),
        "cell_steps": cell_steps,
        "bytes": valid.stored_bytes,
        "seconds": cell_steps / speed if speed else None,
    }


def _workers(services: Services) -> list[Worker]:
    """Return the live workers that run simulations."""
    return [worker for worker in services.table.workers(services.alive_s) if worker.kind == SIMULATION]


def blocks_of(valid: ValidSweep, workers: list[Worker], most: int) -> list[NewBlock]:
    """Divide a sweep into blocks for the live workers, of at most `most` members each; 0 is no bound."""
    shapes = [
        (NewJob(job.spec, job.law, job.precision, job.d_state, None, job.fidelity), indices)
        for job, indices in valid.shapes
    ]
    return list(make_blocks(shapes, valid.plan.size, workers, most))


def _insert_or_reuse(
    services: Services, valid: ValidJob, idempotency_key: str | None, request: dict[str, Any]
) -> Submitted:
    """Submit a job; if it may be reused, an earlier one with the same results or the beginning of them serves it."""
    spec, continued = valid.spec, False
    check_webhook(services.settings, spec.webhook, reuse=isinstance(spec, JobSpec) and spec.reuse)
    if isinstance(spec, JobSpec) and spec.reuse:
        wanted = NewJob(spec, valid.law, valid.precision, valid.d_state, None, valid.fidelity, valid.differs)
        if shorter := services.table.find_prefix(services.table.draft(wanted)):
            start = Continue(job=shorter.id, step=extension_step(shorter))
            valid, continued = validate_job(services, spec.model_copy(update={"initial": start})), True
    job, is_new = _insert_job(services, valid, idempotency_key, request)
    if is_new or not (isinstance(spec, JobSpec) and spec.reuse):
        return Submitted(job, "continued" if continued else None)
    return Submitted(job, "returned" if job.final else "joined")


def _insert_job(
    services: Services, valid: ValidJob, idempotency_key: str | None, request: dict[str, Any]
) -> tuple[Job, bool]:
    """Write the row of a job and send its ticket. Returns the job, and True if it is new."""
    spec = valid.spec
    job, is_new = services.table.submit(
        spec,
        law=valid.law,
        precision=valid.precision,
        d_state=valid.d_state,
        fidelity=valid.fidelity,
        differs=valid.differs,
        idempotency_key=idempotency_key,
        request=request,
        predicted_s=predicted_s(services, valid.law, valid.precision, spec) if isinstance(spec, JobSpec) else None,
    )
    if is_new:
        services.ticket_sender.send([job])
    return job, is_new
