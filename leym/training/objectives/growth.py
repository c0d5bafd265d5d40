"""Objective `growth`: grow a picture from one cell, keep it, and repair it after damage.

The first four real channels of a cell are a premultiplied colour and its opacity, R, G, B, A. For a picture p,

    loss = mean over cells and R, G, B, A of (x_K - p)²  +  overflow · mean over all channels of (|x_K| - 2)₊

A universe starts as zeros but for its middle cell, whose real channels from A on are 1. Universes go on from where they
ended (`leym.training.pool`), so that the picture must stay; those with the highest loss begin anew; damaged ones must
be repaired: A. Mordvintsev, E. Randazzo, E. Niklasson, M. Levin, "Growing Neural Cellular Automata", Distill (2020),
doi 10.23915/distill.00023. The overflow term keeps hidden channels from growing without bound, as in E. Randazzo,
A. Mordvintsev, E. Niklasson, M. Levin, S. Greydanus, "Self-classifying MNIST Digits", Distill (2020).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from leym.laws.bundle import Manifest
from leym.training.objective_settings import GrowthSettings
from leym.training.objectives.base import Judgement, Rollout
from leym.training.pictures import picture

COLOURS = 4
ALPHA = 3  # real channel that says how alive a cell is
LARGEST = 2.0  # absolute value from which a channel overflows


class GrowthObjective:
    """Compares the colours of a universe with a picture; the module's docstring has the loss."""

    truncated = False

    def __init__(self, settings: GrowthSettings, manifest: Manifest, grid: tuple[int, int]) -> None:
        self._settings, self._grid, self._channels = settings, grid, 2 * manifest.d_state
        if self._channels < COLOURS:
            raise ValueError(f"law.d_state = {manifest.d_state}: a picture needs 4 real channels, d_state = 2 or more")
        if manifest.constraint == "unit":
            raise ValueError(
                "law.constraint = 'unit': the cells around a picture are empty; it must be 'none' or a box"
            )
        if settings.size > min(grid):
            raise ValueError(f"objective.size = {settings.size}: at most the shorter side of train.grid, {min(grid)}")
        above, left = (grid[0] - settings.size) // 2, (grid[1] - settings.size) // 2
        below, right = grid[0] - settings.size - above, grid[1] - settings.size - left
        self.target = pad(torch.from_numpy(picture(settings.picture, settings.size)), (left, right, above, below))

    def starts(self, n: int, seed: int) -> Tensor:
        """Return n universes with one living cell: float32 [n, 2d, H, W]."""
        height, width = self._grid
        x = torch.zeros(n, self._channels, height, width)
        x[:, ALPHA:, height // 2, width // 2] = 1
        return x

    def pool(self, n: int, seed: int) -> Tensor:
        """Return n universes with one living cell."""
        return self.starts(n, seed)

    def judge(self, rollout: Rollout) -> Judgement:
        """Compute the loss of the last states."""
        x = rollout.last
        error = (x[:, :COLOURS] - self.target.to(x)).square().mean((1, 2, 3))
        overflow = (x.abs() - LARGEST).relu().mean((1, 2, 3))
        each = error + self._settings.overflow * overflow
        parts = {"picture": error.mean().detach(), "overflow": overflow.mean().detach()}
        return Judgement(each.mean(), each.detach(), parts)
