"""The Zarr v3 hierarchy of a job: `xarray.open_zarr("…/v1/jobs/<id>/store.zarr")`, also while it grows."""

from __future__ import annotations

from flask import Response

from app.conditional import CHECKED, FOREVER, GROWING, conditional
from app.models import StorePath
from app.openapi import JSON, OCTETS, answers, media, parts, router
from app.services import services
from leym.frames import zarr_gateway

api = router("store", "Results as a Zarr v3 hierarchy, for array libraries")

OBJECT = media("A metadata document or a chunk", OCTETS, JSON, ETag="changes when the object does")

ANSWERS = answers({200: OBJECT} | parts(OCTETS, JSON), 404, 410, 412, 416)


@api.get("/v1/jobs/<id>/store.zarr/<path:key>", responses=ANSWERS)
def get_store_object(path: StorePath) -> Response:
    """Read one object of the hierarchy.

    404 only for what was never due: a frame that exists but cannot be read is a 503, never an empty chunk.
    """
    here = services()
    found = zarr_gateway.find(here.store, lambda: here.table.get(path.id), path.key)
    response = Response(content_type=found.media_type)
    kept = FOREVER if found.chunk else CHECKED
    response.headers["Cache-Control"] = kept if found.final else GROWING
    return conditional(response, found.body)
