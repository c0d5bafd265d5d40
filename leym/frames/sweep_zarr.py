"""The labelled array of a sweep as a Zarr v3 hierarchy, computed from the rows of its blocks and the committed objects.

zarr.json                       the group, with the metadata of all arrays inline
gamma/c/0                       a coordinate: one of the axes, `member`, `step`, ...
phase/c/0/3/0/0/0               a chunk of a field, whose dimensions are the axes, then step, y and x
activity/c/0/0/0                a chunk of an observable; also in the group `observables`
state/c/0/0                     per member: state, steps_done, stopped_at and error
shape_0/zarr.json               a group for members of one shape, if the sweep has several

All shapes are those at the end of the sweep. Frames that are not committed are NaN, and `steps_done` says which those
are. When members are added to the sweep, the arrays get another shape, with one dimension `member` for all axes.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leym.contract.problems import Problem, conflict, not_found
from leym.contract.records import Job
from leym.frames.layout import TABLE, column_attributes, step_dims
from leym.frames.reader import check_available
from leym.frames.shards import DamagedError, codecs, encode_frame
from leym.frames.stores.base import Missing, Store
from leym.frames.sweep_layout import (
    CHUNK_VALUES,
    MEMBER,
    Indices,
    PlanLike,
    SweepGroup,
    chunk_of,
    chunk_over,
    inside_chunk,
    row_indices,
    sweep_groups,
)
from leym.frames.sweep_reader import STATES, SweepReader
from leym.frames.zarr_gateway import Resource
from leym.frames.zarr_metadata import BYTES, array_node, group_node, nan_of, observable_paths, step_arrays

ATTEMPTS = 3  # commits of a running sweep replace objects between reading its rows and reading the objects
_TEXT = [{"name": "vlen-utf8"}]
Read = Callable[[SweepReader, Sequence[slice]], NDArray[Any]]


@dataclass(frozen=True)
class _Array:
    """An array of a group.

    Attributes:
        dtype: dtype, or "string".
        shape: shape at the end of the sweep.
        chunk: shape of a chunk.
        dims: names of the dimensions.
        fill: fill value in JSON.
        attributes: units, name and so on.
        read: reads a part of the array, given by one slice per dimension.
        compressed: True for fields.
    """

    dtype: str
    shape: Sequence[int]
    chunk: Sequence[int]
    dims: Sequence[str]
    fill: Any
    attributes: Mapping[str, Any]
    read: Read
    compressed: bool = False

    def metadata(self) -> dict[str, Any]:
        codec = codecs(self.dtype) if self.compressed else _TEXT if self.dtype == "string" else BYTES
        node = array_node(self.dtype, list(self.shape), list(self.chunk), self.fill, codec, list(self.dims), {})
        return node | {"attributes": dict(self.attributes)}

    def encode(self, part: Sequence[slice], values: NDArray[Any]) -> bytes:
        """Encode a chunk, which has its full size at the edge of the array too."""
        inside = tuple(slice(0, s.stop - s.start) for s in part)
        if self.dtype == "string":
            full = np.full(self.chunk, "", object)
            full[inside] = values
            texts = [text.encode() for text in full.ravel().tolist()]
            return struct.pack("<I", len(texts)) + b"".join(struct.pack("<I", len(text)) + text for text in texts)
        fill = 0 if np.dtype(self.dtype).kind in "iu" else np.nan
        full = np.full(self.chunk, fill, self.dtype)
        full[inside] = values
        return encode_frame(full) if self.compressed else full.astype(full.dtype.newbyteorder("<")).tobytes()


def find(
    store: Store,
    plan: PlanLike,
    load: Callable[[], Sequence[Job]],
    path: str,
    more: Callable[[], Mapping[str, Any]] = dict,
) -> Resource:
    """Return the content of a key.

    Array libraries take a 404 for an empty chunk and show NaN. So the answer for a committed object that cannot be read
    is 503, never 404.

    Args:
        store: object store of the service.
        plan: the members of the sweep.
        load: reads the rows of the sweep's blocks, older ones first; of a sweep without blocks, the rows of its jobs in
            the order of their indices.
        path: key below `store.zarr/`.
        more: returns further attributes of the root group.

    Raises:
        Problem: 404 for a key that the hierarchy does not have; 409 for a chunk that it had before members were added;
            410 if all results were deleted or have expired; 503 if a committed object cannot be read.
    """
    for attempt in range(1, ATTEMPTS + 1):
        rows = load()
        try:
            return _find(store, plan, rows, path, more)
        except (Missing, DamagedError, IndexError) as error:
            if attempt == ATTEMPTS or isinstance(error, DamagedError):
                detail = f"sweep {rows[0].sweep}: a committed object is missing or damaged: {error}"
                raise Problem(503, "Frames unreadable", detail) from error
    raise AssertionError("unreachable")


def _find(
    store: Store, plan: PlanLike, rows: Sequence[Job], path: str, more: Callable[[], Mapping[str, Any]]
) -> Resource:
    rows = [row for number, row in enumerate(rows) if row_indices(row, number)[0] < plan.size]  # others came after it
    _check_available(rows)
    final = all(row.final for row in rows)
    groups = sweep_groups(plan, rows)
    if path == "zarr.json" or path.endswith("/zarr.json"):
        name = path.removesuffix("zarr.json").removesuffix("/")
        node = _metadata(plan, groups, name, path, {} if name else more())
        return Resource(json.dumps(node, separators=(",", ":")).encode(), chunk=False, final=final)
    name, _, rest = path.partition("/c/")
    found = re.fullmatch(r"(0|[1-9]\d{0,11})(/(0|[1-9]\d{0,11}))*", rest)
    group = next((g for g in groups if name.startswith(f"{g.path}/") or not g.path), None)
    array = dict(_arrays(group)).get(name.removeprefix(f"{group.path}/") if group.path else name) if group else None
    numbers = [int(number) for number in rest.split("/")] if found else []
    if array is not None and len(numbers) == len(array.shape):
        part = inside_chunk(array.shape, array.chunk, numbers)
        if part is not None:
            body = array.encode(part, array.read(SweepReader(store, rows), part))
            return Resource(body, chunk=True, final=final)
    if found and plan.mode == "parts":  # a reader that opened the array before would take a 404 for an empty chunk
        raise conflict(f"members were added to sweep {rows[0].sweep} since its array was opened: open it again")
    raise not_found("key", path[:200])


def _check_available(rows: Sequence[Job]) -> None:
    for row in rows[1:]:
        try:
            check_available(row)
        except Problem:
            continue
        return
    check_available(rows[0])


def _metadata(
    plan: PlanLike, groups: Sequence[SweepGroup], node: str, path: str, more: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the zarr.json of a node; a group has the metadata of all nodes below it."""
    nodes: dict[str, dict[str, Any]] = {"": group_node({**_root_attributes(plan, groups), **more})}
    for group in groups:
        prefix = f"{group.path}/" if group.path else ""
        attributes = _attributes(plan, group)
        if group.path:
            nodes[group.path] = group_node(attributes)
        if any(array.is_table for array in group.arrays):
            nodes[f"{prefix}{TABLE}"] = group_node(attributes)
        nodes |= {f"{prefix}{name}": array.metadata() for name, array in _arrays(group)}
    if node not in nodes or path == "/zarr.json":
        raise not_found("node", path[:200])
    found = nodes[node]
    if found["node_type"] == "array":
        return found
    below = f"{node}/" if node else ""
    inline = {name.removeprefix(below): n for name, n in nodes.items() if name.startswith(below) and name != node}
    return found | {"consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": inline}}


