"""Settings of the objectives: the section `objective` of a recipe, one class per kind. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from leym.training.section import Section


class TeacherSettings(Section):
    """Learn the step of a known model; see `leym.training.objectives.teacher`.

    Attributes:
        teacher: Name of the model.
        preset: Regime of the model; None for its default.
        parameters: Parameters of the model that differ from the preset.
        starts: Kind of start state; None for a mixture of all that the model has.
        one_step: Weight of the error of a single step.
        rollout: Weight of the error of a whole rollout; 0 trains single steps only, along the law's own way.
        own: Share of the universes that continue from the law's state, the others from the teacher's.
        age: The pool begins with universes that the teacher has advanced by up to this many steps.
    """

    kind: Literal["teacher"]
    teacher: str
    preset: str | None = None
    parameters: dict[str, float] = Field(default_factory=dict)
    starts: str | None = None
    one_step: float = Field(default=1.0, ge=0)
    rollout: float = Field(default=1.0, ge=0)
    own: float = Field(default=0.5, ge=0, le=1)
    age: int = Field(default=100, ge=0, le=100_000)


ObjectiveSettings = TeacherSettings
