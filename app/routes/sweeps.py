"""Sweeps: one base job, many points, one table."""

from __future__ import annotations

from flask import Response, url_for

from app.conditional import CHECKED, GROWING
from app.downloads import answer
from app.models import (
    IdempotencyHeader,
    IdPath,
    JobPage,
    PageQuery,
    SweepBody,
    SweepPage,
    SweepTable,
    TableQuery,
)
from app.openapi import JSON, answers, exact, json_body, leads_to, media, parts, router
from app.services import Services, services
from app.submission import accept_sweep
from app.views import job_body, json_answer, sweep_body, sweep_row
from leym.common.tables import columns_of, delimited, flat_row
from leym.contract.records import Job, NewJob
from leym.contract.spec import LIMITS, SweepSpec
from leym.jobs.submit import sweep_request

api = router("sweeps", "Many jobs that differ in a few keys")
exact(SweepSpec)

OF_SWEEP = leads_to("get_sweep", "cancel_sweep", "list_sweep_jobs", "get_sweep_table", id="$response.body#/id")
ACCEPTED = json_body(SweepBody, "All jobs were taken in", OF_SWEEP, Location="the sweep's path")
TABLE = media("One row per job", JSON, "text/csv", schema=SweepTable)


@api.post("/v1/sweeps", responses=answers({202: ACCEPTED}, 413, 415, 507))
def submit_sweep(header: IdempotencyHeader, body: SweepSpec) -> Response:
    """Submit a sweep.

    All its jobs are taken in, or none: the first point that is refused is named.
    """
    here = services()
    spec = body.model_dump(mode="json")
    if made := here.table.accepted(header.idempotency_key, sweep_request(spec)):
        sweep = here.table.get_sweep(made)
    else:
        here.disk.check()
        members = [
            NewJob(a.spec, a.law, a.precision, a.d_state, point, a.fidelity) for point, a in accept_sweep(here, body)
        ]
        sweep, jobs, created = here.table.submit_sweep(spec, members, header.idempotency_key)
        if created:
            here.send(jobs)
    location = url_for("sweeps.get_sweep", id=sweep.id)
    return json_answer(sweep_body(sweep, sweep.counts), 202, Location=location)


@api.get("/v1/sweeps", responses=answers({200: SweepPage}))
def list_sweeps(query: PageQuery) -> Response:
    """List sweeps, newest first."""
    found, following = services().table.list_sweeps(query.limit, query.cursor)
    return json_answer({"items": [sweep_body(s, s.counts) for s in found], "next": following})


@api.get("/v1/sweeps/<id>", responses=answers({200: SweepBody}, 404))
def get_sweep(path: IdPath) -> Response:
    """Look at a sweep."""
    sweep = services().table.get_sweep(path.id)
    return json_answer(sweep_body(sweep, sweep.counts))


@api.post("/v1/sweeps/<id>/cancel", responses=answers({200: SweepBody}, 404, 415))
def cancel_sweep(path: IdPath) -> Response:
    """Cancel every job of it that has not ended."""
    here = services()
    live = {job.id for job in _members(here, path.id, LIMITS.sweep_jobs, None)[0] if not job.final}
    here.table.cancel_sweep(path.id)
    here.cancelled([job for job in here.table.find(sorted(live)) if job.final])
    sweep = here.table.get_sweep(path.id)
    return json_answer(sweep_body(sweep, sweep.counts))


@api.get("/v1/sweeps/<id>/jobs", responses=answers({200: JobPage}, 404))
def list_sweep_jobs(path: IdPath, query: PageQuery) -> Response:
    """List its jobs in the order of the points."""
    found, following = _members(services(), path.id, query.limit, query.cursor)
    return json_answer({"items": [job_body(job) for job in found if job.deleted_at is None], "next": following})


@api.get("/v1/sweeps/<id>/table", responses=answers({200: TABLE} | parts("text/csv"), 404, 412, 416))
def get_sweep_table(path: IdPath, query: TableQuery) -> Response:
    """Get one row per job: its point, its state and its last observables."""
    found, following = _members(services(), path.id, query.limit, query.cursor)
    rows = [sweep_row(job) for job in found]
    if query.format == "json":
        return json_answer({"items": rows, "next": following})
    flat = [flat_row(row) for row in rows]
    columns = columns_of(flat)
    cells = ([row.get(column) for column in columns] for row in flat)
    caching = CHECKED if all(job.final for job in found) else GROWING
    return answer(delimited([columns, *cells]), "csv", f"{path.id}.csv", caching)


def _members(here: Services, sweep_id: str, limit: int, cursor: str | None) -> tuple[list[Job], str | None]:
    return here.table.sweep_members(sweep_id, limit, cursor)
