"""Types of the arguments of tools. Their descriptions are what a model reads."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from leym.contract.gamma import Gamma
from leym.contract.recording import KeepStates, Observe, Recording
from leym.contract.spec import Grid, Precision

JobId = Annotated[str, Field(description="id of a job, or of a member of a sweep")]
SweepId = Annotated[str, Field(description="id of a sweep")]
Key = Annotated[
    str | None, Field(description="Idempotency-Key: calls with the same key submit once, and cost the budget once")
]
Changes = Annotated[
    dict[str, Any],
    Field(description="keys of a JobSpec that are to differ, such as gamma, seed, record; all others are inherited"),
]


class Universe(BaseModel):
    """One universe to run. Other keys of a JobSpec (resource leym://jobspec) are passed on."""

    model_config = ConfigDict(extra="allow")

    law: str = Field(description="name or name@digest; the tool `laws` lists them")
    grid: Grid = Field(description="[H, W] in cells")
    steps: int = Field(ge=1, description="last step")
    seed: int = Field(0, ge=0, description="of the start state, and of a law that draws random numbers")
    initial: dict[str, Any] | None = Field(
        None,
        description='start state: {"kind": "complex_noise", "strength": 0.1}, {"kind": "random"}, {"kind": "zeros"}, '
        '{"kind": "state", "job": ID, "step": N} (its step 0), {"kind": "continue", "job": ID, "step": N} (goes on '
        "counting); default: the one that suits the law",
    )
    gamma: Gamma = Field(
        0.01, description="damping: a number, or a schedule [[from step, value], …] that begins at step 0"
    )
    precision: Precision = Field("auto", description="auto: the cheapest that has passed the fidelity gate")
    record: list[Recording] = Field(
        [], description='fields to store, for pictures and arrays: [{"field": "phase", "every": 10}]'
    )
    observe: Observe | None = Field(None, description='numbers per step: {"every": 10, "names": ["activity"]}')
    keep_states: KeepStates | None = Field(None, description="complete states to keep, from which forks can go on")
    interventions: list[dict[str, Any]] = Field(
        [], description='changes at given steps: [{"step": 200, "kind": "vortex", "y": 32, "x": 32, "radius": 8}]'
    )
    reuse: bool = Field(False, description="true: an earlier job that has computed the same may answer, at no cost")
    tags: dict[str, str] = Field({}, description="labels, to find the job by")

    def body(self) -> dict[str, Any]:
        """Return the JobSpec as JSON, without the keys that were not given."""
        found: dict[str, Any] = self.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        return found
