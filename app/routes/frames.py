"""What a job recorded: arrays, pictures and numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
from flask import Response
from numpy.typing import NDArray

from app.conditional import caching
from app.downloads import TYPES, answer, npz_member, scratch, span, steps_header, write_npy, write_npz
from app.lookup import reader_of
from app.models import FieldList, FieldPath, FramesQuery, IdPath, ObservablesQuery
from app.openapi import JSON, answers, json_body, leads_to, media, parts, router
from app.services import services
from app.views import json_answer
from leym.common.tables import delimited
from leym.contract.problems import Problem, invalid
from leym.contract.spec import LIMITS
from leym.frames import pictures
from leym.frames.reader import FrameReader
from leym.frames.zarr_metadata import run_attributes

api = router("results", "What jobs recorded: frames, pictures and numbers, also while they run")

FRAMES = media(
    "The frames",
    *(TYPES[f] for f in ("npy", "npz", "png", "gif", "webp")),
    X_Steps="start:stop:stride of the frames in the answer, in steps",
    X_Frames="how many these are; a picture or animation holds each of them",
    X_Duration_Ms="of an animation: milliseconds from its first frame to the end of its last",
    Content_Disposition="a name for the file",
)
FIELDS = json_body(
    FieldList,
    "The fields",
    leads_to("get_frames", id="$request.path.id", field="$response.body#/items/0/name"),
)
ANSWERS = answers({200: FRAMES} | parts(*TYPES.values()), 404, 410, 412, 416)
NUMBERS = media("The numbers, one column per observable beside `step`", JSON, "text/csv", TYPES["npz"])


@api.get("/v1/jobs/<id>/frames", responses=answers({200: FIELDS}, 404, 410))
def list_fields(path: IdPath) -> Response:
    """List the recorded fields."""
    _, reader = reader_of(services(), path.id)
    return json_answer({"items": reader.fields()}, Cache_Control=caching(reader.job))


@api.get("/v1/jobs/<id>/frames/<field>", responses=ANSWERS)
def get_frames(path: FieldPath, query: FramesQuery) -> Response:
    """Get frames of one field.

    `npz` has `step` int64 [n], the field [n, H, W] or [n, H, W, d] and `attributes`; `npy` the field alone. A `png` of
    several frames shows them from left to right, in rows below each other where one row would be too wide; `gif` and
    `webp` are animations. Colours have a fixed range per field. What a file says of itself (`attributes` of an `npz`,
    text `leym` of a `png`, comment of a `gif`, EXIF ImageDescription of a `webp`) is JSON: job, law and its digest,
    spec, field, steps.
    Of a job that has ended, a download that was cut off can go on (`Range`).
    """
    job, reader = reader_of(services(), path.id)
    steps = reader.steps(path.field, query.start, query.stop, query.stride)
    if query.last is not None:
        steps = steps[-query.last :]
    _check_bytes(len(steps), reader.frame_bytes(path.field))
    name = f"{path.id}-{path.field}.{query.format}"
    described = next(found for found in reader.fields() if found["name"] == path.field)
    about = run_attributes(job) | {key: described[key] for key in ("units", "formula")}
    about |= {"field": path.field, "channel": query.channel, "steps": span(steps)}
    if query.format in ("npy", "npz"):
        return steps_header(_arrays(reader, described, steps, query, name, about), steps)
    return steps_header(_picture(reader, described, steps, query, name, about), steps)


@api.get(
    "/v1/jobs/<id>/observables", responses=answers({200: NUMBERS} | parts("text/csv", TYPES["npz"]), 404, 410, 412, 416)
)
def get_observables(path: IdPath, query: ObservablesQuery) -> Response:
    """Get the numbers per observed step."""
    job, reader = reader_of(services(), path.id)
    names = None if query.names is None else [name.strip() for name in query.names.split(",")]
    steps, numbers = reader.observables(names, query.start, query.stop, query.stride)
    _check_bytes(len(steps), 8 * (len(numbers) + 1))
    columns: dict[str, NDArray[Any]] = {"step": steps, **numbers}
    name = f"{path.id}-observables.{query.format}"
    if query.format == "json":
        listed = {key: column.tolist() for key, column in columns.items()}
        return steps_header(json_answer(listed, Cache_Control=caching(reader.job)), steps)
    if query.format == "csv":
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return steps_header(answer(delimited([list(columns), *rows]), "csv", name, caching(reader.job)), steps)
    file = scratch()
    write_npz(file, columns | {"attributes": _text(run_attributes(job) | {"steps": span(steps)})}).close()
    return steps_header(answer(file, "npz", name, caching(reader.job)), steps)


def _arrays(
    reader: FrameReader,
    described: Mapping[str, Any],
    steps: NDArray[np.int64],
    query: FramesQuery,
    name: str,
    about: Mapping[str, Any],
) -> Response:
    field, dtype, shape = described["name"], np.dtype(described["dtype"]), (len(steps), *described["shape"][1:])
    frames = (frame for _, frame in reader.frames(field, *_span(steps), query.stride)) if len(steps) else ()
    file = scratch()
    if query.format == "npy":
        write_npy(file, dtype, shape, frames)
    else:
        with write_npz(file, {"step": steps, "attributes": _text(about)}) as archive:
            with npz_member(archive, field) as member:
                write_npy(member, dtype, shape, frames)
    return answer(file, query.format, name, caching(reader.job))


def _picture(
    reader: FrameReader,
    described: Mapping[str, Any],
    steps: NDArray[np.int64],
    query: FramesQuery,
    name: str,
    about: Mapping[str, Any],
) -> Response:
    field, (height, width) = described["name"], described["shape"][1:3]
    if not len(steps):
        raise Problem(404, "No frames", f"{field!r} has no committed frames in this selection")
    plan = pictures.lay_out(query.format, len(steps), height, width, query.fps, query.scale)  # refuses before it reads
    _, frames = reader.read(field, *_span(steps), query.stride)
    rgb = pictures.render(field, frames, query.channel)
    if query.format == "png":
        about = {**about, "columns": plan.columns}
    body = pictures.encode(rgb, query.format, query.fps, query.scale, about)
    made = answer(body, query.format, name, caching(reader.job))
    if plan.delays:
        made.headers["X-Duration-Ms"] = str(sum(plan.delays))
    return made


def _text(about: Mapping[str, Any]) -> NDArray[np.str_]:
    return np.array(json.dumps(about))


def _span(steps: NDArray[np.int64]) -> tuple[int, int]:
    return int(steps[0]), int(steps[-1]) + 1


def _check_bytes(n: int, each: int) -> None:
    if n * each > LIMITS.answer_bytes:
        _too_much(f"{n} frames of {each} bytes are {n * each} bytes", LIMITS.answer_bytes)


def _too_much(selected: str, bound: int) -> NoReturn:
    raise invalid(f"{selected}; one answer has at most {bound}: choose fewer by start, stop, stride or last", "/stop")