def _root_attributes(plan: PlanLike, groups: Sequence[SweepGroup]) -> dict[str, Any]:
    if len(groups) == 1:
        return _attributes(plan, groups[0])
    shapes = [{"group": g.path, "members": len(g.indices), **g.constants} for g in groups]
    return {"sweep": groups[0].row.sweep, "members": plan.size, "mode": plan.mode, "shapes": shapes}


def _attributes(plan: PlanLike, group: SweepGroup) -> dict[str, Any]:
    """Return the provenance of a group: what all its members share."""
    row = group.row
    varying = {key.split(".")[0] for key in plan.axes if key not in group.constants}
    spec = {key: value for key, value in row.spec.items() if key not in varying}
    shared = {"law": row.law, "precision": row.precision, "fidelity": row.fidelity}
    if "law" in varying:
        shared = {}
    elif "precision" in varying:
        shared = {"law": row.law}
    axes = [key for key in plan.axes if key not in group.constants]
    found = {"sweep": row.sweep, "members": len(group.indices), "mode": plan.mode, **shared}
    found |= {"axes": json.dumps(axes), "spec": json.dumps(spec)}
    # xarray takes a variable without a dimension of its own name for a coordinate if the group says so
    return found if plan.mode == "product" else found | {"coordinates": " ".join(axes)}


