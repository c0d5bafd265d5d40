"""SweepSpec: a base job, and the values that some of its keys take. `leym.contract.sweep_plan` expands it."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_serializer, model_validator
from pydantic_core.core_schema import SerializerFunctionWrapHandler

from leym.contract.axes import Axis, Drawn, Linspace, Logspace, Sample, SeedRange
from leym.contract.initial import ComplexNoise
from leym.contract.limits import LIMITS
from leym.contract.model import Model
from leym.contract.spec import JobSpec
from leym.contract.stop_rules import Stop, StopRule
from leym.contract.webhook import WEBHOOK, Webhook, without_null_webhook

__all__ = ["EXAMPLE_SWEEP", "MoreMembers", "SeedRange", "StopRule", "SweepSpec", "with_point"]

# Example of the OpenAPI document; a valid request.
EXAMPLE_SWEEP: dict[str, Any] = {
    "base": {"law": "aurora", "grid": [32, 32], "steps": 100, "observe": {"every": 10}},
    "axes": {"gamma": [0.0, 0.01], "seed": {"start": 0, "count": 2}},
}
AXIS_KEYS = tuple(key for key in JobSpec.model_fields if key != "webhook")
EXAMPLE_MORE: dict[str, Any] = {"gamma": [0.02], "seed": {"start": 0, "count": 2}}

Axes = Annotated[
    dict[str, Axis],
    Field(
        min_length=1,
        description="values by key of a JobSpec; a dot leads into a key, as in initial.strength",
        json_schema_extra={"propertyNames": {"pattern": rf"^({'|'.join(AXIS_KEYS)})(\..+)?$"}},
    ),
]
Mode = Annotated[
    Literal["product", "zip"] | Sample,
    Field(
        description="`product`: all combinations; the last axis varies fastest. `zip`: the axes have equal lengths, and"
        " member i takes the value i of each. Or a number of points drawn from the axes: lists are choices, linspace"
        " and logspace are intervals"
    ),
]


class SweepSpec(Model):
    """A base JobSpec, and values for some of its keys: all combinations (product), pairwise (zip), or drawn points."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_SWEEP]})

    base: dict[str, Any] = Field(
        examples=[EXAMPLE_SWEEP["base"]], description="a JobSpec, of which the axes may supply required keys"
    )
    axes: Axes = Field(examples=[EXAMPLE_SWEEP["axes"]])
    mode: Mode = "product"
    stop: Stop = Field((), description="conditions that end a member early; the first that holds ends it")
    webhook: Webhook | None = Field(None, description=WEBHOOK)

    @model_validator(mode="after")
    def _sizes(self) -> SweepSpec:
        _check_axes(self.axes, self.mode)
        return self

    @model_serializer(mode="wrap")
    def _as_sent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not used: a repeated request must equal one that version 0.1.0 accepted."""
        found: dict[str, Any] = without_null_webhook(handler(self))
        return found if self.stop else {key: value for key, value in found.items() if key != "stop"}

    def lengths(self) -> dict[str, int]:
        """Return the number of values of each axis; in a sampled sweep, the number of members."""
        return _lengths(self.axes, self.mode)

    def size(self) -> int:
        """Count the members of the sweep."""
        return _size(self.axes, self.mode)


class MoreMembers(Model):
    """Members to add to a sweep: further values for its axes. They have the base and the stop rules of the sweep."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"axes": EXAMPLE_MORE}]})

    axes: Axes = Field(examples=[EXAMPLE_MORE], description="values by key; the keys are those of the sweep's axes")
    mode: Mode = "product"

    @model_validator(mode="after")
    def _sizes(self) -> MoreMembers:
        _check_axes(self.axes, self.mode)
        return self

    def of(self, sweep: SweepSpec) -> SweepSpec:
        """Return the added members as a sweep of their own, with the base and the stop rules of `sweep`.

        Raises:
            ValueError: the axes are not those of `sweep`.
        """
        if self.axes.keys() != sweep.axes.keys():
            found, needed = (", ".join(map(repr, axes)) for axes in (self.axes, sweep.axes))
            raise ValueError(f"axes has the keys {found}; those of the sweep are {needed}, and each needs values")
        return sweep.model_copy(update={"axes": self.axes, "mode": self.mode})


def _check_axes(axes: Mapping[str, Axis], mode: Literal["product", "zip"] | Sample) -> None:
    for key in axes:
        if key.split(".")[0] not in AXIS_KEYS:
            raise ValueError(f"axis {key!r} is no key of a JobSpec")
    if isinstance(mode, Sample):
        return
    for key, axis in axes.items():
        if isinstance(axis, Drawn):
            raise ValueError(f'axis {key!r} is a distribution, which needs "mode": {{"sample": …}}; mode is {mode!r}')
    lengths = _lengths(axes, mode)
    if mode == "zip" and len(set(lengths.values())) > 1:
        raise ValueError(f"zipped axes must have equal lengths, got {lengths}")
    if (size := _size(axes, mode)) > LIMITS.sweep_jobs:
        raise ValueError(f"the sweep has {size} jobs; at most {LIMITS.sweep_jobs}")


def _lengths(axes: Mapping[str, Axis], mode: Literal["product", "zip"] | Sample) -> dict[str, int]:
    if isinstance(mode, Sample):
        return dict.fromkeys(axes, mode.count)
    return {key: _length(axis) for key, axis in axes.items()}


def _size(axes: Mapping[str, Axis], mode: Literal["product", "zip"] | Sample) -> int:
    lengths = list(_lengths(axes, mode).values())
    return prod(lengths) if mode == "product" else lengths[0]


def _length(axis: Any) -> int:
    if isinstance(axis, SeedRange):
        return axis.count
    if isinstance(axis, Linspace):
        return axis.linspace[2]
    return axis.logspace[2] if isinstance(axis, Logspace) else len(axis)


def with_point(base: dict[str, Any], point: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with each dotted key of `point` set, such as `initial.strength`.

    A key of `initial` refers to the default start state if `base` has none.
    """
    spec = dict(base)
    if "initial" not in spec and any(key.startswith("initial.") for key in point):
        spec["initial"] = {"kind": ComplexNoise().kind}
    for key, value in point.items():
        *parents, last = key.split(".")
        node = spec
        for parent in parents:
            child = node.get(parent)
            node[parent] = dict(child) if isinstance(child, dict) else {}
            node = node[parent]
        node[last] = value
    return spec
