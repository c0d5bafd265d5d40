"""Time series of single cells, and distributions of the values of frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response
from numpy.typing import NDArray

from app.cells import cell_columns, histogram_columns
from app.conditional import cache_control
from app.downloads import TYPES, add_step_headers, file_response, step_range, temporary_file, write_npz
from app.frame_files import json_array
from app.lookup import find_results, lineage_reader
from app.models.results import CellPath, CellQuery, CellSeries, FieldPath, HistogramBody, HistogramQuery
from app.openapi import JSON, content, partial_responses, responses, router
from app.routes.frames import GONE
from app.services import Services, current_services
from app.views import json_response
from leym.common.tables import delimited
from leym.contract.catalog import shown_info
from leym.contract.records import Job
from leym.frames.zarr_metadata import run_attributes

api = router("cells", "Single cells over time and distributions of values, from recorded fields and views of them")

FILES = ("text/csv", TYPES["npz"])
CELL = content("One column per number next to `step`", JSON, *FILES, schema=CellSeries, X_Lineage_Gone=GONE)
CELL_RESPONSES = responses({200: CELL} | partial_responses(*FILES), 404, 410, 412, 416)
HISTOGRAM = content("The counts of each frame", JSON, *FILES, schema=HistogramBody)
HISTOGRAM_RESPONSES = responses({200: HISTOGRAM} | partial_responses(*FILES), 404, 410, 412, 416)


@api.get("/v1/jobs/<id>/cells/<y>/<x>", responses=CELL_RESPONSES)
def get_cell(path: CellPath, query: CellQuery) -> Response:
    """Get the values of one cell at each recorded step.

    Of the default field `psi` the columns are `re_0`, `im_0`, `re_1`, …: the way of the cell in the complex plane of
    each channel. Another field or view has its own name as column, with the number of the channel if it has channels.
    With `lineage`, the steps of the jobs that this one continues come first, in one timeline without a step twice.
    """
    return cell_response(current_services(), path.id, path.y, path.x, query)


def cell_response(services: Services, job_id: str, y: int, x: int, query: CellQuery) -> Response:
    """Answer with the values of one cell of a job, as `get_cell` does."""
    job, reader = find_results(services, job_id)
    gone: list[str] = []
    about: dict[str, Any] = {"field": query.field, "y": y, "x": x}
    if query.lineage:
        reader = lineage_reader(services, job, reader)
        gone, about["lineage"] = reader.gone, reader.lineage
    columns = cell_columns(reader, y, x, query)
    if query.format == "json":
        body = {key: column.tolist() for key, column in columns.items()}
        response = add_step_headers(json_response(body, Cache_Control=cache_control(job)), columns["step"])
    else:
        response = _file(job, f"{job_id}-cell-{y}-{x}", query.format, columns, about)
    if gone:
        response.headers["X-Lineage-Gone"] = ",".join(gone)
    return response


@api.get("/v1/jobs/<id>/frames/<field>/histogram", responses=HISTOGRAM_RESPONSES)
def get_histogram(path: FieldPath, query: HistogramQuery) -> Response:
    """Get the distribution of the values of each frame of a real field or view, and how well the frame compresses.

    A `csv` has the counts as columns `count_0`, `count_1`, …; an `npz` has `counts` [n, bins], `edges`, `step`,
    `outside`, `compression` and `attributes`.
    """
    return histogram_response(current_services(), path.id, path.field, query)


def histogram_response(services: Services, job_id: str, field: str, query: HistogramQuery) -> Response:
    """Answer with the distributions of the frames of a job, as `get_histogram` does."""
    job, reader = find_results(services, job_id)
    columns, edges = histogram_columns(reader, field, query)
    about = {"field": field, "channel": query.channel, "units": shown_info(field).units}
    if query.format == "json":
        body = about | {"edges": edges.tolist()} | {key: column.tolist() for key, column in columns.items()}
        return add_step_headers(json_response(body, Cache_Control=cache_control(job)), columns["step"])
    if query.format == "csv":
        counts = columns.pop("counts")
        columns |= {f"count_{i}": counts[:, i] for i in range(query.bins)}
    else:
        columns["edges"] = edges
    return _file(job, f"{job_id}-{field}-histogram", query.format, columns, about)


def _file(job: Job, name: str, format: str, columns: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> Response:
    """Answer with columns as CSV, or as npz with `attributes` that say where they come from."""
    steps = columns["step"]
    if format == "csv":
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        response = file_response(delimited([list(columns), *rows]), "csv", f"{name}.csv", cache_control(job))
    else:
        attributes = json_array(run_attributes(job) | dict(about) | {"steps": step_range(steps)})
        file = temporary_file()
        write_npz(file, dict(columns) | {"attributes": attributes}).close()
        response = file_response(file, "npz", f"{name}.npz", cache_control(job))
    return add_step_headers(response, steps)
