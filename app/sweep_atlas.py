"""Many members of a sweep in one answer: a frame of each, as one picture or one array."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from flask import Response
from numpy.typing import NDArray

from app.conditional import NO_STORE, REVALIDATE
from app.downloads import file_response, temporary_file, write_npy
from app.models.sweeps import AtlasQuery
from app.services import Services
from leym.contract.limits import LIMITS
from leym.contract.problems import Problem, invalid, not_found
from leym.contract.records import FINAL
from leym.frames import pictures
from leym.frames.shards import DamagedError
from leym.frames.stores.base import Missing
from leym.frames.sweep_layout import Indices
from leym.frames.sweep_reader import Block, SweepReader
from leym.frames.sweep_zarr import ATTEMPTS

TILES = 4096  # members in one answer
ATLAS_BYTES = 2**26  # values of one answer, as stored
READ_BYTES = 2**24  # whole frames in memory at once, before cells are left out


def atlas_response(services: Services, sweep_id: str, query: AtlasQuery) -> Response:
    """Answer with one frame of each of many members.

    Raises:
        Problem: 404 if there is no such sweep or field; 422 if the members do not exist, differ in shape, or are too
            many; 503 if frames cannot be read.
    """
    sweep = services.table.get_sweep(sweep_id)
    indices = _chosen(query.members, sweep.size)
    frames, steps = _read(services, sweep_id, indices, query)
    ended = sum(sweep.counts.get(state, 0) for state in FINAL) >= sweep.size
    name, caching = f"{sweep_id}-{query.field}.{query.format}", REVALIDATE if ended else NO_STORE
    columns = 0
    if query.format == "png":
        plan = pictures.lay_out("png", len(frames), frames.shape[1], frames.shape[2], scale=query.scale)
        rgb = pictures.render(query.field, frames, query.channel)
        about = {"sweep": sweep_id, "field": query.field, "members": indices.tolist(), "steps": steps.tolist()}
        body = pictures.encode(rgb, "png", 12, query.scale, about | {"columns": plan.columns})
        response, columns = file_response(body, "png", name, caching), plan.columns
    else:
        file = temporary_file()
        dtype = np.dtype("<c8") if np.iscomplexobj(frames) else np.dtype("<f2")
        write_npy(file, dtype, frames.shape, [frames])
        response = file_response(file, "npy", name, caching)
    response.headers["X-Members"] = str(len(indices))
    response.headers["X-Columns"] = str(columns or len(indices))
    response.headers["X-Step"] = "" if not (steps >= 0).any() else str(int(steps.max()))
    return response


def _read(
    services: Services, sweep_id: str, indices: Indices, query: AtlasQuery
) -> tuple[NDArray[np.generic], Indices]:
    """Read the frames as `_frames` does, again with new rows if a commit has replaced an object meanwhile.

    Raises:
        Problem: 503 if a committed object is missing or damaged.
    """
    for attempt in range(1, ATTEMPTS + 1):
        rows = services.table.blocks(sweep_id) or services.table.sweep_members(sweep_id, LIMITS.table_rows)[0]
        try:
            return _frames(SweepReader(services.store, rows), indices, query)
        except (Missing, DamagedError) as error:
            if attempt == ATTEMPTS or isinstance(error, DamagedError):
                raise Problem(503, "Results unreadable", f"sweep {sweep_id}: {error}") from error
    raise AssertionError("unreachable")


def _chosen(text: str | None, size: int) -> Indices:
    """Return the indices that a query names: int64 [n], increasing.

    Raises:
        Problem: 422 if one does not exist, or if they are more than TILES.
    """
    if text is None:
        return np.arange(min(size, TILES))
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if not low <= high < size:
            raise invalid(f"members = {part!r}: the sweep has the members 0 to {size - 1}", "/members")
        if high - low >= TILES or len(found := found | set(range(low, high + 1))) > TILES:
            raise invalid(f"members: at most {TILES} fit into one answer", "/members")
    return np.array(sorted(found), np.int64)


def _frames(reader: SweepReader, indices: Indices, query: AtlasQuery) -> tuple[NDArray[np.generic], Indices]:
    """Read a frame of each member: [n, h, w] or [n, h, w, d], NaN where there is none, and its step, −1 there."""
    steps, whole = np.full(len(indices), -1, np.int64), None
    for block, places, positions in reader.locate(indices):
        array = block.arrays.get(query.field)
        if array is None or array.is_table:
            known = ", ".join(name for name, spec in block.arrays.items() if not spec.is_table) or "none"
            raise not_found(f"field (recorded: {known})", query.field)
        stride = max(-(-max(array.shape[:2]) // query.side), 1)
        shape = (-(-array.shape[0] // stride), -(-array.shape[1] // stride), *array.shape[2:])
        if whole is None:
            size = len(indices) * int(np.prod(shape)) * np.dtype(array.dtype).itemsize
            if size > ATLAS_BYTES:
                limit = f"at most {ATLAS_BYTES}: choose fewer members or a smaller side"
                raise invalid(f"{len(indices)} frames of {shape} take {size} bytes; {limit}", "/members")
            whole = np.full((len(indices), *shape), np.nan, array.dtype)
        if whole.shape[1:] != shape:
            both = f"frames of {whole.shape[1:]} and of {shape} do not fit into one answer"
            raise invalid(f"members: {both}; choose members of one grid", "/members")
        at_once = max(READ_BYTES // array.frame_bytes, 1)
        for frame, some in _by_frame(block, query, places, at_once):
            found = reader.field(query.field, indices[positions[some]], frame, frame + 1)[:, 0]
            whole[positions[some]] = found[:, ::stride, ::stride]
            steps[positions[some]] = array.step_of(frame)
    if whole is None:
        raise Problem(404, "Not found", "no block has these members")
    return whole, steps


def _by_frame(block: Block, query: AtlasQuery, places: Indices, at_once: int) -> Iterator[tuple[int, Indices]]:
    """Group members by the frame that is shown of each: the one at the step or before it, else the newest.

    Yields:
        The frame, and the positions in `places` of at most `at_once` members.
    """
    array = block.arrays[query.field]
    newest = block.frames(array, places) - 1
    frames = newest if query.step is None else np.minimum(newest, array.frame_at(query.step))
    for frame in np.unique(frames[frames >= 0]).tolist():
        some = np.flatnonzero(frames == frame)
        for start in range(0, len(some), at_once):
            yield frame, some[start : start + at_once]
