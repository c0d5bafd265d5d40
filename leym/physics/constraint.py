"""Defines what holds a state in bounds after each step, as data of a law. Torch-free.

`leym.physics.step` applies it.
"""

from __future__ import annotations

import json
from math import inf
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class Box(BaseModel):
    """Keeps every real channel in an interval.

    Attributes:
        box: (low, high), both included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    box: tuple[float, float]

    @model_validator(mode="after")
    def _in_order(self) -> Box:
        low, high = self.box
        if not -inf < low < high < inf:
            raise ValueError(f"box = [{low:g}, {high:g}]: low must be below high, and both must be finite")
        return self


class Living(BaseModel):
    """Empties cells that have no living cell near them (Mordvintsev et al. 2020, doi 10.23915/distill.00023).

    Attributes:
        channel: real channel that says how alive a cell is: 0 to d - 1 are real parts, d to 2d - 1 imaginary parts.
        above: value that the channel must exceed in the cell or in one of its eight neighbours.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    channel: int = Field(ge=0)
    above: float


def _known(value: Any) -> Any:
    if value in ("unit", "none") or isinstance(value, Box) or (isinstance(value, dict) and set(value) == {"box"}):
        return value
    shown = json.dumps(value, default=str)[:80]
    raise ValueError(f'constraint = {shown}: it must be "unit", "none" or {{"box": [low, high]}}')


Constraint = Annotated[Literal["unit", "none"] | Box, BeforeValidator(_known)]


def check_living(constraint: Literal["unit", "none"] | Box, living: Living, channels: int) -> None:
    """Check that a living mask fits a law with so many real channels.

    Raises:
        ValueError: the law has no such channel, or its cells cannot be empty. Cells of the unit constraint have norm 1
            by definition, and fields and metrics rely on that; a box must hold 0, the value of an empty cell.
    """
    if living.channel >= channels:
        raise ValueError(f"living.channel = {living.channel}: the law has real channels 0 to {channels - 1}")
    if constraint == "unit":
        raise ValueError('living needs a constraint other than "unit": an empty cell does not have norm 1')
    if isinstance(constraint, Box) and not constraint.box[0] <= 0 <= constraint.box[1]:
        raise ValueError(f"living empties cells, but 0 is outside of constraint.box = {list(constraint.box)}")
