"""A teacher that is known in closed form, and small recipes that use it.

As a program it trains: `python -m tests.support.training RECIPE.toml OUT [--resume]`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leym.physics.step import step
from leym.training.objectives import teacher as objective
from leym.training.recipe import Recipe, read_recipe
from leym.training.trainer import train


class Turning:
    """Every cell is a unit vector of C and turns by an angle of its own: pure diffusion of the phase with a drift."""

    name, d_state, constraint, padding = "turning", 1, "unit", "periodic"

    def start(self, batch: int, grid: tuple[int, int], seed: int, kind: str | None = None) -> Tensor:
        x = torch.randn(batch, 2, *grid, generator=torch.Generator().manual_seed(seed % 2**63))
        return x / x.square().sum(1, keepdim=True).sqrt()

    def advance(self, x: Tensor) -> Tensor:
        around = sum(x.roll(shift, axis) for shift in (1, -1) for axis in (2, 3)) - 4 * x
        turned = torch.cat([-x[:, 1:], x[:, :1]], 1)
        return step(lambda _: 0.05 * around + 0.1 * turned, "additive", x, torch.zeros(1, 1, 1, 1))[0]


objective.made_teacher = lambda settings, padding: Turning()  # type: ignore[assignment]

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
    import tomllib

    plain = tomllib.loads(RECIPE)
    for section, values in changes.items():
        plain[section] = {**plain[section], **values}
    return Recipe.model_validate(plain)


if __name__ == "__main__":
    print(train(read_recipe(Path(sys.argv[1])), Path(sys.argv[2]), resume="--resume" in sys.argv).digest)
