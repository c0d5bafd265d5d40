"""Shared links: results of a job for people without a token, for `xarray.open_zarr(link)` and as frames."""

from __future__ import annotations

import time

from flask import Response, request

from app.links import sign, verify
from app.lookup import find_job
from app.models.access import LinkBody, LinkRequest, SharedFieldPath, SharedPath, SharedStorePath
from app.models.base import IdPath
from app.models.results import FramesQuery, StreamQuery
from app.openapi import responses, router
from app.routes.frames import FRAMES_RESPONSES, frames_response
from app.routes.store import OBJECT_RESPONSES, object_response
from app.routes.stream import RESPONSES, stream_response
from app.services import Services, current_services, service_wide
from app.views import json_response
from leym.contract.problems import invalid
from leym.contract.record_bodies import rfc3339

api = router("shared", "Links to results that need no token")


@api.post("/v1/jobs/<id>/links", responses=responses({201: LinkBody}, 404, 410, 415))
def share_job(path: IdPath, body: LinkRequest) -> Response:
    """Make a link to a job's results.

    Anybody who has the link may read the results until it expires. It cannot be revoked before that.
    """
    services = current_services()
    job = find_job(services, path.id)
    until = time.time() + body.ttl_s
    link = f"{request.script_root}/v1/shared/{sign(services.settings, job.id, job.project, until)}"
    answer = {"store": f"{link}/store.zarr", "frames": f"{link}/frames", "expires_at": rfc3339(until)}
    return json_response(answer, 201)


@api.get("/v1/shared/<link>/store.zarr/<path:key>", responses=OBJECT_RESPONSES)
def get_shared_object(path: SharedStorePath) -> Response:
    """Read one object of a shared job's Zarr hierarchy."""
    services, job_id = _open(path.link)
    return object_response(services, job_id, path.key)


@api.get("/v1/shared/<link>/frames/<field>", responses=FRAMES_RESPONSES)
def get_shared_frames(path: SharedFieldPath, query: FramesQuery) -> Response:
    """Read frames of a shared job, as arrays or pictures; `lineage` is refused, for a link opens its own job only."""
    services, job_id = _open(path.link)
    if query.lineage:
        raise invalid("lineage = true: a link opens its own job only, not those that it continues", "/lineage")
    return frames_response(services, job_id, path.field, query)


@api.get("/v1/shared/<link>/stream", responses=RESPONSES)
def get_shared_stream(path: SharedPath, query: StreamQuery) -> Response:
    """Watch a field of a shared job over a WebSocket."""
    services, job_id = _open(path.link)
    return stream_response(services, job_id, query)


def _open(link: str) -> tuple[Services, str]:
    """Return the services of the project of a link, and the id of its job.

    Raises:
        Problem: 403 if this service did not issue the link, 410 if it has expired.
    """
    services = service_wide()
    job_id, project = verify(services.settings, link, time.time())
    return services.for_project(project), job_id
