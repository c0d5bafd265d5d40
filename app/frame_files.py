"""Makes files of recorded frames: npy and npz arrays, pictures and videos. Each contains its provenance."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from app.downloads import archive_member, made_by, npz_member, step_range, temporary_file, write_npy, write_npz
from app.models.results import FramesQuery
from app.provenance import provenance_of
from app.services import Services
from leym.contract.problems import Problem, invalid
from leym.contract.provenance import KEY
from leym.contract.records import Job
from leym.contract.spec import LIMITS
from leym.frames import pictures, videos
from leym.frames.joined import LineageReader
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
        stride: Committed frames from one selected frame to the next.
        attributes: Description of the frames that goes into the file.
    """

    reader: ViewReader
    query: FramesQuery
    field: Mapping[str, Any]
    steps: NDArray[np.int64]
    stride: int
    attributes: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the field."""
        return str(self.field["name"])

    @property
    def span(self) -> tuple[int, int]:
        """First step, and the last step plus one."""
        return int(self.steps[0]), int(self.steps[-1]) + 1

    def frames(self) -> Iterator[NDArray[Any]]:
        """Iterate over the frames [H, W] or [H, W, d], with few of them in memory."""
        numbered = self.reader.frames(self.name, *self.span, self.stride) if len(self.steps) else ()
        return (frame for _, frame in numbered)

    def read(self) -> NDArray[Any]:
        """Read the frames: [n, H, W] or [n, H, W, d]."""
        return self.reader.read(self.name, *self.span, self.stride)[1]


def select_frames(services: Services, job: Job, reader: FrameReader, field: str, query: FramesQuery) -> FrameSelection:
    """Select frames of a field or view.

    Raises:
        Problem: 404 if the job does not record the field, or what the view is made from; 422 if the selection is too
            large for one response, or if options do not fit each other.
    """
    _check(query)
    source = ViewReader(reader)
    steps = source.steps(field, query.start, query.stop, query.stride)
    if query.last is not None:
        steps = steps[-query.last :]
    stride = query.stride
    if query.grid and len(steps):
        cells = prod(_grid(query.grid))
        apart = max(1, (len(steps) - 1) // max(cells - 1, 1))
        steps, stride = steps[::apart][:cells], stride * apart
    check_size(len(steps), source.frame_bytes(field))
    described = source.described(field)
    attributes = run_attributes(job) | {
        key: described[key] for key in ("units", "formula", "made_from") if key in described
    }
    attributes |= {"field": field, "channel": query.channel, "steps": step_range(steps)}
    if isinstance(reader, LineageReader):
        attributes["lineage"] = reader.lineage
    if query.format != "npy" or query.provenance:
        attributes[KEY] = provenance_of(services, job)
    return FrameSelection(source, query, described, steps, stride, attributes)


def array_file(selection: FrameSelection) -> IO[bytes]:
    """Write the frames to a temporary npy or npz file and return it."""
    field, steps = selection.field, selection.steps
    dtype, shape = np.dtype(field["dtype"]), (len(steps), *field["shape"][1:])
    frames, file = selection.frames(), temporary_file()
    if selection.query.provenance and selection.query.format == "npy":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            with archive_member(archive, f"{selection.name}.npy") as member:
                write_npy(member, dtype, shape, frames)
            with archive_member(archive, f"{KEY}.json") as member:
                member.write(json.dumps(selection.attributes, indent=1).encode())
    elif selection.query.format == "npy":
        write_npy(file, dtype, shape, frames)
    else:
        with write_npz(file, {"step": steps, "attributes": json_array(selection.attributes)}) as archive:
            with npz_member(archive, selection.name) as member:
                write_npy(member, dtype, shape, frames)
    return file


def picture_file(selection: FrameSelection) -> tuple[bytes | IO[bytes], int | None]:
    """Draw the frames as a picture, an animation or a video.

    Returns:
        The file, and the duration of an animation in milliseconds (None for a png).

    Raises:
        Problem: 404 if the selection is empty, 422 if the picture would be too large, 501 for an mp4 without PyAV.
    """
    query, (height, width), n = selection.query, selection.field["shape"][1:3], len(selection.steps)
    if not n:
        raise Problem(404, "No frames", f"{selection.name!r} has no committed frames in this selection")
    columns = _grid(query.grid)[1] if query.grid else None
    # the plan refuses pictures that are too large before any frame is read
    plan = pictures.lay_out(query.format, n, height, width, query.fps, query.scale, columns)
    if query.format == "mp4":
        return _video(selection, plan.scale), sum(plan.delays)
    frames = selection.read()
    rgb = pictures.render(selection.name, frames, query.channel, _limits(query, [frames]), query.colormap)
    attributes = selection.attributes
    if query.format == "png":
        attributes = {**attributes, "columns": plan.columns}
    body = pictures.encode(rgb, query.format, query.fps, query.scale, attributes, columns)
    return body, sum(plan.delays) if plan.delays else None


def _check(query: FramesQuery) -> None:
    """Raise Problem 422 for options that do not fit each other."""
    if query.grid and query.format != "png":
        raise invalid(f"grid = {query.grid!r}: format = {query.format!r} shows no grid; choose png", "/grid")
    if query.grid and (cells := prod(_grid(query.grid))) > LIMITS.grid_cells:
        raise invalid(f"grid = {query.grid!r} has {cells} frames; at most {LIMITS.grid_cells}", "/grid")
    if (query.vmin is None) != (query.vmax is None):
        raise invalid("vmin and vmax are needed together", "/vmin" if query.vmin is None else "/vmax")
    if query.vmin is not None and query.range != "fixed":
        raise invalid(f"range = {query.range!r}: vmin and vmax say the range already", "/range")
    if query.vmin is not None and query.vmax is not None and not query.vmin < query.vmax:
        raise invalid(f"vmin = {query.vmin:g} is not below vmax = {query.vmax:g}", "/vmin")


def _grid(text: str) -> tuple[int, int]:
    """Return the rows and columns of a grid of stills."""
    rows, columns = map(int, text.split("x"))
    return rows, columns


def _limits(query: FramesQuery, parts: Iterable[NDArray[Any]]) -> tuple[float, float] | None:
    """Return the values at the ends of the colour map; None for those of the field.

    Args:
        query: the request.
        parts: the frames, in parts; looked at only where the range depends on them.
    """
    if query.vmin is not None and query.vmax is not None:
        return query.vmin, query.vmax
    if query.range == "fixed":
        return None
    ends = []
    for part in parts:
        values = np.asarray(part if query.channel is None else part[..., query.channel], np.float64)
        values = values[np.isfinite(values)]
        if values.size:
            share = (0, 100) if query.range == "auto" else (1, 99)
            ends.append(np.percentile(values, share))
    if not ends:
        return 0.0, 1.0  # nothing is finite
    lows, highs = np.transpose(ends)
    return float(lows.min()), float(highs.max())


def _video(selection: FrameSelection, scale: int) -> IO[bytes]:
    """Encode the frames one at a time as an mp4 in a temporary file.

    Raises:
        Problem: 501 without PyAV.
    """
    query, name = selection.query, selection.name

    def each() -> Iterator[NDArray[Any]]:
        return (frame[None] for frame in selection.frames())

    if query.channel is not None or query.range != "fixed":
        pictures.render(name, next(each()), query.channel, colormap=query.colormap)  # refuses a channel it has not
    limits = _limits(query, each())
    rendered = (pictures.render(name, frame, query.channel, limits, query.colormap)[0] for frame in each())
    with made_by("video", "mp4") as file:
        videos.mp4(file.name, rendered, query.fps, scale, json.dumps(selection.attributes))
    return file


def json_array(value: Mapping[str, Any]) -> NDArray[np.str_]:
    """Return a value as JSON in an array, since an npz file holds nothing but arrays."""
    return np.array(json.dumps(value))


def check_size(n: int, frame_bytes: int) -> None:
    """Raise Problem 422 if `n` frames are too large for one response."""
    if n * frame_bytes > LIMITS.answer_bytes:
        size = f"{n} frames of {frame_bytes} bytes are {n * frame_bytes} bytes"
        advice = "choose fewer by start, stop, stride or last"
        raise invalid(f"{size}; one response has at most {LIMITS.answer_bytes}: {advice}", "/stop")
