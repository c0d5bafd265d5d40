"""Results for people without a token: `xarray.open_zarr(link)` and pictures, until the link expires."""

from __future__ import annotations

import time

from flask import Response, g, request

from app.links import sign, verify
from app.lookup import find_job
from app.models import (
    FieldPath,
    FramesQuery,
    IdPath,
    LinkBody,
    LinkRequest,
    SharedFieldPath,
    SharedStorePath,
    StorePath,
)
from app.openapi import answers, router
from app.routes import frames as routes_frames
from app.routes import store as routes_store
from app.services import services, whole
from app.views import json_answer, moment

api = router("shared", "Links to results that need no token")


@api.post("/v1/jobs/<id>/links", responses=answers({201: LinkBody}, 404, 410, 415))
def share_job(path: IdPath, body: LinkRequest) -> Response:
    """Make a link to a job's results.

    Whoever has it may read them until it expires. It cannot be taken back before that.
    """
    here = services()
    job = find_job(here, path.id)
    until = time.time() + body.ttl_s
    at = f"{request.script_root}/v1/shared/{sign(here.settings, job.id, job.project, until)}"
    return json_answer({"store": f"{at}/store.zarr", "frames": f"{at}/frames", "expires_at": moment(until)}, 201)


@api.get("/v1/shared/<link>/store.zarr/<path:key>", responses=routes_store.ANSWERS)
def get_shared_object(path: SharedStorePath) -> Response:
    """Read one object of a shared job's Zarr hierarchy."""
    job = _enter(path.link)
    return routes_store.get_store_object(StorePath(id=job, key=path.key))


@api.get("/v1/shared/<link>/frames/<field>", responses=routes_frames.ANSWERS)
def get_shared_frames(path: SharedFieldPath, query: FramesQuery) -> Response:
    """Read frames of a shared job, as arrays or pictures."""
    job = _enter(path.link)
    return routes_frames.get_frames(FieldPath(id=job, field=path.field), query)


def _enter(link: str) -> str:
    """The job of a link, with the services of its project. Raises Problem 403 or 410."""
    here = whole()
    job, project = verify(here.settings, link, time.time())
    g.services = here.of(project)
    return job
