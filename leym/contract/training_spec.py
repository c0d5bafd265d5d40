"""TrainingSpec: the description of a job that trains a law by a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from leym.contract.model import NO_TEXT, Model, Whole
from leym.contract.spec import Grid, Tags
from leym.contract.webhook import WEBHOOK, Webhook

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

EXAMPLE_RECIPE: dict[str, Any] = {
    "name": "spirals",
    "law": {"architecture": "NCA", "d_state": 1, "hidden_channels": 48, "options": {"padding": "periodic"}},
    "objective": {"kind": "teacher", "teacher": "kuramoto"},
    "train": {"updates": 4000, "grid": [32, 32]},
}


class TrainingRequest(Model):
    """A law to train. The recipe has the keys of a recipe file, see docs/training.md."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"recipe": EXAMPLE_RECIPE}]})

    recipe: dict[str, Any] = Field(
        description="sections `law`, `objective` and `train`, as in a recipe file", examples=[EXAMPLE_RECIPE]
    )
    name: str | None = Field(None, pattern=NAME, description="name of the law; the recipe's if left out")
    priority: Whole = Field(4, ge=0, le=9, description="among trainings; 9 is the most urgent")
    deadline_s: Annotated[float, Field(gt=0, le=30 * 86400), NO_TEXT] | None = Field(
        None, description="seconds from submission after which a training that has not ended fails"
    )
    ttl_s: Annotated[float, Field(gt=0, le=3650 * 86400), NO_TEXT] | None = Field(
        None, description="seconds from the end for which the curve is kept; the law stays. null: LEYM_TTL_S"
    )
    tags: Tags = Field(default_factory=dict)
    webhook: Webhook | None = Field(None, description=WEBHOOK)

    def plain_recipe(self) -> dict[str, Any]:
        """Return the recipe with the requested name."""
        return self.recipe if self.name is None else {**self.recipe, "name": self.name}


class TrainingSpec(TrainingRequest):
    """A request with what the recipe resolved to; stored as the spec of the job."""

    kind: Literal["training"] = "training"
    law: str = Field(pattern=NAME)
    grid: Grid
    steps: int = Field(ge=1, description="updates")

    @property
    def total_steps(self) -> int:
        """Number of updates."""
        return self.steps

    def stored_bytes(self, d_state: int) -> int:
        """Return 0: a training stores no frames."""
        return 0
