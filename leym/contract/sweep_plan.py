"""SweepPlan: the members of a sweep, expanded one by one or column by column, never all at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from leym.contract.axes import Drawn, Sample, Values, chosen
from leym.contract.initial import Initial
from leym.contract.spec import JobSpec
from leym.contract.sweeps import SweepSpec, with_point

_INITIAL: TypeAdapter[Any] = TypeAdapter(Initial)
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """Members that may share a block: they differ in seed, gamma and start state only.

    Attributes:
        number: position among the shapes of the sweep (`SweepPlan.shape_of`).
        indices: int64 [n], increasing.
    """

    number: int
    indices: Indices


class SweepPlan:
    """The members of a sweep by index.

    An index counts the members in C order of the axes (the last axis varies fastest), or is the row of a zipped or
    sampled sweep. A plan of a million members holds no object per member: ranges stay ranges, and numbers are arrays.

    Attributes:
        spec: the sweep.
        mode: "product", "zip", "sample", or "parts" for a sweep to which members were added (`PlanOfParts`).
        axes: values by key, in the order of the spec. In a product, the values of the axis; otherwise, one value per
            member.
        size: number of members.
    """

    def __init__(self, spec: SweepSpec):
        """Expand the axes of a sweep."""
        self.spec, self.base = spec, spec.base
        self.mode: str = "sample" if isinstance(spec.mode, Sample) else spec.mode
        self.axes: dict[str, Values] = _drawn(spec, spec.mode) if isinstance(spec.mode, Sample) else _listed(spec)
        self.size = spec.size()
        self._strides: dict[str, int] = {}
        if self.mode == "product":
            lengths = [len(values) for values in self.axes.values()]
            self._strides = {key: prod(lengths[i + 1 :]) for i, key in enumerate(self.axes)}

    @property
    def dims(self) -> dict[str, int]:
        """Lengths of the dimensions of the sweep's array by name: the axes of a product, or `member` alone."""
        return {key: len(values) for key, values in self.axes.items()} if self._strides else {"member": self.size}

    def point(self, index: int) -> dict[str, Any]:
        """Return the value of every axis for one member, as JSON values.

        Raises:
            IndexError: the sweep has no such member.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"member {index} of a sweep of {self.size}")
        return {key: self.values_of(key, np.array([index]))[0] for key in self.axes}

    def job(self, index: int) -> JobSpec:
        """Return the spec of one member.

        Raises:
            IndexError: the sweep has no such member.
            pydantic.ValidationError: the point does not make a valid JobSpec.
        """
        return JobSpec.model_validate(with_point(self.base, self.point(index)))

    def values_of(self, axis: str, indices: Indices) -> list[Any]:
        """Return the value of an axis for each of the members, as JSON values."""
        values, positions = self.axes[axis], self._positions(axis, indices)
        if isinstance(values, np.ndarray):
            found: list[Any] = values[positions].tolist()
            return found
        return [values[i] for i in positions.tolist()]

    def column(self, key: str, indices: Indices) -> list[Any]:
        """Return the seed, the gamma or the start state of each of the members.

        Args:
            key: "seed", "gamma" or "initial".
            indices: int64 [n].

        Returns:
            The n values, as in the specs of these members: seeds are int, gammas float or a schedule in JSON's lists,
            start states models of `initial`.
        """
        if key == "initial":
            return self._start_states(indices)
        kind = _KINDS[key]
        if key in self.axes:
            return [kind(value) for value in self.values_of(key, indices)]
        return [kind(self.base.get(key, JobSpec.model_fields[key].default))] * len(indices)

    @property
    def shaping(self) -> list[str]:
        """Axes whose values separate blocks: all but those of the seed, gamma and the start state."""
        return [key for key in self.axes if key.split(".")[0] not in ("seed", "gamma", "initial")]

    @property
    def starting(self) -> list[str]:
        """Axes of the start state."""
        return [key for key in self.axes if key.split(".")[0] == "initial"]

    @property
    def starts_from_stored(self) -> bool:
        """True if a member may start from the state of a job or from an uploaded one."""
        initial = self.base.get("initial")
        found = [initial.get("kind")] if isinstance(initial, dict) else []
        for key in self.starting:
            if key == "initial":
                found += [value.get("kind") for value in self.axes[key] if isinstance(value, dict)]
            elif key == "initial.kind":
                found += list(self.axes[key])
        return "state" in found or "upload" in found

    def shapes(self) -> Iterator[Shape]:
        """Iterate over the shapes of the sweep, in the order of their numbers."""
        for number, indices in enumerate(self.groups(self.shaping)):
            yield Shape(number, indices)

    def shape_of(self, indices: Indices) -> Indices:
        """Return the number of the shape of each of the members: int64 [n]."""
        return self._codes(self.shaping, indices)

    def count_groups(self, keys: Sequence[str]) -> int:
        """Count the groups of `groups`. A product is not expanded for it."""
        if self._strides:
            return prod(len(self.axes[key]) for key in keys)
        return int(self._codes(keys, np.arange(self.size)).max()) + 1

    def groups(self, keys: Sequence[str]) -> Iterator[Indices]:
        """Iterate over groups of members that have equal values on the axes `keys`: int64 [n], increasing."""
        if self._strides:
            lattice = np.arange(self.size).reshape([len(values) for values in self.axes.values()])
            places = [list(self.axes).index(key) for key in keys]
            lattice = np.moveaxis(lattice, places, range(len(places)))
            yield from lattice.reshape(self.count_groups(keys), -1) if keys else [lattice.reshape(-1)]
            return
        codes = self._codes(keys, np.arange(self.size))
        order = np.argsort(codes, kind="stable")
        yield from np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)

    def _positions(self, axis: str, indices: Indices) -> Indices:
        """Return the position of each of the members on an axis."""
        return indices // self._strides[axis] % len(self.axes[axis]) if self._strides else indices

    def _codes(self, keys: Sequence[str], indices: Indices) -> Indices:
        """Return a number for each of the members that says which values it has on the axes `keys`."""
        codes = np.zeros(len(indices), np.int64)
        if self._strides:
            for key in keys:
                codes = codes * len(self.axes[key]) + self._positions(key, indices)
            return codes
        return self._row_codes(tuple(keys))[indices] if keys else codes

    @cached_property
    def _known_codes(self) -> dict[tuple[str, ...], Indices]:
        return {}

    def _row_codes(self, keys: tuple[str, ...]) -> Indices:
        """Number the distinct rows of a zipped or sampled sweep on some axes: int64 [size], counted from 0."""
        if keys not in self._known_codes:
            codes = np.zeros(self.size, np.int64)
            for key in keys:
                own = _code(self.axes[key])
                codes = np.unique(codes * (int(own.max()) + 1) + own, return_inverse=True)[1].reshape(-1)
            self._known_codes[keys] = codes
        return self._known_codes[keys]

    def _start_states(self, indices: Indices) -> list[Any]:
        keys = self.starting
        if not keys:
            return [_INITIAL.validate_python(self.base.get("initial", {"kind": "complex_noise"}))] * len(indices)
        _, first, which = np.unique(
            self._codes(keys, indices) if self._strides else indices, return_index=True, return_inverse=True
        )
        columns = [self.values_of(key, indices[first]) for key in keys]
        states = [
            _INITIAL.validate_python(with_point(self.base, dict(zip(keys, row, strict=True)))["initial"])
            for row in zip(*columns, strict=True)
        ]
        return [states[i] for i in which.reshape(-1).tolist()]


def _gamma(value: Any) -> Any:
    return [list(point) for point in value] if isinstance(value, list | tuple) else float(value)


_KINDS: dict[str, Callable[[Any], Any]] = {"seed": int, "gamma": _gamma}


def _listed(spec: SweepSpec) -> dict[str, Values]:
    """Return the values of the axes of a product or a zipped sweep."""
    return {
        key: axis if isinstance(axis, list) else axis.values()
        for key, axis in spec.axes.items()
        if not isinstance(axis, Drawn)
    }


def _drawn(spec: SweepSpec, sample: Sample) -> dict[str, Values]:
    """Draw the values of the axes of a sampled sweep, one per member."""
    u = sample.draw(len(spec.axes))
    return {
        key: chosen(axis, u[:, i]) if isinstance(axis, list) else axis.at(u[:, i])
        for i, (key, axis) in enumerate(spec.axes.items())
    }


def _code(values: Values) -> Indices:
    """Number the distinct values: int64 [n]."""
    if isinstance(values, np.ndarray):
        return np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.int64)
    if isinstance(values, range):
        return np.arange(len(values))
    known: dict[str, int] = {}
    return np.array([known.setdefault(json.dumps(value, sort_keys=True), len(known)) for value in values], np.int64)
