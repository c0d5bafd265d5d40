"""Settings of the objectives: the section `objective` of a recipe, one class per kind. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from leym.training.section import Section

# the keys of `leym.training.teachers.catalog.TEACHERS`, for the API, which imports no torch
TEACHER_NAMES = (
    "kuramoto",
    "ginzburg_landau",
    "excitable",
    "gray_scott",
    "landau_lifshitz",
    "allen_cahn",
    "swift_hohenberg",
)


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


class GrowthSettings(Section):
    """Grow a picture from one cell; see `leym.training.objectives.growth`.

    Attributes:
        picture: "flower", "ring", "lizard", or the path of a PNG file.
        size: Cells per side of the picture, in the middle of the grid.
        overflow: Weight of the penalty on channels beyond ±2.
    """

    kind: Literal["growth"]
    picture: str = "flower"
    size: int = Field(default=24, ge=4, le=256)
    overflow: float = Field(default=1.0, ge=0)


class Band(Section):
    """Values that are wanted.

    Attributes:
        low: Smallest one.
        high: Largest one.
        weight: Weight of the distance to them; 0 switches the term off.
    """

    low: float
    high: float
    weight: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> Band:
        if self.low > self.high:
            raise ValueError(f"low = {self.low:g}: at most high = {self.high:g}")
        return self


class StatisticsSettings(Section):
    """Reach bands of statistics; see `leym.training.objectives.statistics`. A band that is left out does not count.

    Attributes:
        activity: Mean change of a cell per step, 0 to 1.
        growth: Growth of a small difference per step, in nats: about the largest Lyapunov exponent.
        entropy: Mean entropy of a cell's channels, 0 to 1.
        length: Correlation length in cells.
        perturbation: Size of the small difference, per cell.
        start: Start states: "noise" has phases of standard deviation `strength`, "random" random unit vectors.
        strength: In radians, for "noise".
    """

    kind: Literal["statistics"]
    activity: Band | None = None
    growth: Band | None = None
    entropy: Band | None = None
    length: Band | None = None
    perturbation: float = Field(default=1e-2, gt=0, le=1)
    start: Literal["noise", "random"] = "random"
    strength: float = Field(default=0.1, gt=0, le=100)

    @model_validator(mode="after")
    def _has_a_band(self) -> StatisticsSettings:
        if all(band is None for band in (self.activity, self.growth, self.entropy, self.length)):
            raise ValueError("at least one band is needed: activity, growth, entropy or length")
        return self


class AtheriaSettings(Section):
    """Minimise the losses of the Atheria project; see `leym.training.objectives.atheria`.

    Attributes:
        survival: Weight of |E_K - 0.8 E_0| / E_0.
        symmetry: Weight of the difference from the universe turned by a quarter.
        complexity: Weight of -log of the standard deviation of a cell's amplitude over the grid.
        mse_energy: Weight of (E_K - E_0)².
        structure: Weight of the mean amplitude plus 0.1 times its total variation.
        start: Start states, as in `StatisticsSettings`.
        strength: In radians, for "noise".
    """

    kind: Literal["atheria"]
    survival: float = Field(default=10.0, ge=0)
    symmetry: float = Field(default=5.0, ge=0)
    complexity: float = Field(default=1.0, ge=0)
    mse_energy: float = Field(default=0.0, ge=0)
    structure: float = Field(default=0.0, ge=0)
    start: Literal["noise", "random"] = "random"
    strength: float = Field(default=0.1, gt=0, le=100)


ObjectiveSettings = Annotated[
    TeacherSettings | GrowthSettings | StatisticsSettings | AtheriaSettings, Field(discriminator="kind")
]
