"""Sweeps: one base job, many points, one table."""

from __future__ import annotations

from flask import Response, url_for

from app import cancellation, submission, sweep_control, sweep_summary
from app.downloads import TYPES
from app.models.base import IdempotencyHeader, IdPath, PageQuery
from app.models.jobs import JobPage
from app.models.labels import LabelsQuery, SweepChange
from app.models.sweeps import (
    AtlasQuery,
    DryRunQuery,
    Estimate,
    GrownSweepBody,
    SummaryQuery,
    SweepBody,
    SweepPage,
    SweepSummary,
    SweepTable,
    TableQuery,
)
from app.openapi import (
    JSON,
    content,
    json_content,
    operation_links,
    partial_responses,
    responses,
    router,
    use_pydantic_schema,
)
from app.services import current_services
from app.sweep_atlas import atlas_response
from app.sweep_tables import table_response
from app.views import job_body, json_response, sweep_body
from leym.common.table_formats import FORMATS
from leym.contract.records import Sweep
from leym.contract.sweeps import MoreMembers, SweepSpec

api = router("sweeps", "Many jobs that differ in a few keys")
use_pydantic_schema(SweepSpec)
use_pydantic_schema(MoreMembers)

SWEEP_LINKS = operation_links(
    "get_sweep", "cancel_sweep", "list_sweep_jobs", "get_sweep_table", id="$response.body#/id"
)
ACCEPTED = json_content(SweepBody, "All jobs were accepted", SWEEP_LINKS, Location="path of the sweep")
GROWN = json_content(GrownSweepBody, "All members were accepted", Location="path of the sweep")
ESTIMATE = json_content(Estimate, "The size of the sweep, which was not submitted")
ATLAS = content(
    "One frame of each member, in the order of their indices",
    TYPES["npy"],
    TYPES["png"],
    X_Members="number of tiles",
    X_Columns="tiles in a row of the picture; they are 2 cells apart",
    X_Step="the newest step that is shown; empty if no member has a frame yet",
)
ATLAS_RESPONSES = responses({200: ATLAS} | partial_responses(TYPES["npy"], TYPES["png"]), 404, 412, 416)
TABLE = content("One row per job", JSON, *FORMATS.values(), schema=SweepTable)
TABLE_RESPONSES = responses({200: TABLE} | partial_responses(*FORMATS.values()), 404, 412, 416, 501)


@api.post("/v1/sweeps", responses=responses({200: ESTIMATE, 202: ACCEPTED}, 413, 415, 507))
def submit_sweep(header: IdempotencyHeader, query: DryRunQuery, body: SweepSpec) -> Response:
    """Submit a sweep.

    Either all of its jobs are accepted or none: a refusal names a member that is not valid, and the axis to blame. With
    `dry_run`, the answer says how much work the sweep is, and nothing is submitted.
    """
    if query.dry_run:
        return json_response(submission.estimate_sweep(current_services(), body))
    sweep = submission.submit_sweep(current_services(), body, header.idempotency_key)
    return json_response(sweep_body(sweep, sweep.counts), 202, Location=url_for("sweeps.get_sweep", id=sweep.id))


@api.post("/v1/sweeps/<id>/members", responses=responses({200: ESTIMATE, 202: GROWN}, 404, 409, 413, 415, 507))
def add_members(header: IdempotencyHeader, path: IdPath, query: DryRunQuery, body: MoreMembers) -> Response:
    """Add members to a sweep, also while it runs or after it has ended.

    They have the base and the stop rules of the sweep, and values of their own on its axes. Their indices follow those
    of the members before them, which stay as they are. Either all are accepted or none. With `dry_run`, the answer says
    how much work they are, and nothing is added.
    """
    services = current_services()
    if query.dry_run:
        return json_response(submission.estimate_members(services, path.id, body))
    sweep, added = submission.add_members(services, path.id, body, header.idempotency_key)
    members = {"members": {"first": added.first, "size": added.size}}
    location = url_for("sweeps.get_sweep", id=sweep.id)
    return json_response(sweep_body(sweep, sweep.counts) | members, 202, Location=location)


@api.get("/v1/sweeps", responses=responses({200: SweepPage}))
def list_sweeps(query: LabelsQuery) -> Response:
    """List sweeps, newest first."""
    found, following = current_services().table.list_sweeps(query.limit, query.cursor, query.starred, query.q)
    return json_response({"items": [sweep_body(sweep, sweep.counts) for sweep in found], "next": following})


