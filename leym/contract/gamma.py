"""Gamma, the damping of a step: one number, or a schedule of `[from step, value]` over the steps of a job."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from leym.contract.limits import LIMITS
from leym.contract.model import NO_TEXT, Real, Whole

_NUMBER, _SCHEDULE = "a number", "a schedule"  # tags with a space: never the name of a key
_POINT = {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 2, "maxItems": 2}
_SCHEMA = {  # without prefixItems, which some readers of OpenAPI do not know
    "type": "array",
    "items": _POINT,
    "minItems": 1,
    "maxItems": LIMITS.gamma_points,
    "examples": [[[0, 0.01], [500, 0.05]]],
}


def _no_truth_values(points: Any) -> Any:
    for i, point in enumerate(points if isinstance(points, list | tuple) else ()):
        if isinstance(point, list | tuple) and any(isinstance(value, bool) for value in point):
            raise ValueError(f"[from step, value] number {i}: true and false are no values here")
    return points


def _in_order(points: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
    if not 1 <= len(points) <= LIMITS.gamma_points:
        raise ValueError(f"a schedule has 1 to {LIMITS.gamma_points} points; got {len(points)}")
    if points[0][0] != 0:
        raise ValueError(f"the first point is from step {points[0][0]}; a schedule begins at step 0")
    for (before, _), (step, _) in pairwise(points):
        if step <= before:
            raise ValueError(f"step {step} follows step {before}; the steps of a schedule increase")
        if step > LIMITS.steps:
            raise ValueError(f"step {step} is over {LIMITS.steps}")
    for step, value in points:
        if not 0 <= value <= LIMITS.gamma:
            raise ValueError(f"gamma = {value:g} from step {step}: it must be between 0 and {LIMITS.gamma:g}")
    return points


def _form(value: Any) -> str:
    return _SCHEDULE if isinstance(value, list | tuple) else _NUMBER


# the bounds stand before NO_TEXT: behind it, pydantic leaves them out of the JSON schema
Constant = Annotated[float, Field(ge=0, le=LIMITS.gamma), NO_TEXT]
Points = Annotated[
    tuple[tuple[Whole, Real], ...],
    BeforeValidator(_no_truth_values),
    AfterValidator(_in_order),
    WithJsonSchema(_SCHEMA),
]
Gamma = Annotated[
    Annotated[Constant, Tag(_NUMBER)] | Annotated[Points, Tag(_SCHEDULE)],
    Discriminator(_form),
]

Schedule = Sequence[tuple[int, float]]  # (from step, value), the first from step 0, steps increasing


def schedule_of(gamma: float | Schedule) -> tuple[tuple[int, float], ...]:
    """Return a gamma as a schedule; a number holds from step 0 on. Takes the lists of stored JSON too."""
    if isinstance(gamma, int | float):
        return ((0, float(gamma)),)
    return tuple((int(step), float(value)) for step, value in gamma)


def gamma_at(gamma: float | Schedule, step: int) -> float:
    """Return the gamma of the step from `step` to `step` + 1: the value whose start is the largest up to `step`."""
    points = schedule_of(gamma)
    return points[bisect_right(points, step, key=lambda point: point[0]) - 1][1]


def gamma_from(gamma: float | Schedule, step: int, steps: int) -> float | tuple[tuple[int, float], ...]:
    """Return the gamma of a job of `steps` steps that goes on from `step` and counts its own steps from 0."""
    points = [(0, gamma_at(gamma, step))]
    points += [(at - step, value) for at, value in schedule_of(gamma) if step < at < step + steps]
    return simplified(points)


def gamma_within(gamma: float | Schedule, steps: int) -> float | tuple[tuple[int, float], ...]:
    """Return a gamma without the points that a job which ends at step `steps` does not reach."""
    return simplified([point for point in schedule_of(gamma) if point[0] < steps])


def gamma_changed(gamma: float | Schedule, step: int, value: float) -> float | tuple[tuple[int, float], ...]:
    """Return a gamma that takes `value` from `step` on, until its next point; a point at `step` is replaced."""
    points = [point for point in schedule_of(gamma) if point[0] != step]
    return simplified(sorted([*points, (step, float(value))]))


def simplified(points: Schedule) -> float | tuple[tuple[int, float], ...]:
    """Return a schedule of one point as a number, and any other as it is."""
    return points[0][1] if len(points) == 1 else tuple(points)
