"""What a job recorded: arrays, pictures and numbers."""

from __future__ import annotations

from math import isqrt
from typing import Any, NoReturn

import numpy as np
from flask import Response
from numpy.typing import NDArray

from app.conditional import caching
from app.downloads import TYPES, answer, csv_text, npz_member, scratch, steps_header, write_npy, write_npz
from app.lookup import reader_of
from app.models import FieldList, FieldPath, FramesQuery, IdPath, ObservablesQuery
from app.openapi import JSON, answers, json_body, leads_to, media, parts, router
from app.services import services
from app.views import json_answer
from leym.frames import pictures
from leym.frames.reader import FrameReader
from leym.problems import Problem, invalid
from leym.spec import LIMITS

api = router("results", "What jobs recorded: frames, pictures and numbers, also while they run")

FRAMES = media(
    "The frames",
    *(TYPES[f] for f in ("npy", "npz", "png", "gif", "webp")),
    X_Steps="start:stop:stride of the frames in the answer, in steps",
    X_Frames="how many these are",
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

    `npz` has `step` int64 [n] and the field [n, H, W] or [n, H, W, d]; `npy` the field alone. A `png` of several
    frames is a strip; `gif` and `webp` are animations, in colours whose range is fixed per field.
    Of a job that has ended, a download that was cut off can go on (`Range`).
    """
    _, reader = reader_of(services(), path.id)
    steps = reader.steps(path.field, query.start, query.stop, query.stride)
    if query.last is not None:
        steps = steps[-query.last :]
    _check_bytes(len(steps), reader.frame_bytes(path.field))
    name = f"{path.id}-{path.field}.{query.format}"
    if query.format in ("npy", "npz"):
        return steps_header(_arrays(reader, path.field, steps, query, name), steps)
    return steps_header(_picture(reader, path.field, steps, query, name), steps)


@api.get(
    "/v1/jobs/<id>/observables", responses=answers({200: NUMBERS} | parts("text/csv", TYPES["npz"]), 404, 410, 412, 416)
)
def get_observables(path: IdPath, query: ObservablesQuery) -> Response:
    """Get the numbers per observed step."""
    _, reader = reader_of(services(), path.id)
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
        return steps_header(answer(csv_text(list(columns), rows), "csv", name, caching(reader.job)), steps)
    file = scratch()
    write_npz(file, columns).close()
    return steps_header(answer(file, "npz", name, caching(reader.job)), steps)


def _arrays(reader: FrameReader, field: str, steps: NDArray[np.int64], query: FramesQuery, name: str) -> Response:
    described = next(found for found in reader.fields() if found["name"] == field)
    dtype, shape = np.dtype(described["dtype"]), (len(steps), *described["shape"][1:])
    frames = (frame for _, frame in reader.frames(field, *_span(steps), query.stride)) if len(steps) else ()
    file = scratch()
    if query.format == "npy":
        write_npy(file, dtype, shape, frames)
    else:
        with write_npz(file, {"step": steps}) as archive:
            with npz_member(archive, field) as member:
                write_npy(member, dtype, shape, frames)
    return answer(file, query.format, name, caching(reader.job))


def _picture(reader: FrameReader, field: str, steps: NDArray[np.int64], query: FramesQuery, name: str) -> Response:
    if not len(steps):
        raise Problem(404, "No frames", f"{field!r} has no committed frames in this selection")
    height, width = next(found for found in reader.fields() if found["name"] == field)["shape"][1:3]
    cells = len(steps) * height * width
    # unless asked for, as large as is good to see and fits
    scale = query.scale or max(1, min(pictures.SIDE // max(height, width), isqrt(LIMITS.answer_pixels // cells)))
    if cells * scale**2 > LIMITS.answer_pixels:
        selected = f"{len(steps)} frames of {height} x {width} cells at scale {scale} are {cells * scale**2} pixels"
        _too_much(selected, LIMITS.answer_pixels)
    _, frames = reader.read(field, *_span(steps), query.stride)
    rgb = pictures.render(field, frames, query.channel)
    return answer(pictures.encode(rgb, query.format, query.fps, scale), query.format, name, caching(reader.job))


def _span(steps: NDArray[np.int64]) -> tuple[int, int]:
    return int(steps[0]), int(steps[-1]) + 1


def _check_bytes(n: int, each: int) -> None:
    if n * each > LIMITS.answer_bytes:
        _too_much(f"{n} frames of {each} bytes are {n * each} bytes", LIMITS.answer_bytes)


def _too_much(selected: str, bound: int) -> NoReturn:
    raise invalid(f"{selected}; one answer has at most {bound}: choose fewer by start, stop, stride or last", "/stop")
