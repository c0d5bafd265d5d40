"""Models of live interventions."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, RootModel

from app.models.base import EXAMPLE_ID, Body
from leym.contract.interventions import LiveChange

EXAMPLE_CHANGE: dict[str, Any] = {"kind": "vortex", "y": 32, "x": 32, "radius": 8}


class InterventionRequest(RootModel[LiveChange]):
    """A change to the state or to gamma. Without `step`, it acts as soon as possible."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_CHANGE]})


class InterventionBody(Body):
    """A live intervention of a job."""

    job: str = Field(examples=[EXAMPLE_ID])
    number: int = Field(description="position among the live interventions of the job, from 0")
    state: Literal["waiting", "applied", "missed"] = Field(
        description="waiting: no worker has heard of it yet. applied: the job's spec has it. missed: no step was left"
    )
    step: int | None = Field(description="step at which it acts; null unless it is applied")
    intervention: dict[str, Any] = Field(description="as requested", examples=[EXAMPLE_CHANGE])
    created_at: str


class InterventionList(Body):
    """The live interventions of a job, in the order of their requests."""

    items: list[InterventionBody]
    next: str | None = None
