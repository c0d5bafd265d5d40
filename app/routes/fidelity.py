"""Whether a law in few bits is still the law: verdicts, their reports, and jobs that find out."""

from __future__ import annotations

import json
from typing import Any

import flask
from flask import Response, url_for

from app.models import FidelityList, FidelityPath, FormatQuery, IdempotencyHeader, JobBody, LawPath
from app.openapi import answers, exact, json_body, media, router
from app.services import services
from app.submission import accept_fidelity, take_in
from app.views import job_body, json_answer, verdict_body
from leym.contract.fidelity_spec import FidelityRequest
from leym.contract.problems import Problem
from leym.jobs.submit import fidelity_request
from leym.laws.bundle import Bundle
from leym.laws.verdicts import CHEAPEST_FIRST, read_verdict
from leym.reports.verdict import report

api = router("fidelity", "Whether a law in few bits is still the law")
exact(FidelityRequest)

ACCEPTED = json_body(JobBody, "The judgement was taken in as a job", Location="the job's path")
WHOLE = media("The whole verdict", "application/json", "text/html")
# its style is in the page and its plots are inline: nothing is fetched, and nothing runs
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@api.get("/v1/laws/<name>/fidelity", responses=answers({200: FidelityList}, 404))
def get_fidelity(path: LawPath) -> Response:
    """Get the verdicts on a law's precisions.

    `auto` takes the cheapest precision that passes; one without a verdict is not in the list.
    """
    bundle = _law(path.name)
    found = (read_verdict(bundle, precision, data=services().settings.data) for precision in CHEAPEST_FIRST)
    return json_answer({"items": [verdict_body(verdict) for verdict in found if verdict], "next": None})


@api.get("/v1/laws/<name>/fidelity/<precision>", responses=answers({200: WHOLE}, 404))
def get_verdict(path: FidelityPath, query: FormatQuery) -> Response:
    """Get one verdict with all its numbers, as JSON or as a page with plots."""
    bundle = _law(path.name)
    verdict = read_verdict(bundle, path.precision, data=services().settings.data)
    if verdict is None:
        raise Problem(404, "Not found", f"there is no verdict on {path.precision} of law {bundle.ref}")
    if query.format == "json":
        said: dict[str, Any] = json.loads(verdict.to_json())
        return json_answer(said)
    response = Response(report(verdict), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(flask.request)
    return response


@api.post("/v1/laws/<name>/fidelity", responses=answers({202: ACCEPTED}, 404, 413, 415, 507))
def judge_law(path: LawPath, header: IdempotencyHeader, body: FidelityRequest) -> Response:
    """Judge a precision of a law, as a job.

    Ensembles of universes run in both precisions, beside other jobs and after them. The job's record says the verdict
    when it has ended.
    """
    here = services()
    request = fidelity_request(path.name, body)
    if made := here.table.accepted(header.idempotency_key, request):
        job = here.table.get(made)
    else:
        bundle = _law(path.name)
        here.disk.check()
        job = take_in(here, accept_fidelity(bundle, body), header.idempotency_key, request)
    return json_answer(job_body(job), 202, Location=url_for("jobs.get_job", id=job.id))


def _law(reference: str) -> Bundle:
    """Raises Problem 404: here a law is a thing to look at, and no key of a request."""
    try:
        return services().laws.resolve(reference)
    except Problem as error:
        if error.title != "Unknown law":
            raise
        raise Problem(404, "Not found", error.detail) from error
