"""Interventions: changes to the state of a universe at a step, the `interventions` of a JobSpec.

`leym.physics.interventions` has their equations. Cells are named by row y and column x, counted from 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import pi
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, WithJsonSchema, model_validator

from leym.contract.limits import LIMITS
from leym.contract.model import EXACT, NO_TEXT, Model, Real, Whole

_SIDE = LIMITS.side[1]
# bounds stand before EXACT and NO_TEXT: behind them, pydantic leaves them out of the JSON schema
Row = Annotated[int, Field(ge=0, lt=_SIDE), EXACT]
Position = Annotated[float, Field(ge=0, lt=_SIDE, description="in cells; the centre of cell i is at i"), NO_TEXT]
Radius = Annotated[
    float,
    Field(ge=0, le=_SIDE, description="in cells; the cells whose centres are as near as this belong to the disc"),
    NO_TEXT,
]
_PART: dict[str, Any] = {"type": "number", "minimum": -LIMITS.part, "maximum": LIMITS.part}
_PAIR: dict[str, Any] = {"type": "array", "items": _PART, "minItems": 2, "maxItems": 2}  # without prefixItems
_Part = Annotated[float, Field(ge=-LIMITS.part, le=LIMITS.part), NO_TEXT]
Pair = Annotated[tuple[_Part, _Part], WithJsonSchema(_PAIR)]
Vector = Annotated[
    tuple[Pair, ...],
    Field(min_length=1, max_length=LIMITS.channels, description="[re, im] of each of the d channels of a cell"),
]


def _kind_required(schema: dict[str, Any]) -> None:
    schema["required"] = ["kind", *schema.get("required", ())]


class Part(Model):
    """Base class of models with a `kind`, which has a default in Python; in JSON it is required."""

    model_config = ConfigDict(json_schema_extra=_kind_required)


class Rectangle(Part):
    """The cells of `height` rows from row `y` on and `width` columns from column `x` on."""

    kind: Literal["rectangle"] = "rectangle"
    y: Row
    x: Row
    height: Whole = Field(ge=1, le=_SIDE)
    width: Whole = Field(ge=1, le=_SIDE)


class Disc(Part):
    """The cells within a radius of a point."""

    kind: Literal["disc"] = "disc"
    y: Position
    x: Position
    radius: Radius


Region = Annotated[Rectangle | Disc, Field(discriminator="kind")]
SomeRegion = Annotated[
    Region | None,
    Field(description="the cells that change; all if left out. It wraps around the edges if the law does"),
]


class Change(Part):
    """Base class of interventions.

    `step` is the step at which the state changes, after its frame is recorded and before the law's next step. A
    JobSpec says it. A live intervention may leave it out, and is applied as soon as possible.
    """

    step: Annotated[int, Field(ge=0, lt=LIMITS.steps), EXACT] | None = Field(
        default=None, description="step at which the state changes, after its frame is recorded"
    )


class Vortex(Change):
    """A phase vortex: all channels of the cells of a disc are turned by `charge` times their angle at its centre."""

    kind: Literal["vortex"] = "vortex"
    y: Position
    x: Position
    radius: Radius
    charge: Whole = Field(default=1, ge=-LIMITS.charge, le=LIMITS.charge, description="windings of the phase, not 0")

    @model_validator(mode="after")
    def _winds(self) -> Vortex:
        if self.charge == 0:
            raise ValueError("charge = 0: the phase must wind at least once, in either direction")
        return self


class Wave(Change):
    """A plane wave: all channels of a cell at (y, x) are turned by the phase ky y + kx x."""

    kind: Literal["wave"] = "wave"
    ky: Real = Field(default=0.0, ge=-pi, le=pi, description="radians per row")
    kx: Real = Field(default=0.0, ge=-pi, le=pi, description="radians per column")
    region: SomeRegion = None


class Noise(Change):
    """Complex Gaussian noise, added to every channel; its mean square per channel is the square of `strength`."""

    kind: Literal["noise"] = "noise"
    strength: Real = Field(gt=0, le=LIMITS.strength)
    region: SomeRegion = None


class Collapse(Change):
    """A measurement: each cell keeps its phase in one channel and its norm, and the other channels become 0.

    `dominant` chooses the channel with the most power, `drawn` draws one with the probability of its share of it.
    """

    kind: Literal["collapse"] = "collapse"
    to: Literal["dominant", "drawn"] = "dominant"
    region: SomeRegion = None


class SetCells(Change):
    """Cells get a vector, or the values that an uploaded state (`POST /v1/states`) has at the same places."""

    kind: Literal["set"] = "set"
    region: SomeRegion = None
    vector: Vector | None = None
    state: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="id of an uploaded state [H, W, d]"
    )

    @model_validator(mode="after")
    def _one_source(self) -> SetCells:
        _check_one_of(self, "vector", "state")
        return self


class Paint(Change):
    """A brush: the cells of a disc get a vector, or norm 1 in one channel with a phase."""

    kind: Literal["paint"] = "paint"
    y: Position
    x: Position
    radius: Radius
    vector: Vector | None = None
    channel: Annotated[int, Field(ge=0, lt=LIMITS.channels), EXACT] | None = None
    phase: Real = Field(default=0.0, ge=-2 * pi, le=2 * pi, description="of `channel`, in radians")

    @model_validator(mode="after")
    def _one_source(self) -> Paint:
        _check_one_of(self, "vector", "channel")
        return self


class SetGamma(Part):
    """A new gamma from a step on, until the next point of the job's schedule. Live only: a JobSpec has `gamma`."""

    kind: Literal["gamma"] = "gamma"
    value: Real = Field(ge=0, le=LIMITS.gamma)
    step: Annotated[int, Field(ge=0, lt=LIMITS.steps), EXACT] | None = None


