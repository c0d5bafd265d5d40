"""Quotes: what a job or a sweep would take, before it is submitted."""

from __future__ import annotations

from flask import Response

from app.models.quotes import QuoteBody, QuoteRequest
from app.openapi import responses, router, use_pydantic_schema
from app.quotes import pointed_at, quote_job, quote_sweep
from app.services import current_services
from app.views import json_response
from leym.contract.problems import Problem

api = router("quotes", "What a job would take, before it is submitted")
use_pydantic_schema(QuoteRequest)


@api.post("/v1/quotes", responses=responses({200: QuoteBody}, 413, 415))
def get_quote(body: QuoteRequest) -> Response:
    """Quote a job or a sweep: speed, wait, start, end, bytes and cost.

    The numbers are those of similar jobs that have succeeded here. What is not known is null, and `reason` says why.
    """
    services = current_services()
    try:
        if body.job is not None:
            return json_response(quote_job(services, body.job))
        return json_response(quote_sweep(services, body.one_sweep()))
    except Problem as problem:
        raise pointed_at(problem, "sweep" if body.job is None else "job") from problem
