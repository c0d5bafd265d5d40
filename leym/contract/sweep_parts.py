"""PlanOfParts: the members of a sweep to which more were added. Indices stay: each addition follows all before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leym.contract.axes import Values
from leym.contract.sweep_plan import Indices, Shape, SweepPlan
from leym.contract.sweeps import MoreMembers, SweepSpec


class PlanOfParts(SweepPlan):
    """The members of a sweep and of additions to it, which are sub-grids of their own.

    It has one dimension `member`, with one value per member on each axis, as a zipped sweep has. The mode is "parts".
    The members of different parts never share a block, so a shape belongs to one part: the numbers of shapes stay too.

    Attributes:
        parts: the sweep as submitted, then each addition.
    """

    def __init__(self, spec: SweepSpec, additions: Sequence[MoreMembers]):
        """Expand the axes of a sweep and of the additions to it.

        Raises:
            ValueError: the axes of an addition are not those of the sweep.
        """
        self.spec, self.base, self.mode = spec, spec.base, "parts"
        self.parts = [SweepPlan(spec), *(SweepPlan(more.of(spec)) for more in additions)]
        sizes = [part.size for part in self.parts]
        self.size = sum(sizes)
        self.axes: dict[str, Values] = {key: _joined([_all(part, key) for part in self.parts]) for key in spec.axes}
        self._strides: dict[str, int] = {}
        self._firsts = np.cumsum([0, *sizes], dtype=np.int64)

    @cached_property
    def _first_shapes(self) -> Indices:
        """The number of shapes before each part: int64 [parts]."""
        counts = [part.count_groups(part.shaping) for part in self.parts]
        return np.cumsum([0, *counts[:-1]], dtype=np.int64)

    @property
    def starts_from_stored(self) -> bool:
        """True if a member may start from the state of a job or from an uploaded one."""
        return any(part.starts_from_stored for part in self.parts)

    def shapes(self) -> Iterator[Shape]:
        """Iterate over the shapes of the parts, in the order of their numbers."""
        for part, first, number in zip(self.parts, self._firsts.tolist(), self._first_shapes.tolist(), strict=False):
            for shape in part.shapes():
                yield Shape(number + shape.number, first + shape.indices)

    def shape_of(self, indices: Indices) -> Indices:
        """Return the number of the shape of each of the members: int64 [n]."""
        found = np.zeros(len(indices), np.int64)
        for number, at, own in self._by_part(indices):
            found[at] = self._first_shapes[number] + self.parts[number].shape_of(own)
        return found

    def groups(self, keys: Sequence[str]) -> Iterator[Indices]:
        """Iterate over groups of members that have equal values on the axes `keys`: int64 [n], increasing.

        Groups keep their order when members are added: first those of the first part, then what is new in the next.
        """
        if not keys:
            yield np.arange(self.size)
            return
        codes, found = self._row_codes(tuple(keys)), dict[int, list[Indices]]()
        for part, first in zip(self.parts, self._firsts.tolist(), strict=False):
            for own in part.groups(keys):
                found.setdefault(int(codes[first + own[0]]), []).append(first + own)
        for group in found.values():
            yield group[0] if len(group) == 1 else np.sort(np.concatenate(group))

    def _start_states(self, indices: Indices) -> list[Any]:
        found: list[Any] = [None] * len(indices)
        for number, at, own in self._by_part(indices):
            for place, state in zip(at.tolist(), self.parts[number]._start_states(own), strict=True):
                found[place] = state
        return found

    def _by_part(self, indices: Indices) -> Iterator[tuple[int, Indices, Indices]]:
        """Iterate over the parts that have some of the members: number, places in `indices`, indices in the part."""
        of = np.searchsorted(self._firsts, indices, side="right") - 1
        for number in np.unique(of).tolist():
            at = np.flatnonzero(of == number)
            yield number, at, indices[at] - self._firsts[number]


def _all(part: SweepPlan, key: str) -> Values:
    """Return the value of an axis for every member of a part; numbers are arrays where the axis is a range or one."""
    values, positions = part.axes[key], part._positions(key, np.arange(part.size))
    if isinstance(values, range):
        values = np.arange(values.start, values.stop, values.step, dtype=np.int64)
    if isinstance(values, np.ndarray):
        taken: NDArray[Any] = values[positions]
        return taken
    return [values[i] for i in positions.tolist()]


def _joined(columns: list[Values]) -> Values:
    arrays = [column for column in columns if isinstance(column, np.ndarray)]
    if len(arrays) == len(columns) and len({array.dtype for array in arrays}) == 1:
        joined: NDArray[Any] = np.concatenate(arrays)
        return joined
    return [value for column in columns for value in (column.tolist() if isinstance(column, np.ndarray) else column)]
