"""Laws that jobs can run: list, get, add, remove."""

from __future__ import annotations

from flask import Response, request, url_for

from app.conditional import REVALIDATE, send_conditionally
from app.law_drawing import draw_laws
from app.law_removal import added_laws_folder, remove_law
from app.law_uploads import FORM, ZIP, receive_law
from app.lookup import find_law
from app.models.laws import (
    DigestQuery,
    DrawRequest,
    ImportFields,
    LawBody,
    LawList,
    LawPath,
    NewLawPath,
    RemovableLawPath,
)
from app.openapi import (
    BYTES,
    add_schema,
    content,
    describe_raw_body,
    json_content,
    operation_links,
    responses,
    router,
    without_null,
)
from app.services import current_services
from app.views import json_response, law_body
from leym.contract.problems import Problem, invalid
from leym.laws import versions
from leym.laws.bundle import PREVIEW, has_preview
from leym.laws.temporary import keep

api = router("laws", "The physics that jobs run: learned networks, identified by digest")

LAW_LINKS = operation_links("get_law", "delete_law", "get_fidelity", name="$response.body#/name")
ADDED = json_content(LawBody, "The law was added", LAW_LINKS)
DRAWN = json_content(LawList, "The laws, in the order of their seeds")
PREVIEW_BODY = content("An animation", "image/webp")
UNCHANGED = json_content(LawBody, "The law was there already", LAW_LINKS)


@api.get("/v1/laws", responses=responses({200: LawList}))
def list_laws() -> Response:
    """List the laws.

    Each entry is the newest version of a law.
    """
    laws = current_services().laws.versions().values()
    return json_response({"items": [law_body(law[0], law) for law in laws], "next": None})


@api.get("/v1/laws/<name>", responses=responses({200: LawBody}, 404))
def get_law(path: LawPath) -> Response:
    """Get a law, by name or name@digest."""
    services = current_services()
    bundle = find_law(services, path.name)
    return json_response(law_body(bundle, services.laws.find(bundle.name)))


@api.put("/v1/laws/<name>", responses=responses({200: UNCHANGED, 201: ADDED}, 409, 413, 415))
def put_law(path: NewLawPath, query: DigestQuery) -> Response:
    """Add a law, or a new version of it.

    The body is a bundle (a zip of manifest.json and weights.safetensors, or a form with the files `manifest` and
    `weights`), or a form with a `checkpoint` of torch.save, optionally its `config` (config.json), and fields for facts
    that neither contains. Versions never change: other content under the same name becomes a new version, which the
    name without a digest refers to from then on. The same content again changes nothing and answers 200.
    """
    services = current_services()
    folder = added_laws_folder(services)
    with versions.staging_folder(folder) as work:
        received = receive_law(request, path.name, work)
        if query.digest is not None and not received.digest.startswith(query.digest):
            raise invalid(f"digest = {query.digest}, but the received law has {received.digest}", "/digest")
        bundle, is_new = versions.add_version(folder, received.path)
    body = law_body(bundle, services.laws.find(path.name))
    return json_response(body, 201 if is_new else 200, Location=url_for("laws.get_law", name=bundle.ref))


_FIELDS = {name: without_null(schema) for name, schema in ImportFields.model_json_schema()["properties"].items()}
_BUNDLE = {"manifest": BYTES, "weights": BYTES}
_CHECKPOINT = {"checkpoint": BYTES, "config": BYTES} | _FIELDS
_LAW_FORM = add_schema(
    "LawForm",  # one object, since client generators cannot make a form from a choice between two
    {
        "description": "The files `manifest` and `weights`; or the file `checkpoint` and optional further fields",
        "type": "object",
        "properties": _BUNDLE | _CHECKPOINT,
        "additionalProperties": False,
        "minProperties": 1,
        "dependentRequired": {"manifest": ["weights"], "weights": ["manifest"]}
        | {name: ["checkpoint"] for name in _CHECKPOINT if name != "checkpoint"},
        "dependentSchemas": {"manifest": {"maxProperties": 2}},
    },
)
describe_raw_body(
    api,
    "/v1/laws/<name>",
    {ZIP: BYTES, FORM: _LAW_FORM},
    "A bundle as a zip; or a form with the files `manifest` and `weights`; or a form with the file `checkpoint` and, "
    "all optional, the file `config` and fields for facts that neither contains",
    method="put",
)


@api.delete("/v1/laws/<name>", responses=responses({204: "The law is removed"}, 403, 404, 409))
def delete_law(path: RemovableLawPath) -> Response:
    """Remove a law with all of its versions, or one version by name@digest.

    A law that a job needs which has not ended cannot be removed, nor can a law that comes with the service.
    """
    remove_law(current_services(), path.name)
    return Response(status=204)


@api.post("/v1/drawn-laws", responses=responses({201: DRAWN}, 413, 415))
def draw_random_laws(body: DrawRequest) -> Response:
    """Draw laws with random weights.

    They stay for a day, and longer if they are kept. The same request draws the same laws: a name tells how.
    """
    items = [law_body(bundle, [bundle]) for bundle in draw_laws(current_services(), body)]
    return json_response({"items": items, "next": None}, 201)


@api.post("/v1/laws/<name>/keep", responses=responses({200: LawBody}, 403, 404, 415))
def keep_law(path: RemovableLawPath) -> Response:
    """Keep a drawn law, which would be removed otherwise. A law that stays anyway is not changed."""
    services = current_services()
    bundle = find_law(services, path.name)
    keep(bundle)
    return json_response(law_body(bundle, services.laws.find(bundle.name)))


@api.get("/v1/laws/<name>/preview", responses=responses({200: PREVIEW_BODY, 304: "It has not changed"}, 404, 412))
def get_law_preview(path: LawPath) -> Response:
    """Get the animation that a law's bundle carries, as a WebP."""
    bundle = find_law(current_services(), path.name)
    if not has_preview(bundle):
        raise Problem(404, "Not found", f"the bundle of law {bundle.ref} carries no preview")
    response = Response(content_type="image/webp")
    response.headers["Cache-Control"] = REVALIDATE
    return send_conditionally(response, (bundle.path / PREVIEW).read_bytes(), ranges=False)
