"""Laws that jobs can run: look, add, remove."""

from __future__ import annotations

import re
from pathlib import Path

from flask import Response, request, url_for

from app.law_uploads import FORM, ZIP, receive
from app.models import DigestQuery, LawBody, LawList, LawPath
from app.openapi import answers, raw_body, router
from app.services import Services, services
from app.views import json_answer, law_body
from leym.jobs.records import JobState
from leym.laws import library
from leym.laws.bundle import NAME, Bundle
from leym.problems import Problem, conflict, invalid
from leym.spec import LAW_NAME

api = router("laws", "The physics that jobs run: learned networks, pinned by digest")

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


@api.put("/v1/laws/<name>", responses=answers({200: LawBody, 201: LawBody}, 409, 413, 415))
def put_law(path: LawPath, query: DigestQuery) -> Response:
    """Add a law, or a further version of it.

    The body is a bundle (a zip of manifest.json and weights.safetensors, or a form with the files `manifest` and
    `weights`) or a form with a `checkpoint` of torch.save, perhaps its `config` (config.json), and what neither says.
    Versions never change: other content under the same name becomes another version, which the bare name means from
    then on. The same content again changes nothing else and answers 200.
    """
    if not re.fullmatch(NAME, path.name):
        raise invalid(f"name = {path.name[:80]!r}: it must match {NAME}", "/name")
    here = services()
    folder = _added(here)
    with library.scratch(folder) as work:
        sent = receive(request, path.name, work)
        if query.digest is not None and not sent.digest.startswith(query.digest):
            raise invalid(f"digest = {query.digest}, but the law that came has {sent.digest}", "/digest")
        bundle, new = library.add_version(folder, sent.path)
    location = url_for("laws.get_law", name=bundle.ref)
    return json_answer(_body(bundle, here.laws.find(path.name)), 201 if new else 200, Location=location)


raw_body(
    api,
    "/v1/laws/<name>",
    ZIP,
    FORM,
    method="put",
    description="A bundle as a zip; or a form with the files `manifest` and `weights`; or a form with the file "
    "`checkpoint` and, all optional, the file `config` and the fields architecture, d_state, hidden_channels, form, "
    "resize_antialias",
)


@api.delete("/v1/laws/<name>", responses=answers({204: "The law is removed"}, 403, 404, 409))
def delete_law(path: LawPath) -> Response:
    """Remove a law with all its versions, or one version by name@digest.

    Not while a job that has not ended needs it, and never a law that comes with the service.
    """
    if not re.fullmatch(LAW_NAME, path.name):
        raise invalid(f"name = {path.name[:80]!r}: it must match {LAW_NAME}", "/name")
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
        library.remove(folder, bundle)
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
