"""Results of a job: recorded frames as arrays and pictures, and observables."""

from __future__ import annotations

import json
from typing import Any

from flask import Response
from numpy.typing import NDArray

from app.conditional import cache_control
from app.downloads import (
    ENDINGS,
    TYPES,
    add_step_headers,
    comment_line,
    file_response,
    step_range,
    temporary_file,
    write_npz,
)
from app.frame_files import array_file, check_size, json_array, picture_file, select_frames
from app.lookup import find_results, lineage_reader, readers_of_lineage
from app.models.base import IdPath
from app.models.results import FieldList, FieldPath, FramesQuery, ObservablesQuery
from app.openapi import JSON, content, json_content, operation_links, partial_responses, responses, router
from app.provenance import provenance_of
from app.services import Services, current_services
from app.views import json_response
from leym.common.tables import delimited
from leym.contract.provenance import KEY
from leym.frames.joined import joined_observables
from leym.frames.view_reader import ViewReader
from leym.frames.zarr_metadata import run_attributes

api = router("results", "Results of jobs, also while they run: frames, pictures and observables")

GONE = "with `lineage`: ids of jobs whose results were deleted or have expired, so that their steps lack"
FRAMES = content(
    "The frames",
    *(TYPES[f] for f in ("npy", "npz", "png", "gif", "webp", "apng", "mp4")),
    X_Steps="start:stop:stride of the frames in the response, in steps",
    X_Frames="number of these frames; a picture or animation contains each of them",
    X_Duration_Ms="of an animation: milliseconds from its first frame to the end of its last",
    X_Lineage_Gone=GONE,
    Content_Disposition="a name for the file",
)
FIELDS = json_content(
    FieldList,
    "The fields",
    operation_links("get_frames", id="$request.path.id", field="$response.body#/items/0/name"),
)
FRAMES_RESPONSES = responses({200: FRAMES} | partial_responses(*dict.fromkeys(TYPES.values())), 404, 410, 412, 416, 501)
OBSERVABLES = content(
    "The values, one column per observable next to `step`",
    JSON,
    "text/csv",
    TYPES["npz"],
    X_Lineage_Gone=GONE,
)
OBSERVABLES_RESPONSES = responses({200: OBSERVABLES} | partial_responses("text/csv", TYPES["npz"]), 404, 410, 412, 416)


@api.get("/v1/jobs/<id>/frames", responses=responses({200: FIELDS}, 404, 410))
def list_fields(path: IdPath) -> Response:
    """List the recorded fields, and the views that can be computed from them."""
    return fields_response(current_services(), path.id)


def fields_response(services: Services, job_id: str) -> Response:
    """Answer with the recorded fields and the views of a job, as `list_fields` does."""
    job, reader = find_results(services, job_id)
    answer = {"items": reader.fields(), "views": ViewReader(reader).views()}
    return json_response(answer, Cache_Control=cache_control(job))


@api.get("/v1/jobs/<id>/frames/<field>", responses=FRAMES_RESPONSES)
def get_frames(path: FieldPath, query: FramesQuery) -> Response:
    """Get frames of one field, or of a view that is computed from recorded fields.

    An `npz` contains `step` int64 [n], the field [n, H, W] or [n, H, W, d] and `attributes`; an `npy` only the field. A
    `png` of several frames shows them from left to right, in several rows if one row would be too wide, or as a `grid`;
    a `strip` has one row; `gif`, `webp`, `apng` and `mp4` are animations. Each field has a fixed colour range and map
    unless the query says others. Every file describes itself in JSON (job, law and its digest, spec, field, steps, and
    its provenance): `attributes` of an `npz`, the text `leym` of a `png` or `apng`, the comment of a `gif` or `mp4`,
    the EXIF ImageDescription and the XMP description of a `webp`, and, with `provenance`, a file beside an `npy`.
    With `lineage`, the frames of the jobs that this one continues come first, in one timeline without a step twice.
    If the job has ended, an interrupted download can be resumed (`Range`).
    """
    return frames_response(current_services(), path.id, path.field, query)


def frames_response(services: Services, job_id: str, field: str, query: FramesQuery) -> Response:
    """Answer with frames of one field, as `get_frames` does for the services of any project."""
    job, reader = find_results(services, job_id)
    gone: list[str] = []
    if query.lineage:
        reader = lineage_reader(services, job, reader)
        gone = reader.gone
    selection = select_frames(services, job, reader, field, query)
    name, caching = f"{job_id}-{field}.{ENDINGS.get(query.format, query.format)}", cache_control(job)
    if query.format == "npy" and query.provenance:
        response = file_response(array_file(selection), "zip", f"{name}.zip", caching)
    elif query.format in ("npy", "npz"):
        response = file_response(array_file(selection), query.format, name, caching)
    else:
        picture, duration_ms = picture_file(selection)
        response = file_response(picture, query.format, name, caching)
        if duration_ms is not None:
            response.headers["X-Duration-Ms"] = str(duration_ms)
    if gone:
        response.headers["X-Lineage-Gone"] = ",".join(gone)
    return add_step_headers(response, selection.steps)


@api.get("/v1/jobs/<id>/observables", responses=OBSERVABLES_RESPONSES)
def get_observables(path: IdPath, query: ObservablesQuery) -> Response:
    """Get the observables of each observed step.

    With `lineage`, the steps of the jobs that this one continues come first, in one timeline without a step twice.
    """
    return observables_response(current_services(), path.id, query)


def observables_response(services: Services, job_id: str, query: ObservablesQuery) -> Response:
    """Answer with the observables of a job, as `get_observables` does."""
    job, reader = find_results(services, job_id)
    names = None if query.names is None else [name.strip() for name in query.names.split(",")]
    gone: list[str] = []
    if query.lineage:
        path = readers_of_lineage(services, job, reader)
        gone = [one.id for one, found in path if found is None]
        steps, values = joined_observables(path, names, query.start, query.stop, query.stride)
    else:
        steps, values = reader.observables(names, query.start, query.stop, query.stride)
    check_size(len(steps), 8 * (len(values) + 1))
    columns: dict[str, NDArray[Any]] = {"step": steps, **values}
    name, caching = f"{job_id}-observables.{query.format}", cache_control(job)
    if query.format == "json":
        response = json_response({key: column.tolist() for key, column in columns.items()}, Cache_Control=caching)
    elif query.format == "csv":
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        text = delimited([list(columns), *rows]).encode()
        if query.provenance:
            text = comment_line(json.dumps(provenance_of(services, job))) + text
        response = file_response(text, "csv", name, caching)
    else:
        file = temporary_file()
        attributes = run_attributes(job) | {"steps": step_range(steps), KEY: provenance_of(services, job)}
        write_npz(file, columns | {"attributes": json_array(attributes)}).close()
        response = file_response(file, "npz", name, caching)
    if gone:
        response.headers["X-Lineage-Gone"] = ",".join(gone)
    return add_step_headers(response, steps)
