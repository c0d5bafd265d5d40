"""Shared links: a job or a sweep for people without a token, on a page, for `xarray.open_zarr(link)`, and as files."""

from __future__ import annotations

import time
from typing import Any

from flask import Response, current_app, g, request
from werkzeug.exceptions import HTTPException

from app.links import Scope, sign, verify
from app.lookup import find_job, find_results
from app.models.access import (
    LinkBody,
    LinkList,
    LinkPath,
    LinkRequest,
    SharedBody,
    SharedFieldPath,
    SharedPartPath,
    SharedPath,
    SharedStorePath,
    SweepLinkBody,
)
from app.models.base import IdPath
from app.models.results import FramesQuery, StreamQuery
from app.openapi import JSON, OCTETS, content, responses, router
from app.provenance import first_row, law_of, provenance_of, provenance_of_sweep
from app.routes.frames import FRAMES_RESPONSES, frames_response
from app.routes.store import OBJECT_RESPONSES, object_response, sweep_object_response
from app.routes.stream import RESPONSES, stream_response
from app.services import Services, current_services, service_wide
from app.views import job_body, json_response, law_body, sweep_body
from leym.contract.problems import Problem, invalid, not_found
from leym.contract.record_bodies import rfc3339
from leym.jobs.links import Link

api = router("shared", "Links to results that need no token")

# Endpoints that a link opens below its own path, each for the job or the sweep of the link only.
READABLE = {
    "job": frozenset(
        (
            *("results.list_fields", "results.get_frames", "results.get_observables", "cells.get_histogram"),
            *("cells.get_cell", "store.get_store_object", "events.stream_events", "jobs.get_job"),
            *("jobs.get_history", "interventions.list_interventions", "exports.export_job"),
        )
    ),
    "sweep": frozenset(
        (
            *("sweeps.get_sweep", "sweeps.get_sweep_table", "sweeps.get_sweep_summary", "sweeps.get_sweep_atlas"),
            *("store.get_sweep_object", "exports.export_sweep"),
            *("members.get_member", "members.list_member_fields", "members.get_member_frames"),
            *("members.get_member_cell", "members.get_member_histogram"),
            *("members.get_member_observables", "members.get_member_object", "members.stream_member_events"),
        )
    ),
}
PARTS = {
    "job": ("frames", "observables", "events", "export", "history", "store.zarr"),
    "sweep": ("table", "summary", "members/{index}", "members/{index}/frames", "export", "store.zarr"),
}
PART = content("As the answer of the same path of the job or sweep", OCTETS, JSON)


@api.post("/v1/jobs/<id>/links", responses=responses({201: LinkBody}, 404, 410, 415))
def share_job(path: IdPath, body: LinkRequest) -> Response:
    """Make a link to a job's results.

    Anybody who has the link may read the results until it expires or is revoked.
    """
    services = current_services()
    job = find_job(services, path.id)
    link = services.table.of(job.project).create_link("job", job.id, body.ttl_s)
    found = link_body(services, link)
    return json_response(found | {"frames": f"{found['record']}/frames"}, 201)


@api.post("/v1/sweeps/<id>/links", responses=responses({201: SweepLinkBody}, 404, 415))
def share_sweep(path: IdPath, body: LinkRequest) -> Response:
    """Make a link to a sweep: its table, its arrays and its members, until it expires or is revoked."""
    services = current_services()
    services.table.get_sweep(path.id)
    found = link_body(services, services.table.create_link("sweep", path.id, body.ttl_s))
    return json_response(found | {"table": f"{found['record']}/table"}, 201)


@api.get("/v1/jobs/<id>/links", responses=responses({200: LinkList}, 404, 410))
def list_job_links(path: IdPath) -> Response:
    """List the links to a job that hold. Links of version 0.1.0 are not among them."""
    services = current_services()
    return _listed(services, find_job(services, path.id).id)


@api.get("/v1/sweeps/<id>/links", responses=responses({200: LinkList}, 404))
def list_sweep_links(path: IdPath) -> Response:
    """List the links to a sweep that hold."""
    services = current_services()
    return _listed(services, services.table.get_sweep(path.id).id)


@api.delete("/v1/jobs/<id>/links/<link>", responses=responses({204: "The link is revoked"}, 404))
def revoke_job_link(path: LinkPath) -> Response:
    """Revoke a link to a job, by its id. Repeating the request does no harm."""
    current_services().table.revoke_link(path.id, path.link)
    return Response(status=204)


@api.delete("/v1/sweeps/<id>/links/<link>", responses=responses({204: "The link is revoked"}, 404))
def revoke_sweep_link(path: LinkPath) -> Response:
    """Revoke a link to a sweep, by its id. Repeating the request does no harm."""
    current_services().table.revoke_link(path.id, path.link)
    return Response(status=204)


@api.get("/v1/shared/<link>", responses=responses({200: SharedBody}, 404, 410))
def get_shared(path: SharedPath) -> Response:
    """Get what a link shares: the job or the sweep, its law, its provenance, and what can be downloaded."""
    services, scope = open_link(path.link)
    return json_response(shared_body(services, scope, path.link), Cache_Control="no-store")


