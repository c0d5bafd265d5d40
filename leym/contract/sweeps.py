"""SweepSpec: a base job, and the values that some of its keys take. `leym.contract.sweep_plan` expands it."""

from __future__ import annotations

from math import prod
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_serializer, model_validator
from pydantic_core.core_schema import SerializerFunctionWrapHandler

from leym.contract.axes import Axis, Drawn, Linspace, Logspace, Sample, SeedRange
from leym.contract.initial import ComplexNoise
from leym.contract.limits import LIMITS
from leym.contract.model import Model
from leym.contract.spec import JobSpec
from leym.contract.stop_rules import Stop, StopRule

__all__ = ["EXAMPLE_SWEEP", "SeedRange", "StopRule", "SweepSpec", "with_point"]

# Example of the OpenAPI document; a valid request.
EXAMPLE_SWEEP: dict[str, Any] = {
    "base": {"law": "aurora", "grid": [32, 32], "steps": 100, "observe": {"every": 10}},
    "axes": {"gamma": [0.0, 0.01], "seed": {"start": 0, "count": 2}},
}


class SweepSpec(Model):
    """A base JobSpec, and values for some of its keys: all combinations (product), pairwise (zip), or drawn points."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_SWEEP]})

    base: dict[str, Any] = Field(
        examples=[EXAMPLE_SWEEP["base"]], description="a JobSpec, of which the axes may supply required keys"
    )
    axes: dict[str, Axis] = Field(
        min_length=1,
        examples=[EXAMPLE_SWEEP["axes"]],
        description="values by key of a JobSpec; a dot leads into a key, as in initial.strength",
        json_schema_extra={"propertyNames": {"pattern": rf"^({'|'.join(JobSpec.model_fields)})(\..+)?$"}},
    )
    mode: Literal["product", "zip"] | Sample = Field(
        "product",
        description="`product`: all combinations; the last axis varies fastest. `zip`: the axes have equal lengths, and"
        " member i takes the value i of each. Or a number of points drawn from the axes: lists are choices, linspace"
        " and logspace are intervals",
    )
    stop: Stop = Field((), description="conditions that end a member early; the first that holds ends it")

    @model_validator(mode="after")
    def _sizes(self) -> SweepSpec:
        for key in self.axes:
            if key.split(".")[0] not in JobSpec.model_fields:
                raise ValueError(f"axis {key!r} is no key of a JobSpec")
        if isinstance(self.mode, Sample):
            return self
        for key, axis in self.axes.items():
            if isinstance(axis, Drawn):
                raise ValueError(
                    f'axis {key!r} is a distribution, which needs "mode": {{"sample": …}}; mode is {self.mode!r}'
                )
        lengths = self.lengths()
        if self.mode == "zip" and len(set(lengths.values())) > 1:
            raise ValueError(f"zipped axes must have equal lengths, got {lengths}")
        if (size := self.size()) > LIMITS.sweep_jobs:
            raise ValueError(f"the sweep has {size} jobs; at most {LIMITS.sweep_jobs}")
        return self

    @model_serializer(mode="wrap")
    def _as_sent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out an empty `stop`: a repeated request must equal one that version 0.1.0 accepted."""
        found: dict[str, Any] = handler(self)
        return found if self.stop else {key: value for key, value in found.items() if key != "stop"}

    def lengths(self) -> dict[str, int]:
        """Return the number of values of each axis; in a sampled sweep, the number of members."""
        if isinstance(self.mode, Sample):
            return dict.fromkeys(self.axes, self.mode.count)
        return {key: _length(axis) for key, axis in self.axes.items()}

    def size(self) -> int:
        """Count the members of the sweep."""
        lengths = list(self.lengths().values())
        return prod(lengths) if self.mode == "product" else lengths[0]


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
