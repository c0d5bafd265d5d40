"""Small pictures of many jobs in one answer."""

from __future__ import annotations

import time

from flask import Response

from app.models.tiles import TilesQuery
from app.openapi import OCTETS, content, responses, router
from app.services import current_services
from app.tiles import generate_tiles

api = router("tiles", "Small pictures of many jobs in one answer")

TILES = content(
    "Frames of the first recorded field that is not complex, one after another, job by job. Each is a message as those "
    "of `/v1/jobs/{id}/stream`: the length of its header (uint32, little-endian), the header (JSON: job, field, step, "
    "shape, dtype, range), and as many numbers as `shape` says. Angles and colours have the `dtype` u8, other fields "
    "f16. Jobs without such a frame have none.",
    OCTETS,
)


@api.get("/v1/tiles", responses=responses({200: TILES}))
def get_tiles(query: TilesQuery) -> Response:
    """Get a few frames of many jobs, small enough for a wall of tiles.

    Ids of jobs that are unknown or whose results are gone are ignored.
    """
    services = current_services()
    found = services.table.find(tuple(dict.fromkeys(query.jobs.split(","))))
    jobs = [job for job in found if job.gone(time.time()) is None]
    response = Response(generate_tiles(services, jobs, query.frames, query.side), content_type=OCTETS)
    response.headers["Cache-Control"] = "no-store"
    return response
