"""Models of extensions, forks, kept states and lineages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.models.base import EXAMPLE_ID, Body, Parameters, Query, State
from leym.contract.spec import EXAMPLE_JOB, LIMITS, Whole

EXAMPLE_DIFFERS = {"gamma": [0.01, 0.05], "steps": [600, 1000]}
DIFFERS = "keys of the spec that differ from the job it continues: [value there, own value]"
CHANGES = "Every key of a JobSpec but `initial` is taken; those that are left out are inherited"


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("true and false are no values here")
    return value


Number = Annotated[Whole, BeforeValidator(_no_truth_value)]


class ExtendRequest(BaseModel):
    """More steps of a job, with the keys of a JobSpec that are to differ from it."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [{"steps": 1000}]})

    steps: Number = Field(ge=1, le=LIMITS.steps, description="last step, on the clock of the lineage")


class ForkRequest(BaseModel):
    """A step of a job from which another one goes on, with the keys of a JobSpec that are to differ from it."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"examples": [{"step": 200, "gamma": 0.05, "steps": 600}]}
    )

    step: Number = Field(ge=0, le=LIMITS.steps, description="step of a kept state, as `/states` lists them")


class StateRow(BaseModel):
    """A state from which other jobs can go on."""

    step: int
    kind: Literal["checkpoint", "recorded", "last"] = Field(
        description="checkpoint: kept by `keep_states`; recorded: a frame of psi; last: at the job's end"
    )
    bytes: int = Field(description="size of psi and of the memory of a recurrent law")


class StateList(Body):
    """The states of a job from which other jobs can go on, in the order of their steps."""

    items: list[StateRow]
    next: int | None = Field(description="`start` of the next page; null on the last page")


class StatesQuery(Query):
    """Query of the list of kept states."""

    start: int = Field(0, ge=0, description="first step")
    limit: int = Field(1000, ge=1, le=10_000)


class StatePath(Parameters):
    """Path of the state of a job at a step."""

    id: str = Field(max_length=64)
    step: int = Field(ge=0, le=LIMITS.steps)


class LineageNode(BaseModel):
    """One job of a lineage. Its record stays when its results are deleted."""

    id: str = Field(examples=[EXAMPLE_ID])
    parent: str | None = Field(description="the job that it continues; null for the first one")
    relation: Literal["ancestor", "self", "descendant", "other"] = Field(
        description="to the job that was asked for; other: a fork of an ancestor"
    )
    name: str | None
    state: State
    from_step: int = Field(description="step from which it goes on; 0 for the first one")
    to_step: int = Field(description="last step whose frames are stored, or were until they were deleted")
    steps: int = Field(description="last step of the job")
    differs: dict[str, list[Any]] = Field(description=DIFFERS, examples=[EXAMPLE_DIFFERS])
    deleted: bool
    readable: bool = Field(description="false once its results were deleted or have expired")
    law: str
    precision: str
    spec: dict[str, Any] = Field(description="its JobSpec, with all defaults", examples=[EXAMPLE_JOB])
    created_at: str
    finished_at: str | None


class LineageBody(Body):
    """The tree of jobs to which a job belongs, each after the one that it continues."""

    id: str = Field(description="the job that was asked for", examples=[EXAMPLE_ID])
    root: str = Field(description="the first job of the lineage", examples=[EXAMPLE_ID])
    items: list[LineageNode]
    truncated: bool = Field(description="true if there are more jobs than the answer has")
