"""The Zarr v3 hierarchy of a job or a sweep: `xarray.open_zarr("…/v1/jobs/<id>/store.zarr")`, also while it grows."""

from __future__ import annotations

from typing import Any

from flask import Response

from app.conditional import IMMUTABLE, NO_STORE, REVALIDATE, send_conditionally
from app.models.results import StorePath
from app.openapi import JSON, OCTETS, content, partial_responses, responses, router
from app.provenance import provenance_of, provenance_of_sweep
from app.services import Services, current_services
from leym.contract.limits import LIMITS
from leym.contract.provenance import KEY
from leym.contract.records import Job
from leym.frames import sweep_zarr, zarr_gateway

api = router("store", "Results as a Zarr v3 hierarchy, for array libraries")

OBJECT = content("A metadata document or a chunk", OCTETS, JSON, ETag="changes when the object does")

OBJECT_RESPONSES = responses({200: OBJECT} | partial_responses(OCTETS, JSON), 404, 410, 412, 416)


@api.get("/v1/jobs/<id>/store.zarr/<path:key>", responses=OBJECT_RESPONSES)
def get_store_object(path: StorePath) -> Response:
    """Read one object of the hierarchy.

    A 404 means that the object is not part of the hierarchy. A committed frame that cannot be read is a 503, and never
    an empty chunk.
    """
    return object_response(current_services(), path.id, path.key)


@api.get(
    "/v1/sweeps/<id>/store.zarr/<path:key>",
    responses=responses({200: OBJECT} | partial_responses(OCTETS, JSON), 404, 409, 410, 412, 416),
)
def get_sweep_object(path: StorePath) -> Response:
    """Read one object of the hierarchy of a sweep: one array per field, with the axes as dimensions.

    A 404 means that the object is not part of the hierarchy. A committed frame that cannot be read is a 503, and never
    an empty chunk. When members are added to the sweep, chunks of the arrays before are a 409: open them again.
    """
    return sweep_object_response(current_services(), path.id, path.key)


def sweep_object_response(services: Services, sweep_id: str, key: str) -> Response:
    """Answer with one object of a sweep's hierarchy, as `get_sweep_object` does for the services of any project."""
    plan = services.table.sweep_plan(sweep_id)

    def rows() -> list[Job]:
        return services.table.blocks(sweep_id) or services.table.sweep_members(sweep_id, LIMITS.table_rows)[0]

    def more() -> dict[str, Any]:
        return {KEY: provenance_of_sweep(services, services.table.get_sweep(sweep_id))}

    return _answer(sweep_zarr.find(services.store, plan, rows, key, more), grows=True)


def object_response(services: Services, job_id: str, key: str) -> Response:
    """Answer with one object, as `get_store_object` does for the services of any project."""

    def more() -> dict[str, Any]:
        return {KEY: provenance_of(services, services.table.get(job_id))}

    return _answer(zarr_gateway.find(services.store, lambda: services.table.get(job_id), key, more))


def _answer(found: zarr_gateway.Resource, *, grows: bool = False) -> Response:
    """Answer with an object of a hierarchy; one of a sweep `grows`, since members can be added to it at any time."""
    response = Response(content_type=OCTETS if found.chunk else JSON)
    caching = IMMUTABLE if found.chunk and not grows else REVALIDATE
    response.headers["Cache-Control"] = caching if found.final else NO_STORE
    return send_conditionally(response, found.body)
