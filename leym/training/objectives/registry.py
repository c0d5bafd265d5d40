"""Makes the objective that a recipe names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from leym.laws.bundle import Manifest
from leym.training.objectives.atheria import AtheriaObjective
from leym.training.objectives.base import Objective
from leym.training.objectives.growth import GrowthObjective
from leym.training.objectives.statistics import StatisticsObjective
from leym.training.objectives.teacher import TeacherObjective
from leym.training.recipe import Recipe

OBJECTIVES: dict[str, Callable[[Any, Manifest, tuple[int, int]], Objective]] = {
    "teacher": TeacherObjective,
    "growth": GrowthObjective,
    "statistics": StatisticsObjective,
    "atheria": AtheriaObjective,
}


def make_objective(recipe: Recipe, manifest: Manifest) -> Objective:
    """Make the objective of a recipe.

    Raises:
        ValueError: its settings do not fit the law.
    """
    height, width = recipe.train.grid
    return OBJECTIVES[recipe.objective.kind](recipe.objective, manifest, (height, width))