@api.get("/v1/sweeps/<id>", responses=responses({200: SweepBody}, 404))
def get_sweep(path: IdPath) -> Response:
    """Get a sweep."""
    sweep = current_services().table.get_sweep(path.id)
    return json_response(sweep_body(sweep, sweep.counts))


@api.post("/v1/sweeps/<id>/cancel", responses=responses({200: SweepBody}, 404, 415))
def cancel_sweep(path: IdPath) -> Response:
    """Cancel every job of a sweep."""
    sweep = cancellation.cancel_sweep(current_services(), path.id)
    return json_response(sweep_body(sweep, sweep.counts))


@api.post("/v1/sweeps/<id>/pause", responses=responses({200: SweepBody}, 404, 415))
def pause_sweep(path: IdPath) -> Response:
    """Pause a sweep.

    No job of it starts until it is resumed, and running ones are stopped. They continue from their last checkpoints.
    """
    return _after(sweep_control.pause(current_services(), path.id))


@api.post("/v1/sweeps/<id>/resume", responses=responses({200: SweepBody}, 404, 415))
def resume_sweep(path: IdPath) -> Response:
    """Resume a paused sweep."""
    return _after(sweep_control.resume(current_services(), path.id))


@api.post("/v1/sweeps/<id>/retry", responses=responses({200: SweepBody}, 404, 409, 415, 507))
def retry_sweep(path: IdPath) -> Response:
    """Run the failed jobs of a sweep again, from the beginning."""
    return _after(sweep_control.retry(current_services(), path.id))


@api.patch("/v1/sweeps/<id>", responses=responses({200: SweepBody}, 404, 415))
def change_sweep(path: IdPath, body: SweepChange) -> Response:
    """Change the labels of a sweep, or the priority of the jobs that have not ended.

    A running job has the new priority from its next start on.
    """
    services = current_services()
    services.table.label_sweep(path.id, **body.labels())
    if body.priority is not None:
        return _after(sweep_control.set_priority(services, path.id, body.priority))
    return _after(services.table.get_sweep(path.id))


@api.delete("/v1/sweeps/<id>", responses=responses({204: "The results are removed"}, 404, 409))
def delete_sweep(path: IdPath) -> Response:
    """Remove the results of a sweep.

    All of its jobs must have ended, and no live job may start from one. Repeating the request does no harm.
    """
    sweep_control.delete(current_services(), path.id)
    return Response(status=204)


def _after(sweep: Sweep) -> Response:
    return json_response(sweep_body(sweep, sweep.counts))


@api.get("/v1/sweeps/<id>/jobs", responses=responses({200: JobPage}, 404))
def list_sweep_jobs(path: IdPath, query: PageQuery) -> Response:
    """List the jobs of a sweep, in the order of its points."""
    found, following = current_services().table.sweep_members(path.id, query.limit, query.cursor)
    return json_response({"items": [job_body(job) for job in found if job.deleted_at is None], "next": following})


@api.get("/v1/sweeps/<id>/summary", responses=responses({200: SweepSummary}, 404))
def get_sweep_summary(path: IdPath, query: SummaryQuery) -> Response:
    """Get counts, progress and a histogram of each observable over the members, at their last observed steps."""
    services = current_services()
    sweep = services.table.get_sweep(path.id)
    body = sweep_body(sweep, sweep.counts)
    kept = {key: body[key] for key in ("id", "size", "state", "counts", "progress")}
    return json_response(kept | {"observables": sweep_summary.distributions(services, sweep, query.bins)})


@api.get(
    "/v1/sweeps/<id>/table",
    responses=responses({200: TABLE} | partial_responses(*FORMATS.values()), 404, 412, 416, 501),
)
def get_sweep_table(path: IdPath, query: TableQuery) -> Response:
    """Get one row per job: its point, its state and its last observables; or statistics per point, with `aggregate`."""
    return table_response(current_services(), path.id, query)


@api.get("/v1/sweeps/<id>/atlas", responses=ATLAS_RESPONSES)
def get_sweep_atlas(path: IdPath, query: AtlasQuery) -> Response:
    """Get one frame of each of many members, as one picture or one array: the universes of a phase diagram at a glance.

    Tiles of members without a frame are NaN. All members must have one grid.
    """
    return atlas_response(current_services(), path.id, query)