AnyIntervention = Annotated[Vortex | Wave | Noise | Collapse | SetCells | Paint, Field(discriminator="kind")]
LiveChange = Annotated[Vortex | Wave | Noise | Collapse | SetCells | Paint | SetGamma, Field(discriminator="kind")]

_LIVE: TypeAdapter[Any] = TypeAdapter(LiveChange)


def live_change(body: Any) -> AnyIntervention | SetGamma:
    """Parse a live intervention.

    Raises:
        pydantic.ValidationError: it is none.
    """
    found: AnyIntervention | SetGamma = _LIVE.validate_python(body)
    return found


def misfits(change: AnyIntervention | SetGamma, grid: tuple[int, int], d_state: int | None = None) -> Iterator[str]:
    """Iterate over what does not fit a job, each as `key = value: bound`.

    Args:
        change: the intervention.
        grid: (H, W) in cells.
        d_state: channels of the law; None where they are not known.
    """
    if isinstance(change, SetGamma):
        return
    places = [("", change), ("region.", getattr(change, "region", None))]
    for prefix, place in places:
        for axis, (key, length) in enumerate((("y", "height"), ("x", "width"))):
            side, at, extent = grid[axis], getattr(place, key, None), getattr(place, length, None)
            if at is not None and at >= side:
                yield f"{prefix}{key} = {at:g}: it must be below {side}, the {length} of the grid"
            if extent is not None and extent > side:
                yield f"{prefix}{length} = {extent}: the {length} of the grid is {side}"
    if d_state is None:
        return
    vector, channel = getattr(change, "vector", None), getattr(change, "channel", None)
    if vector is not None and len(vector) != d_state:
        shown = json.dumps(vector)[:80]
        yield f"vector = {shown}: {len(vector)} pairs [re, im]; the law has {d_state} channels"
    if channel is not None and channel >= d_state:
        yield f"channel = {channel}: the law has the channels 0 to {d_state - 1}"


def _check_one_of(model: Model, *keys: str) -> None:
    given = [key for key in keys if getattr(model, key) is not None]
    if len(given) != 1:
        raise ValueError(f"{' and '.join(keys)}: exactly one of them is needed; {len(given)} are given")