@api.get("/v1/shared/<link>/store.zarr/<path:key>", responses=OBJECT_RESPONSES)
def get_shared_object(path: SharedStorePath) -> Response:
    """Read one object of the Zarr hierarchy of a shared job or sweep."""
    services, scope = open_link(path.link)
    if scope.kind == "sweep":
        return sweep_object_response(services, scope.subject, path.key)
    return object_response(services, scope.subject, path.key)


@api.get("/v1/shared/<link>/frames/<field>", responses=FRAMES_RESPONSES)
def get_shared_frames(path: SharedFieldPath, query: FramesQuery) -> Response:
    """Read frames of a shared job, as arrays or pictures; `lineage` is refused, for a link opens its own job only."""
    services, scope = open_link(path.link, "job")
    if query.lineage:
        raise invalid("lineage = true: a link opens its own job only, not those that it continues", "/lineage")
    return frames_response(services, scope.subject, path.field, query)


@api.get("/v1/shared/<link>/stream", responses=RESPONSES)
def get_shared_stream(path: SharedPath, query: StreamQuery) -> Response:
    """Watch a field of a shared job over a WebSocket."""
    services, scope = open_link(path.link, "job")
    return stream_response(services, scope.subject, query)


@api.get("/v1/shared/<link>/<path:part>", responses=responses({200: PART}, 404, 409, 410, 412, 416, 501))
def get_shared_part(path: SharedPartPath) -> Response:
    """Read a part of what a link shares.

    `frames`, `observables`, `events`, `export` and `history` of a job; `table`, `summary`, `members/{index}` and what
    is below it, and `export` of a sweep. Each takes the query of the path of the same name below the job or the sweep,
    and answers as it does.
    """
    services, scope = open_link(path.link)
    if request.args.get("lineage", "false").lower() not in ("0", "false"):
        raise invalid("lineage: a link opens its own job only, not those that it continues", "/lineage")
    g.services = services  # of the project of the link, for the function that answers
    try:
        at = f"/v1/{scope.kind}s/{scope.subject}/{path.part}"
        endpoint, arguments = current_app.url_map.bind("").match(at, method="GET")
    except HTTPException:
        endpoint, arguments = "", {}
    if endpoint not in READABLE[scope.kind]:
        raise not_found(f"part (a shared {scope.kind} has {', '.join(PARTS[scope.kind])})", path.part[:80])
    return current_app.make_response(current_app.view_functions[endpoint](**arguments))  # type: ignore[arg-type]


def open_link(link: str, kind: str | None = None) -> tuple[Services, Scope]:
    """Return the services of the project of a link, and what it gives access to.

    Raises:
        Problem: 403 if this service did not issue the link, 404 if it is for another kind, 410 if it has expired or was
            revoked.
    """
    services = service_wide()
    scope = verify(services.settings, link, time.time())
    row = None if scope.id is None else services.table.find_link(scope.id)
    if scope.id is not None and (row is None or row.revoked_at is not None):
        raise Problem(410, "Gone", "this link was revoked")
    if kind is not None and kind != scope.kind:
        raise Problem(404, "Not found", f"this link shares a {scope.kind}, which has no such part")
    return services.for_project(scope.project), scope


def shared_body(services: Services, scope: Scope, link: str) -> dict[str, Any]:
    """Return what a link shares, as `SharedBody`.

    Raises:
        Problem: 404 if it does not exist any more, 410 if its results were deleted.
    """
    at = f"{request.script_root}/v1/shared/{link}"
    if scope.kind == "sweep":
        sweep = services.table.get_sweep(scope.subject)
        record, origin, row = sweep_body(sweep, sweep.counts), provenance_of_sweep(services, sweep), None
        law = first_row(services, sweep).law
        downloads = {name: f"{at}/table?format={name}" for name in ("csv", "parquet")}
    else:
        row, reader = find_results(services, scope.subject)
        record, origin, law = job_body(row), provenance_of(services, row), row.law
        pictures = {f["name"]: f"{at}/frames/{f['name']}" for f in reader.fields() if f["committed"]}
        downloads = {f"{name}.npz": path for name, path in pictures.items()}
        downloads |= {"observables.csv": f"{at}/observables?format=csv"} if row.spec.get("observe") else {}
    downloads |= {"zip": f"{at}/export", "zarr.zip": f"{at}/export?format=zarr.zip"}
    bundle = law_of(services, law)
    return {
        "kind": scope.kind,
        "record": record | {"links": {"self": at, "store": f"{at}/store.zarr", "export": f"{at}/export"}},
        "spec": record["spec"],
        "law": None if bundle is None else law_body(bundle, [bundle]),
        "provenance": origin,
        "citation": origin["citation"],
        "downloads": downloads,
        "expires_at": rfc3339(scope.until),
    }


def link_body(services: Services, link: Link) -> dict[str, Any]:
    """Return a link as the bodies of links have it."""
    scope = Scope(link.kind, link.subject, link.project, int(link.expires_at), link.id)
    text = sign(services.settings, scope)
    record = f"{request.script_root}/v1/shared/{text}"
    return {
        "id": link.id,
        "page": f"{request.script_root}/s/{text}",
        "record": record,
        "store": f"{record}/store.zarr",
        "created_at": rfc3339(link.created_at),
        "expires_at": rfc3339(link.expires_at),
    }


def _listed(services: Services, subject: str) -> Response:
    found = [link_body(services, link) for link in services.table.list_links(subject)]
    return json_response({"items": found, "next": None})
