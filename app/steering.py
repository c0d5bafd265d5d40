"""Asks for interventions in live jobs: validates them, commits them, then tells the workers."""

from __future__ import annotations

import logging
from typing import Any

from kombu.exceptions import OperationalError

from app.lookup import find_job
from app.services import Services
from app.validation import validate_intervention
from leym import tickets
from leym.contract.interventions import AnyIntervention, SetGamma
from leym.contract.record_bodies import rfc3339
from leym.contract.records import MISSED, Job, JobState, LiveIntervention
from leym.contract.spec import stored_spec
from leym.jobs.interventions import check_steerable, intervention_request

log = logging.getLogger(__name__)


def intervene(
    services: Services, job_id: str, change: AnyIntervention | SetGamma, idempotency_key: str | None
) -> dict[str, Any]:
    """Ask for an intervention in a job that waits or runs, and return it as `InterventionBody`.

    A request that repeats an Idempotency-Key gets the first one, also when the job has ended meanwhile.

    Raises:
        Problem: 404 if the job never existed, 410 if it has been deleted, 409 if it cannot be steered, 422 if the
            intervention does not fit it.
    """
    job, body = find_job(services, job_id), change.model_dump(mode="json")
    if services.table.accepted(idempotency_key, intervention_request(job_id, body)):
        return intervention_body(services.table.intervene(job_id, body, idempotency_key), job)
    check_steerable(job)
    validate_intervention(services, change, stored_spec(job.spec), job.d_state)
    request = services.table.intervene(job_id, body, idempotency_key)
    if job.state == JobState.RUNNING and not services.broker_outage.is_active:
        try:
            tickets.steer(job_id)
        except (OperationalError, OSError) as error:
            services.broker_outage.record()
            log.warning("could not inform workers of an intervention (%s); their next heartbeat finds it", error)
    return intervention_body(request, job)


def intervention_body(request: LiveIntervention, job: Job) -> dict[str, Any]:
    """Return a live intervention of a job as `InterventionBody`."""
    applied = request.step is not None and request.step != MISSED
    waits = request.step is None and not job.final
    return {
        "job": request.job,
        "number": request.number,
        "state": "applied" if applied else "waiting" if waits else "missed",
        "step": request.step if applied else None,
        "intervention": request.change,
        "created_at": rfc3339(request.created_at),
    }
