"""Laws that jobs can run."""

from __future__ import annotations

from flask import Response

from app.models import LawBody, LawList, LawPath
from app.openapi import answers, router
from app.services import services
from app.views import json_answer, law_body
from leym.problems import Problem

api = router("laws", "The physics that jobs run: learned networks, pinned by digest")


@api.get("/v1/laws", responses=answers({200: LawList}))
def list_laws() -> Response:
    """List the laws."""
    return json_answer({"items": [law_body(bundle) for bundle in services().laws.bundles()], "next": None})


@api.get("/v1/laws/<name>", responses=answers({200: LawBody}, 404))
def get_law(path: LawPath) -> Response:
    """Look at a law, by name or name@digest."""
    try:
        bundle = services().laws.resolve(path.name)
    except Problem as error:
        if error.title != "Unknown law":
            raise
        raise Problem(404, "Not found", error.detail) from error
    return json_answer(law_body(bundle))
