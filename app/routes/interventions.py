"""Live interventions: steer a job while it waits or runs."""

from __future__ import annotations

from flask import Response

from app import steering
from app.lookup import find_job
from app.models.base import IdempotencyHeader, IdPath
from app.models.interventions import InterventionBody, InterventionList, InterventionRequest
from app.openapi import json_content, responses, router, use_pydantic_schema
from app.services import current_services
from app.views import json_response

api = router("interventions", "Changes to universes while they run")
use_pydantic_schema(InterventionRequest)

ACCEPTED = json_content(InterventionBody, "The intervention will act")


@api.post("/v1/jobs/<id>/interventions", responses=responses({202: ACCEPTED}, 404, 409, 410, 413, 415))
def intervene_in_job(header: IdempotencyHeader, path: IdPath, body: InterventionRequest) -> Response:
    """Change the state or the gamma of a job that waits or runs.

    It acts between two bursts of steps, at `step` or as soon as possible. The step is written into the job's spec
    before the job goes on from there, so the same spec gives the same bits again.
    """
    return json_response(steering.intervene(current_services(), path.id, body.root, header.idempotency_key), 202)


@api.get("/v1/jobs/<id>/interventions", responses=responses({200: InterventionList}, 404, 410))
def list_interventions(path: IdPath) -> Response:
    """List the live interventions of a job, and at which steps they act."""
    services = current_services()
    job = find_job(services, path.id)
    found = services.table.interventions(job.id)
    return json_response({"items": [steering.intervention_body(one, job) for one in found], "next": None})
