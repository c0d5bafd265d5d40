"""A teacher that is known in closed form, and small recipes that use it.

As a program it trains: `python -m tests.support.training RECIPE.toml OUT [--resume]`.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leym.physics.step import step
from leym.training.recipe import Recipe, read_recipe
from leym.training.teachers.base import Parameter, Start, Teacher
from leym.training.teachers.catalog import TEACHERS
from leym.training.trainer import train


class Turning(Teacher):
    """Every cell is a unit vector of C that turns and follows its neighbours: a linear model, but for the norm."""

    name, constraint = "turning", "unit"
    known = {"dt": Parameter(1.0, 1.0, 1.0, "time per step")}

    @property
    def starts(self) -> Mapping[str, Start]:
        def noise(random: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
            angles = random.uniform(0, 2 * np.pi, (height, width))
            return np.stack([np.cos(angles), np.sin(angles)])

        return {"noise": noise}

    def advance(self, x: Tensor) -> Tensor:
        around = sum(x.roll(shift, axis) for shift in (1, -1) for axis in (2, 3)) - 4 * x
        turned = torch.cat([-x[:, 1:], x[:, :1]], 1)
        return step(lambda _: 0.05 * around + 0.1 * turned, "additive", x, torch.zeros(1, 1, 1, 1))[0]

    def observe(self, trajectory: Tensor, every: int = 1) -> dict[str, Tensor]:
        return {}


TEACHERS["turning"] = Turning

RECIPE = """
name = "turning"

[law]
architecture = "NCA"
d_state = 1
hidden_channels = 16
options = { padding = "periodic" }

[objective]
kind = "teacher"
teacher = "turning"
age = 10

[train]
grid = [8, 8]
batch = 4
horizon = 4
pool = 16
updates = 60
checkpoint_every = 7
learning_rate = 1e-2
log_every = 5
"""


def recipe(**changes: dict[str, Any]) -> Recipe:
    """The small recipe with other values, by section."""
    plain = tomllib.loads(RECIPE)
    for section, values in changes.items():
        plain[section] = {**plain[section], **values}
    return Recipe.model_validate(plain)


if __name__ == "__main__":
    print(train(read_recipe(Path(sys.argv[1])), Path(sys.argv[2]), resume="--resume" in sys.argv).digest)