def _arrays(group: SweepGroup) -> Iterator[tuple[str, _Array]]:
    """Iterate over the arrays of a group by path."""
    dims, lengths, times = group.dims, list(group.shape), step_dims(group.arrays)
    for name, (dim, values) in group.coordinates.items():
        yield name, _coordinate(values, dim, {"long_name": "index in the sweep" if name == MEMBER else name})
    for array in group.arrays:
        time = times[array.every]
        for column in array.columns:
            chunk = chunk_of(array, lengths, 8)
            shape, all_dims = [*lengths, array.frames], [*dims, time]
            read = partial(_observable, group, column)
            for path in observable_paths(group.arrays, column):
                yield path, _Array("float64", shape, chunk, all_dims, "NaN", column_attributes(column), read)
        if not array.is_table:
            chunk = [*chunk_of(array, lengths, array.frame_bytes), *array.shape]
            shape, all_dims = [*lengths, array.frames, *array.shape], [*dims, time, *array.dims]
            fill, read = nan_of(array.dtype), partial(_field, group, array.name)
            yield array.name, _Array(array.dtype, shape, chunk, all_dims, fill, array.attributes, read, True)
    for path, every in step_arrays(group.arrays).items():
        frames = next(array.frames for array in group.arrays if array.every == every)
        attributes = {"units": "1", "long_name": "step", "every": every}
        yield path, _coordinate(np.arange(frames, dtype=np.int64) * every, times[every], attributes)
    chunk = chunk_over(lengths, CHUNK_VALUES)
    for name, (dtype, fill, attributes, of) in _PER_MEMBER.items():
        yield name, _Array(dtype, lengths, chunk, dims, fill, attributes, partial(_per_member, group, of))


def _coordinate(values: NDArray[Any], dim: str, attributes: Mapping[str, Any]) -> _Array:
    text = values.dtype == object
    chunk = [max(min(len(values), CHUNK_VALUES), 1)]
    dtype = "string" if text else str(values.dtype)
    fill = "" if text else "NaN" if dtype == "float64" else 0
    return _Array(dtype, [len(values)], chunk, [dim], fill, attributes, lambda _, part: values[part[0]])


def _members(group: SweepGroup, part: Sequence[slice]) -> tuple[Indices, list[int]]:
    """Return the members in a part of a group: their indices in C order, and the shape of the part."""
    chosen = group.indices.reshape(group.shape)[tuple(part[: len(group.shape)])]
    return chosen.reshape(-1), list(chosen.shape)


def _increasing(indices: Indices, read: Callable[[Indices], NDArray[Any]]) -> NDArray[Any]:
    """Call a function that needs increasing indices, and return its values in the order of `indices`."""
    order = np.argsort(indices, kind="stable")
    found = read(indices[order])
    values = np.empty_like(found)
    values[order] = found
    return values


def _field(group: SweepGroup, name: str, reader: SweepReader, part: Sequence[slice]) -> NDArray[Any]:
    indices, shape = _members(group, part)
    time = part[len(group.shape)]
    values = _increasing(indices, lambda some: reader.field(name, some, time.start, time.stop))
    return values.reshape(*shape, *values.shape[1:])


def _observable(group: SweepGroup, name: str, reader: SweepReader, part: Sequence[slice]) -> NDArray[Any]:
    indices, shape = _members(group, part)
    time = part[len(group.shape)]
    values = _increasing(indices, lambda some: reader.observable(name, some, time.start, time.stop))
    return values.reshape(*shape, -1)


def _per_member(
    group: SweepGroup, of: Callable[[Any, Indices], Any], reader: SweepReader, part: Sequence[slice]
) -> NDArray[Any]:
    indices, shape = _members(group, part)

    def read(some: Indices) -> NDArray[Any]:
        values: list[tuple[Indices, Any]] = [(at, of(block, places)) for block, places, at in reader.locate(some)]
        kind = object if isinstance(values[0][1], list) else values[0][1].dtype
        found = np.empty(len(some), kind)
        for at, own in values:
            found[at] = own
        return found

    return _increasing(indices, read).reshape(shape)


_FLAGS = {"flag_values": list(range(len(STATES))), "flag_meanings": " ".join(STATES), "long_name": "state"}
_PER_MEMBER: dict[str, tuple[str, Any, dict[str, Any], Callable[[Any, Indices], Any]]] = {
    "state": ("uint8", 0, _FLAGS, lambda block, places: block.codes(places)),
    "steps_done": (
        "int64",
        0,
        {"long_name": "last committed step; -1 before the first"},
        lambda block, places: block.states.step[places],
    ),
    "stopped_at": (
        "int64",
        0,
        {"long_name": "step at which a rule of the sweep ended the member; -1 if none did"},
        lambda block, places: np.where(block.states.stopped[places] > 0, block.states.step[places], -1),
    ),
    "error": (
        "string",
        "",
        {"long_name": "why the member failed"},
        lambda block, places: block.errors(places),
    ),
}
