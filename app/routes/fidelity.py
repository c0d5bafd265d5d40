"""Fidelity of laws in reduced precision: verdicts, their reports, and the jobs that reach them."""

from __future__ import annotations

import json
from typing import Any

import flask
from flask import Response, url_for

from app import submission
from app.lookup import find_law
from app.models.base import IdempotencyHeader
from app.models.jobs import JobBody
from app.models.laws import FidelityList, FidelityPath, FormatQuery, LawPath
from app.openapi import content, json_content, responses, router, use_pydantic_schema
from app.services import current_services
from app.views import job_body, json_response, verdict_body
from leym.contract.fidelity_spec import FidelityRequest
from leym.contract.problems import Problem
from leym.laws.verdicts import CHEAPEST_FIRST, read_head, read_verdict
from leym.reports.verdict import report

api = router("fidelity", "Fidelity of laws in reduced precision")
use_pydantic_schema(FidelityRequest)

ACCEPTED = json_content(JobBody, "The fidelity job was accepted", Location="path of the job")
VERDICT = content("The complete verdict", "application/json", "text/html")
# the report has inline styles and inline plots, loads nothing and runs no scripts
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@api.get("/v1/laws/<name>/fidelity", responses=responses({200: FidelityList}, 404))
def get_fidelity(path: LawPath) -> Response:
    """Get the verdicts on a law's precisions.

    `auto` selects the cheapest precision that passes. A precision without a verdict is not in the list.
    """
    services = current_services()
    bundle = find_law(services, path.name)
    data = services.settings.data
    found = (read_head(bundle, precision, data=data, as_stored=True) for precision in CHEAPEST_FIRST)
    return json_response({"items": [verdict_body(verdict) for verdict in found if verdict], "next": None})


@api.get("/v1/laws/<name>/fidelity/<precision>", responses=responses({200: VERDICT}, 404))
def get_verdict(path: FidelityPath, query: FormatQuery) -> Response:
    """Get one verdict with all of its numbers, as JSON or as a page with plots."""
    services = current_services()
    bundle = find_law(services, path.name)
    as_stored = query.format == "json"  # a client finds the names that the verdict was stored with
    verdict = read_verdict(bundle, path.precision, data=services.settings.data, as_stored=as_stored)
    if verdict is None:
        raise Problem(404, "Not found", f"there is no verdict on {path.precision} of law {bundle.ref}")
    if as_stored:
        body: dict[str, Any] = json.loads(verdict.to_json())
        return json_response(body)
    response = Response(report(verdict), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = REPORT_POLICY
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(flask.request)
    return response


@api.post("/v1/laws/<name>/fidelity", responses=responses({202: ACCEPTED}, 404, 413, 415, 507))
def judge_law(path: LawPath, header: IdempotencyHeader, body: FidelityRequest) -> Response:
    """Judge a precision of a law, as a job.

    The job runs ensembles of universes in both precisions, by default at a low priority. Once it has ended, its record
    has the verdict.
    """
    job = submission.submit_fidelity_job(current_services(), path.name, body, header.idempotency_key)
    return json_response(job_body(job), 202, Location=url_for("jobs.get_job", id=job.id))
