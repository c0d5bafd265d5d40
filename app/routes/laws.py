"""Laws that jobs can run: look, add, remove."""

from __future__ import annotations

from pathlib import Path

from flask import Response, request, url_for

from app.law_uploads import FORM, ZIP, receive
from app.models import DigestQuery, ImportFields, KeptLawPath, LawBody, LawList, LawPath, NewLawPath
from app.openapi import BYTES, answers, form, json_body, leads_to, raw_body, router, without_null
from app.services import Services, services
from app.views import json_answer, law_body
from leym.contract.problems import Problem, conflict, invalid
from leym.contract.records import JobState
from leym.laws import versions
from leym.laws.bundle import Bundle

api = router("laws", "The physics that jobs run: learned networks, pinned by digest")

OF_LAW = leads_to("get_law", "delete_law", "get_fidelity", name="$response.body#/name")
NEW, OLD = json_body(LawBody, "It was added", OF_LAW), json_body(LawBody, "It was there", OF_LAW)

_NEEDED = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)


@api.get("/v1/laws", responses=answers({200: LawList}))
def list_laws() -> Response:
    """List the laws.

    The newest version of each.
    """
    items = [_body(versions[0], versions) for versions in services().laws.versions().values()]
    return json_answer({"items": items, "next": None})


@api.get("/v1/laws/<name>", responses=answers({200: LawBody}, 404))
def get_law(path: LawPath) -> Response:
    """Look at a law, by name or name@digest."""
    here = services()
    try:
        bundle = here.laws.resolve(path.name)
    except Problem as error:
        if error.title != "Unknown law":
            raise
        raise Problem(404, "Not found", error.detail) from error
    return json_answer(_body(bundle, here.laws.find(bundle.name)))


@api.put("/v1/laws/<name>", responses=answers({200: OLD, 201: NEW}, 409, 413, 415))
def put_law(path: NewLawPath, query: DigestQuery) -> Response:
    """Add a law, or a further version of it.

    The body is a bundle (a zip of manifest.json and weights.safetensors, or a form with the files `manifest` and
    `weights`) or a form with a `checkpoint` of torch.save, perhaps its `config` (config.json), and what neither says.
    Versions never change: other content under the same name becomes another version, which the bare name means from
    then on. The same content again changes nothing else and answers 200.
    """
    here = services()
    folder = _added(here)
    with versions.staging_folder(folder) as work:
        sent = receive(request, path.name, work)
        if query.digest is not None and not sent.digest.startswith(query.digest):
            raise invalid(f"digest = {query.digest}, but the law that came has {sent.digest}", "/digest")
        bundle, new = versions.add_version(folder, sent.path)
    location = url_for("laws.get_law", name=bundle.ref)
    return json_answer(_body(bundle, here.laws.find(path.name)), 201 if new else 200, Location=location)


_SAID = {name: without_null(schema) for name, schema in ImportFields.model_json_schema()["properties"].items()}
_BUNDLE = {"manifest": BYTES, "weights": BYTES}
_CHECKPOINT = {"checkpoint": BYTES, "config": BYTES} | _SAID
_LAW_FORM = form(
    "LawForm",  # one object, since generators make no form of a choice between two
    {
        "description": "The files `manifest` and `weights`; or the file `checkpoint` and whatever else is known",
        "type": "object",
        "properties": _BUNDLE | _CHECKPOINT,
        "additionalProperties": False,
        "minProperties": 1,
        "dependentRequired": {"manifest": ["weights"], "weights": ["manifest"]}
        | {name: ["checkpoint"] for name in _CHECKPOINT if name != "checkpoint"},
        "dependentSchemas": {"manifest": {"maxProperties": 2}},
    },
)
raw_body(
    api,
    "/v1/laws/<name>",
    {ZIP: BYTES, FORM: _LAW_FORM},
    "A bundle as a zip; or a form with the files `manifest` and `weights`; or a form with the file `checkpoint` and, "
    "all optional, the file `config` and fields for what neither says",
    method="put",
)


@api.delete("/v1/laws/<name>", responses=answers({204: "The law is removed"}, 403, 404, 409))
def delete_law(path: KeptLawPath) -> Response:
    """Remove a law with all its versions, or one version by name@digest.

    Not while a job that has not ended needs it, and never a law that comes with the service.
    """
    here = services()
    folder = _added(here)
    found = here.laws.find(path.name)
    if not found:
        raise Problem(404, "Not found", f"there is no law {path.name!r}")
    ours = [bundle for bundle in found if folder in bundle.path.parents]
    if not ours:
        raise Problem(403, "Forbidden", f"law {path.name!r} comes with the service and cannot be removed")
    for bundle in ours:
        _check_unneeded(here, bundle)
    for bundle in ours:
        versions.remove_version(folder, bundle)
    return Response(status=204)


def _added(here: Services) -> Path:
    """The folder that laws are added to: the last one wins over the shipped laws."""
    return here.laws.folders[-1]


def _check_unneeded(here: Services, bundle: Bundle) -> None:
    for state in _NEEDED:
        jobs, _ = here.table.list(law=bundle.ref, state=state, limit=1)
        for job in jobs:
            raise conflict(f"law {bundle.ref} is needed by the {job.state} job {job.id}")


def _body(bundle: Bundle, versions: list[Bundle]) -> dict[str, object]:
    return law_body(bundle) | {"versions": [version.ref for version in versions]}
