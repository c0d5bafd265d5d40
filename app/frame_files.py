"""Makes files of recorded frames: npy and npz arrays, and png, gif and webp pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from app.downloads import npz_member, step_range, temporary_file, write_npy, write_npz
from app.models.results import FramesQuery
from leym.contract.problems import Problem, invalid
from leym.contract.records import Job
from leym.contract.spec import LIMITS
from leym.frames import pictures
from leym.frames.reader import FrameReader
from leym.frames.view_reader import ViewReader
from leym.frames.zarr_metadata import run_attributes


@dataclass(frozen=True)
class FrameSelection:
    """Selected frames of one field or view.

    Attributes:
        reader: Reader of the job's frames.
        query: The request's selection and format.
        field: Description of the field by `ViewReader.described`.
        steps: Steps of the selected frames, in order.
        attributes: Description of the frames that goes into the file.
    """

    reader: ViewReader
    query: FramesQuery
    field: Mapping[str, Any]
    steps: NDArray[np.int64]
    attributes: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the field."""
        return str(self.field["name"])

    @property
    def span(self) -> tuple[int, int]:
        """First step, and the last step plus one."""
        return int(self.steps[0]), int(self.steps[-1]) + 1


def select_frames(job: Job, reader: FrameReader, field: str, query: FramesQuery) -> FrameSelection:
    """Select frames of a field or view.

    Raises:
        Problem: 404 if the job does not record the field, or what the view is made from; 422 if the selection is too
            large for one response.
    """
    source = ViewReader(reader)
    steps = source.steps(field, query.start, query.stop, query.stride)
    if query.last is not None:
        steps = steps[-query.last :]
    check_size(len(steps), source.frame_bytes(field))
    described = source.described(field)
    attributes = run_attributes(job) | {
        key: described[key] for key in ("units", "formula", "made_from") if key in described
    }
    attributes |= {"field": field, "channel": query.channel, "steps": step_range(steps)}
    return FrameSelection(source, query, described, steps, attributes)


def array_file(selection: FrameSelection) -> IO[bytes]:
    """Write the frames to a temporary npy or npz file and return it."""
    field, steps = selection.field, selection.steps
    dtype, shape = np.dtype(field["dtype"]), (len(steps), *field["shape"][1:])
    numbered = selection.reader.frames(selection.name, *selection.span, selection.query.stride) if len(steps) else ()
    frames = (frame for _, frame in numbered)
    file = temporary_file()
    if selection.query.format == "npy":
        write_npy(file, dtype, shape, frames)
    else:
        with write_npz(file, {"step": steps, "attributes": json_array(selection.attributes)}) as archive:
            with npz_member(archive, selection.name) as member:
                write_npy(member, dtype, shape, frames)
    return file


def picture_file(selection: FrameSelection) -> tuple[bytes, int | None]:
    """Draw the frames as a png, gif or webp.

    Returns:
        The file, and the duration of an animation in milliseconds (None for a png).

    Raises:
        Problem: 404 if the selection is empty, 422 if the picture would be too large.
    """
    query, (height, width) = selection.query, selection.field["shape"][1:3]
    if not len(selection.steps):
        raise Problem(404, "No frames", f"{selection.name!r} has no committed frames in this selection")
    # the plan refuses pictures that are too large before any frame is read
    plan = pictures.lay_out(query.format, len(selection.steps), height, width, query.fps, query.scale)
    _, frames = selection.reader.read(selection.name, *selection.span, query.stride)
    rgb = pictures.render(selection.name, frames, query.channel)
    attributes = selection.attributes
    if query.format == "png":
        attributes = {**attributes, "columns": plan.columns}
    body = pictures.encode(rgb, query.format, query.fps, query.scale, attributes)
    return body, sum(plan.delays) if plan.delays else None


def json_array(value: Mapping[str, Any]) -> NDArray[np.str_]:
    """Return a value as JSON in an array, since an npz file holds nothing but arrays."""
    return np.array(json.dumps(value))


def check_size(n: int, frame_bytes: int) -> None:
    """Raise Problem 422 if `n` frames are too large for one response."""
    if n * frame_bytes > LIMITS.answer_bytes:
        size = f"{n} frames of {frame_bytes} bytes are {n * frame_bytes} bytes"
        advice = "choose fewer by start, stop, stride or last"
        raise invalid(f"{size}; one response has at most {LIMITS.answer_bytes}: {advice}", "/stop")
