"""Members of sweeps, by their index. Each answers as the job that it is."""

from __future__ import annotations

from flask import Response

from app import cancellation
from app.models.base import MemberPath
from app.models.jobs import EventsHeader, EventsQuery, JobBody, WaitQuery
from app.models.results import (
    CellQuery,
    FieldList,
    FramesQuery,
    HistogramQuery,
    MemberCellPath,
    MemberFieldPath,
    MemberStorePath,
    ObservablesQuery,
)
from app.openapi import responses, router
from app.routes.cells import CELL_RESPONSES, HISTOGRAM_RESPONSES, cell_response, histogram_response
from app.routes.events import RESPONSES, events_response
from app.routes.frames import (
    FRAMES_RESPONSES,
    OBSERVABLES_RESPONSES,
    fields_response,
    frames_response,
    observables_response,
)
from app.routes.jobs import job_response
from app.routes.store import OBJECT_RESPONSES, object_response
from app.services import Services, current_services
from app.views import job_body, json_response

api = router("members", "Jobs of sweeps, by their index")


@api.get("/v1/sweeps/<id>/members/<index>", responses=responses({200: JobBody}, 404, 410))
def get_member(path: MemberPath, query: WaitQuery) -> Response:
    """Get a member of a sweep, as a job."""
    services, job_id = _find(path)
    return job_response(services, job_id, query)


@api.post("/v1/sweeps/<id>/members/<index>/cancel", responses=responses({200: JobBody}, 404, 410, 415))
def cancel_member(path: MemberPath) -> Response:
    """Cancel a member of a sweep; the others go on."""
    services, job_id = _find(path)
    return json_response(job_body(cancellation.cancel_job(services, job_id)))


@api.get("/v1/sweeps/<id>/members/<index>/frames", responses=responses({200: FieldList}, 404, 410))
def list_member_fields(path: MemberPath) -> Response:
    """List the recorded fields of a member, and the views of them."""
    services, job_id = _find(path)
    return fields_response(services, job_id)


@api.get("/v1/sweeps/<id>/members/<index>/frames/<field>", responses=FRAMES_RESPONSES)
def get_member_frames(path: MemberFieldPath, query: FramesQuery) -> Response:
    """Get frames of one field of a member, as of a job."""
    services, job_id = _find(path)
    return frames_response(services, job_id, path.field, query)


@api.get("/v1/sweeps/<id>/members/<index>/frames/<field>/histogram", responses=HISTOGRAM_RESPONSES)
def get_member_histogram(path: MemberFieldPath, query: HistogramQuery) -> Response:
    """Get the distribution of the values of each frame of a member, as of a job."""
    services, job_id = _find(path)
    return histogram_response(services, job_id, path.field, query)


@api.get("/v1/sweeps/<id>/members/<index>/cells/<y>/<x>", responses=CELL_RESPONSES)
def get_member_cell(path: MemberCellPath, query: CellQuery) -> Response:
    """Get the values of one cell of a member at each recorded step, as of a job."""
    services, job_id = _find(path)
    return cell_response(services, job_id, path.y, path.x, query)


@api.get("/v1/sweeps/<id>/members/<index>/observables", responses=OBSERVABLES_RESPONSES)
def get_member_observables(path: MemberPath, query: ObservablesQuery) -> Response:
    """Get the observables of each observed step of a member."""
    services, job_id = _find(path)
    return observables_response(services, job_id, query)


@api.get("/v1/sweeps/<id>/members/<index>/store.zarr/<path:key>", responses=OBJECT_RESPONSES)
def get_member_object(path: MemberStorePath) -> Response:
    """Read one object of a member's Zarr hierarchy."""
    services, job_id = _find(path)
    return object_response(services, job_id, path.key)


@api.get("/v1/sweeps/<id>/members/<index>/events", responses=RESPONSES)
def stream_member_events(header: EventsHeader, path: MemberPath, query: EventsQuery) -> Response:
    """Follow a member, as a job."""
    services, job_id = _find(path)
    return events_response(services, job_id, header, query)


def _find(path: MemberPath) -> tuple[Services, str]:
    """Return the services of the caller's project, and the id of the member.

    Raises:
        Problem: 404 if there is no such sweep or member.
    """
    services = current_services()
    return services, services.table.member(path.id, path.index).id
