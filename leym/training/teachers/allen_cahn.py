"""Allen–Cahn equation: domains of two phases that grow by the curvature of their walls.

    ∂u/∂t = D ∇²u + u - u³

One explicit Euler step of dt on cells of side 1, with the 9-point Laplacian. ψ = u, Im ψ = 0. A flat wall is
u = tanh(x / sqrt(2 D)); a wall of radius R moves at D / R, so that a disc has R² = R₀² - 2 D t, and domains grow as
L ∝ t^(1/2).

Allen & Cahn, Acta Metallurgica 27, 1085 (1979); Bray, Advances in Physics 43, 357 (1994).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from leym.training.teachers import measures, starts
from leym.training.teachers.base import Parameter, Start, Teacher
from leym.training.teachers.lattice import STEEPEST, laplacian
from leym.training.teachers.starts import Field


class AllenCahn(Teacher):
    """Real order parameter, ψ = u, d = 1, free cells; u stays in [-1.05, 1.05].

    Observables:

    - `length`: 1 / share of edge neighbours with opposite signs, in cells, last frame; NaN without any.
    - `growth_exponent`: p of the fit length ∝ t^p without the first eighth of the frames. Frame 0 must be t = 0.
    - `magnetisation`: mean of u, last frame.
    - `energy`: mean of D |∇u|² / 2 + (1 - u²)² / 4 per cell, last frame, with the gradient of forward differences.
    """

    name = "allen_cahn"
    constraint = "none"
    known: ClassVar[Mapping[str, Parameter]] = {
        "diffusion": Parameter(1.0, 0.25, 4.0, "D, cells² per unit of time"),
        "dt": Parameter(0.2, 0.01, 0.2, "time per step"),
    }
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {"domains": {}}

    @property
    def starts(self) -> Mapping[str, Start]:
        """Return weak noise, smooth noise and discs."""
        return {
            "noise": lambda random, h, w: _real(0.1 * random.standard_normal((h, w))),
            "smooth": lambda random, h, w: _real(np.tanh(3 * starts.smooth_noise(random, h, w, 4.0))),
            "disc": lambda random, h, w: _real(
                np.where(starts.disc(random, h, w, min(h, w) * random.uniform(0.2, 0.4)), 1.0, -1.0)
            ),
        }

    def longest_dt(self) -> float:
        """Return 2 / (16 D / 3 + 2), of the chequerboard on u = ±1."""
        return 2 / (STEEPEST * self.parameters["diffusion"] + 2)

    def advance(self, x: Tensor) -> Tensor:
        """Return u + dt [D ∇²u + u - u³], with imaginary part 0."""
        p = self.parameters
        u = x[:, :1]
        du = p["diffusion"] * laplacian(u, self.padding) + u - u**3
        return torch.cat([u + p["dt"] * du, torch.zeros_like(u)], dim=1)

    def observe(self, trajectory: Tensor, every: int = 1) -> dict[str, Tensor]:
        """Measure domains and energy; see the class."""
        u = trajectory[:, :, 0].double()
        walls = measures.wall_density(u, self.padding)
        last = u[-1]
        return {
            "length": measures.domain_length(walls[-1]),
            "growth_exponent": measures.decay_exponent(walls, floor=1 / last[0].numel()),
            "magnetisation": last.mean((-2, -1)),
            "energy": self.energy(last),
        }

    def energy(self, u: Tensor) -> Tensor:
        """Return the mean of D |∇u|² / 2 + (1 - u²)² / 4 over the cells: [..., H, W] -> [...]."""
        local = (1 - u.square()).square().mean((-2, -1)) / 4
        rows, columns = torch.roll(u, -1, -2) - u, torch.roll(u, -1, -1) - u
        if self.padding == "zero":
            rows, columns = rows[..., :-1, :], columns[..., :-1]
        bonds = (rows.square().sum((-2, -1)) + columns.square().sum((-2, -1))) / u.shape[-2:].numel()
        return local + bonds * (self.parameters["diffusion"] / 2)


def _real(u: Field) -> Field:
    return np.stack([u, np.zeros_like(u)])
