"""Objective `atheria`: the losses of the Atheria project (trainer v4), for comparison with laws trained there.

With E the sum of Σ_c |ψ_c|² over the grid, of the first state (E_0) and of the last (E_K), and |ψ| the amplitudes of
the last state:

    survival     |E_K - 0.8 E_0| / E_0
    symmetry     mean (|ψ| - |ψ| turned by a quarter)²                  square grids only
    complexity   -log(standard deviation over cells of Σ_c |ψ_c| + 1e-6)
    mse_energy   ((E_K - E_0) / cells)²
    structure    mean |ψ| + 0.1 · mean absolute difference of neighbours' |ψ|

Under the constraint "unit" every cell has Σ_c |ψ_c|² = 1 after a step. Then E is the number of cells: survival is 0.2
exactly, mse_energy is 0, and neither has a gradient. For d = 1 also |ψ| = 1, so symmetry is 0, and complexity and
structure are constant too. `constant_terms` names the terms that a law cannot change; a training says so when it
begins. The project's mse_energy is not divided by the number of cells; here it is, so that its weight does not depend
on the grid.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from leym.laws.bundle import Manifest
from leym.training.objective_settings import AtheriaSettings
from leym.training.objectives.base import Judgement, Rollout
from leym.training.objectives.starts import draw_starts

TERMS = ("survival", "symmetry", "complexity", "mse_energy", "structure")
TINY = 1e-12


class AtheriaObjective:
    """Adds the losses that have a weight; the module's docstring has them."""

    truncated = False

    def __init__(self, settings: AtheriaSettings, manifest: Manifest, grid: tuple[int, int]) -> None:
        self._settings, self._d, self._grid = settings, manifest.d_state, grid
        self._weights = {term: getattr(settings, term) for term in TERMS if getattr(settings, term) > 0}
        if not self._weights:
            raise ValueError(f"objective: one of {', '.join(TERMS)} must have a positive weight")
        if "symmetry" in self._weights and grid[0] != grid[1]:
            raise ValueError(f"train.grid = {list(grid)}: objective.symmetry needs a square grid")
        if constant := [term for term in constant_terms(manifest) if term in self._weights]:
            if len(constant) == len(self._weights):
                raise ValueError(f"objective: {', '.join(constant)} cannot change under the constraint 'unit'")
            warnings.warn(
                f"constant under the constraint 'unit', so without effect: {', '.join(constant)}", stacklevel=2
            )

    def starts(self, n: int, seed: int) -> Tensor:
        """Draw n start states."""
        return draw_starts(self._settings.start, n, self._d, self._grid, seed, self._settings.strength)

    def pool(self, n: int, seed: int) -> Tensor:
        """Draw n start states."""
        return self.starts(n, seed)

    def judge(self, rollout: Rollout) -> Judgement:
        """Compute the loss of a rollout."""
        found = losses(rollout.states[0], rollout.last, self._weights)
        each = torch.stack([weight * found[term] for term, weight in self._weights.items()]).sum(0)
        return Judgement(each.mean(), each.detach(), {term: value.mean().detach() for term, value in found.items()})


def constant_terms(manifest: Manifest) -> tuple[str, ...]:
    """Return the terms that have the same value for every law of this kind."""
    if manifest.constraint != "unit":
        return ()
    return TERMS if manifest.d_state == 1 else ("survival", "mse_energy")


def losses(first: Tensor, last: Tensor, terms: dict[str, float]) -> dict[str, Tensor]:
    """Return each term of the states before and after a rollout, float32 [B, 2d, H, W]: [B] per term."""
    energies = [x.square().sum((1, 2, 3)) for x in (first, last)]
    re, im = last.chunk(2, 1)
    amplitude = (re.square() + im.square() + TINY).sqrt()
    cells = last.shape[2] * last.shape[3]
    every = {
        "survival": lambda: (energies[1] - 0.8 * energies[0]).abs() / (energies[0] + TINY),
        "symmetry": lambda: (amplitude - amplitude.rot90(1, (2, 3))).square().mean((1, 2, 3)),
        "complexity": lambda: -(amplitude.sum(1).flatten(1).var(1).add(TINY).sqrt() + 1e-6).log(),
        "mse_energy": lambda: ((energies[1] - energies[0]) / cells).square(),
        "structure": lambda: amplitude.mean((1, 2, 3)) + 0.1 * total_variation(amplitude),
    }
    return {term: every[term]() for term in terms}


def total_variation(field: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbours, along both axes: [B, C, H, W] -> [B]."""
    return field.diff(dim=2).abs().mean((1, 2, 3)) + field.diff(dim=3).abs().mean((1, 2, 3))
