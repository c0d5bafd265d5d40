"""Trainings: jobs that make a law."""

from __future__ import annotations

from flask import Response, url_for

from app import submission
from app.lookup import find_job
from app.models.base import IdempotencyHeader, IdPath
from app.models.jobs import JobBody
from app.models.trainings import CurveQuery
from app.openapi import content, json_content, responses, router, use_pydantic_schema
from app.reasons import body_with_reason
from app.services import current_services
from app.views import json_response
from leym.common.tables import delimited
from leym.contract.problems import Problem, not_found
from leym.contract.training_spec import TrainingRequest
from leym.frames.curve import get_curve as read_curve
from leym.frames.stores.base import Missing

api = router("trainings", "Laws to train")
use_pydantic_schema(TrainingRequest)

ACCEPTED = json_content(JobBody, "The training was accepted", Location="path of the job")
CURVE = content("Each column of the curve; `update` is the first", "application/json", "text/csv")


@api.post("/v1/trainings", responses=responses({202: ACCEPTED}, 413, 415, 507))
def submit_training(header: IdempotencyHeader, body: TrainingRequest) -> Response:
    """Train a law by a recipe, as a job.

    `step` and `steps` of the job count updates. When it has succeeded, its `law` is the version that it has added to
    the laws, name@digest. Trainings have workers of their own, so no simulation waits for them. This needs a token with
    the scopes `submit` and `laws`.
    """
    services = current_services()
    job = submission.submit_training(services, body, header.idempotency_key)
    return json_response(body_with_reason(services, job), 202, Location=url_for("jobs.get_job", id=job.id))


@api.get("/v1/jobs/<id>/curve", responses=responses({200: CURVE}, 404, 410))
def get_curve(path: IdPath, query: CurveQuery) -> Response:
    """Get the curve of a training so far: loss and other numbers, each the mean over some updates."""
    services = current_services()
    job = find_job(services, path.id)
    if not job.is_training:
        raise Problem(404, "Not found", f"job {job.id} is no training, so it has no curve")
    try:
        columns = read_curve(services.store, job)
    except Missing:  # a commit has replaced it since the row was read
        try:
            columns = read_curve(services.store, find_job(services, path.id))
        except Missing as error:
            raise not_found("curve of job", job.id) from error
    if query.format == "json":
        return json_response(columns)
    rows = zip(*columns.values(), strict=True)
    return Response(delimited([list(columns), *map(list, rows)]), content_type="text/csv; charset=utf-8")
