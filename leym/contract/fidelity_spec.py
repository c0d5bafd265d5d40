"""FidelitySpec: the description of a job that runs the fidelity gate on a law in one precision."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from leym.contract.fidelity_plan import PLANS, Plan
from leym.contract.spec import EXACT, LAW_NAME, LIMITS, NO_TEXT, Grid, Model, Tags, Whole
from leym.contract.webhook import WEBHOOK, Webhook


class FidelityRequest(Model):
    """A precision to judge, and the plan to judge it by. Grid, members and steps replace those of the plan."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"precision": "nf4", "plan": "small"}]})

    precision: Literal["nf4", "int8", "bf16"]
    plan: Literal["small", "standard"] = "small"
    grid: Grid | None = Field(None, description="[H, W] in cells; the plan's if left out")
    members: Annotated[int, Field(ge=4, le=4096), EXACT] | None = Field(
        None, description="universes per ensemble; a pilot's spread decides if left out"
    )
    steps: Annotated[int, Field(ge=1, le=LIMITS.steps), EXACT] | None = Field(
        None, description="of each universe; the plan's if left out"
    )
    priority: Whole = Field(2, ge=0, le=9, description="9 is the most urgent")
    deadline_s: Annotated[float, Field(gt=0, le=30 * 86400), NO_TEXT] | None = Field(
        None, description="from submission; later the job has failed"
    )
    tags: Tags = Field(default_factory=dict)
    webhook: Webhook | None = Field(None, description=WEBHOOK)

    @model_validator(mode="after")
    def _measures_something(self) -> FidelityRequest:
        self.to_plan()
        return self

    def to_plan(self) -> Plan:
        """Return the plan with the requested grid, members and steps.

        Raises:
            ValueError: the combination leaves nothing to measure.
        """
        chosen = {"grid": self.grid, "members": self.members, "steps": self.steps}
        plan = PLANS[self.plan]
        changes: dict[str, Any] = {key: value for key, value in chosen.items() if value is not None}
        if self.members is not None:
            changes |= {"pilot": 0, "pairs": min(plan.pairs, self.members)}
        return plan.with_(**changes)


class FidelitySpec(FidelityRequest):
    """A request with its law, and with grid and steps filled in from the plan; stored as the spec of the job."""

    kind: Literal["fidelity"] = "fidelity"
    law: str = Field(pattern=LAW_NAME)
    grid: Grid
    steps: int

    @property
    def total_steps(self) -> int:
        """Number of steps that the job computes, all universes together; an estimate for a plan with a pilot."""
        return self.to_plan().total_steps

    def stored_bytes(self, d_state: int) -> int:
        """Return 0: a fidelity job stores no frames."""
        return 0


def spec_of(law: str, request: FidelityRequest) -> FidelitySpec:
    """Combine a request with its law (name@digest) into the spec of a job."""
    plan = request.to_plan()
    chosen = {"law": law, "grid": plan.grid, "steps": plan.steps}
    return FidelitySpec(**request.model_dump() | chosen)
