"""Exports: one file with everything to cite and to reproduce a job or a sweep."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Response

from app.conditional import NO_STORE, cache_control
from app.downloads import TYPES, file_response, made_by
from app.exports import job_archive, sweep_archive
from app.lookup import find_results
from app.models.base import IdPath
from app.models.results import ExportQuery, SweepExportQuery
from app.openapi import content, responses, router
from app.provenance import provenance_of
from app.services import current_services
from leym.contract.provenance import KEY
from leym.contract.records import Job
from leym.frames import netcdf
from leym.frames.reader import FrameReader

api = router("exports", "One file with everything to cite and to reproduce results")

FILE = content("The file", TYPES["zip"], TYPES["nc"], Content_Disposition="a name for the file")
RESPONSES = responses({200: FILE}, 404, 410, 501)


@api.get("/v1/jobs/<id>/export", responses=RESPONSES)
def export_job(path: IdPath, query: ExportQuery) -> Response:
    """Get a job, or a member of a sweep, as one file.

    A `zip` has spec, provenance, RO-Crate metadata, laws, start states, observables and frames: `leym reproduce`
    computes it again on another service and compares every bit. A `zarr.zip` has the frames as a Zarr hierarchy. An
    `nc` (NetCDF4) has frames and observables, with the provenance as an attribute.
    """
    services = current_services()
    job, reader = find_results(services, path.id)
    if query.format == "nc":
        return _netcdf(job, reader, {KEY: provenance_of(services, job)})
    return _streamed(job_archive(services, job, reader, query.format), f"{path.id}.{query.format}")


@api.get("/v1/sweeps/<id>/export", responses=responses({200: FILE}, 404, 410))
def export_sweep(path: IdPath, query: SweepExportQuery) -> Response:
    """Get a sweep as one file: spec, provenance, RO-Crate metadata, laws, the table, and all arrays as Zarr."""
    services = current_services()
    sweep = services.table.get_sweep(path.id)
    return _streamed(sweep_archive(services, sweep, query.format), f"{path.id}.{query.format}")


def _streamed(body: Iterator[bytes], name: str) -> Response:
    response = Response(body, content_type=TYPES["zip"])
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = NO_STORE
    return response


def _netcdf(job: Job, reader: FrameReader, attributes: dict[str, object]) -> Response:
    with made_by("data", "nc") as file:
        netcdf.write(file.name, job, reader, attributes)
    return file_response(file, "nc", f"{job.id}.nc", cache_control(job))
