"""Layout of the labelled array of a sweep: its dimensions, coordinates and chunks.

Members that record arrays of one shape are one group. The axes of a product are dimensions; the members of other
sweeps, and of those to which members were added, are one dimension `member`, and each axis is a coordinate of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from leym.contract.ranges import unpack_ranges
from leym.contract.records import Job
from leym.contract.spec import stored_spec
from leym.frames.layout import CHUNK_BYTES, ArraySpec, job_arrays

LAYOUT_KEYS = ("grid", "steps", "record", "observe")  # keys of a JobSpec that change the arrays of a member
CHUNK_VALUES = 65_536  # values of a coordinate, or of an array with one value per member, in one chunk
MEMBER = "member"

Indices = NDArray[np.int64]


class PlanLike(Protocol):
    """The part of `leym.contract.sweep_plan.SweepPlan` that this package uses."""

    @property
    def mode(self) -> str:
        """Return "product", "zip", "sample", or "parts" for a sweep to which members were added."""

    @property
    def axes(self) -> Mapping[str, Sequence[Any] | NDArray[Any]]:
        """Values of each axis; one per member unless the sweep is a product."""

    @property
    def size(self) -> int:
        """Number of members."""

    def groups(self, keys: Sequence[str]) -> Iterator[Indices]:
        """Iterate over groups of members that have equal values on the axes `keys`."""


@dataclass(frozen=True)
class SweepGroup:
    """Members of a sweep that record arrays of one shape.

    Attributes:
        path: path of the group, "" for the root.
        indices: int64 [n], the members in C order of the dimensions.
        lengths: lengths of the dimensions by name.
        coordinates: (dimension, values) by name; values are int64, float64 or text.
        constants: values of the axes that are the same for all members.
        arrays: arrays of one member.
        row: row of one of the members' blocks.
    """

    path: str
    indices: Indices
    lengths: Mapping[str, int]
    coordinates: Mapping[str, tuple[str, NDArray[Any]]]
    constants: Mapping[str, Any]
    arrays: Sequence[ArraySpec]
    row: Job

    @property
    def dims(self) -> list[str]:
        """Names of the dimensions over the members."""
        return list(self.lengths)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the dimensions over the members."""
        return tuple(self.lengths.values())


def sweep_groups(plan: PlanLike, rows: Sequence[Job]) -> list[SweepGroup]:
    """Divide the members of a sweep into groups; one group is the root itself.

    Args:
        plan: the sweep.
        rows: rows of its blocks, older ones first, or of its jobs in the order of their indices.
    """
    arrays = {row.d_state: job_arrays(stored_spec(row.spec), row.d_state) for row in rows}
    keys = [key for key in plan.axes if key.split(".")[0] in LAYOUT_KEYS]
    if len(arrays) > 1 and "law" in plan.axes and any("channel" in a.dims for found in arrays.values() for a in found):
        keys = [key for key in plan.axes if key in keys or key == "law"]
    groups = list(plan.groups(keys)) if keys else [np.arange(plan.size)]
    owned = [row_indices(row, number) for number, row in enumerate(rows)]
    return [
        _group(plan, keys, "" if len(groups) == 1 else f"shape_{number}", indices, _row_of(rows, owned, indices[0]))
        for number, indices in enumerate(groups)
    ]


def row_indices(row: Job, number: int) -> Indices:
    """Return the indices of the members of a row: int64 [members].

    Args:
        row: row of a block, or of one job of a sweep without blocks.
        number: position of the row among all rows, which is the index of such a job.
    """
    return np.array([number]) if row.indices is None else _unpacked(row.indices)


def values_of_axis(values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    """Convert the values of an axis to int64, float64 or text; values that are neither become JSON text."""
    if isinstance(values, range):
        return np.arange(values.start, values.stop, values.step, dtype=np.int64)
    kinds = {values.dtype.type} if isinstance(values, np.ndarray) else {type(value) for value in values}
    if all(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds):
        return np.array(values, np.int64)
    if all(issubclass(kind, int | float | np.integer | np.floating) and kind is not bool for kind in kinds):
        return np.array(values, np.float64)
    return np.array([value if isinstance(value, str) else json.dumps(value) for value in values], object)


def chunk_over(lengths: Sequence[int], values: int) -> list[int]:
    """Cut dimensions into chunks of at most `values` values, the last dimensions first."""
    chunk = []
    for length in reversed(lengths):
        chunk.append(max(min(length, values), 1))
        values //= chunk[-1]
    return chunk[::-1]


def chunk_of(array: ArraySpec, lengths: Sequence[int], value_bytes: int) -> list[int]:
    """Cut an array over members and frames into chunks of about CHUNK_BYTES.

    Args:
        array: the array.
        lengths: lengths of the dimensions over the members.
        value_bytes: size of one frame.

    Returns:
        The chunk over the members, then its number of frames.
    """
    frames = min(max(CHUNK_BYTES // value_bytes, 1), array.frames)
    return [*chunk_over(lengths, CHUNK_BYTES // (value_bytes * frames)), frames]


def inside_chunk(shape: Sequence[int], chunk: Sequence[int], numbers: Sequence[int]) -> list[slice] | None:
    """Return the part of an array that a chunk has; None if there is no such chunk."""
    found = [
        slice(number * step, min((number + 1) * step, length))
        for number, step, length in zip(numbers, chunk, shape, strict=True)
    ]
    return None if any(part.start >= part.stop for part in found) else found


def _group(plan: PlanLike, keys: Sequence[str], path: str, indices: Indices, row: Job) -> SweepGroup:
    arrays = job_arrays(stored_spec(row.spec), row.d_state)
    if plan.mode == "product":
        positions = np.unravel_index(int(indices[0]), [len(values) for values in plan.axes.values()])
        first = dict(zip(plan.axes, positions, strict=True))
        constants = {key: plan.axes[key][int(first[key])] for key in keys}
        coordinates = {key: (key, values_of_axis(values)) for key, values in plan.axes.items() if key not in keys}
        lengths = {key: len(values) for key, (_, values) in coordinates.items()}
        if not lengths:
            lengths, coordinates = {MEMBER: 1}, {MEMBER: (MEMBER, indices)}
    else:
        constants = {key: plan.axes[key][int(indices[0])] for key in keys}
        coordinates = {MEMBER: (MEMBER, indices)}
        for key, values in plan.axes.items():
            if key not in keys:
                coordinates[key] = (MEMBER, values_of_axis(_taken(values, indices)))
        lengths = {MEMBER: len(indices)}
    constants = {k: v.item() if isinstance(v, np.generic) else v for k, v in constants.items()}
    return SweepGroup(path, indices, lengths, coordinates, constants, arrays, row)


def _taken(values: Sequence[Any] | NDArray[Any], indices: Indices) -> Sequence[Any] | NDArray[Any]:
    if isinstance(values, np.ndarray):
        return np.asarray(values[indices])
    if len(indices) == len(values):
        return values
    return [values[index] for index in indices.tolist()]


def _row_of(rows: Sequence[Job], owned: Sequence[Indices], index: np.int64) -> Job:
    for row, indices in zip(rows, owned, strict=True):
        at = int(np.searchsorted(indices, index))
        if at < len(indices) and indices[at] == index:
            return row
    raise LookupError(f"no row has member {index}")


@lru_cache(maxsize=1024)
def _unpacked(text: str) -> Indices:
    return unpack_ranges(text)
