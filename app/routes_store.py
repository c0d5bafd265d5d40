"""The Zarr v3 hierarchy of a job: `xarray.open_zarr("…/v1/jobs/<id>/store.zarr")`, also while it grows."""

from __future__ import annotations

from flask import Response, request

from app.models import StorePath
from app.openapi import JSON, OCTETS, answers, media, router
from app.services import services
from leym.frames import gateway

api = router("store", "Results as a Zarr v3 hierarchy, for array libraries")

OBJECT = media("A metadata document or a shard", JSON, OCTETS, ETag="changes when the object does")
PART = media("The asked range of it", OCTETS, Content_Range="the range and the whole size")

ANSWERS = answers({200: OBJECT, 206: PART, 304: "It has not changed"}, 404, 410, 416)


@api.get("/v1/jobs/<id>/store.zarr/<path:key>", responses=ANSWERS)
def get_store_object(path: StorePath) -> Response:
    """Read one object of the hierarchy.

    404 only for what was never due: a frame that exists but cannot be read is a 503, never an empty chunk.
    """
    here = services()
    found = gateway.answer(
        here.store,
        lambda: here.table.get(path.id),
        path.key,
        method=request.method,
        range_header=request.headers.get("Range"),
        if_none_match=request.headers.get("If-None-Match"),
    )
    response = Response(found.body, found.status)
    for name, value in found.headers.items():
        response.headers[name] = value
    return response
