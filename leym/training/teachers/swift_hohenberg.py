"""Swift–Hohenberg equation: stripes and labyrinths of one wavelength.

    ∂u/∂t = r u - (1 + ∇²)² u + g u² - u³

One explicit Euler step of dt on cells of side h, with the 9-point Laplacian twice, so a step reaches 2 cells. ψ = u,
Im ψ = 0. A wave of wavenumber k grows from u = 0 at the rate r - (1 - k²)²; the fastest has k = 1, 2π / h cells. With
g = 0 the pattern is a labyrinth, with g ≈ 1 a lattice of spots.

Swift & Hohenberg, Physical Review A 15, 319 (1977).
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


class SwiftHohenberg(Teacher):
    """Real amplitude of convection, ψ = u, d = 1, free cells, reach 2.

    Observables, of the last frame:

    - `wavelength`: of the peak of the structure factor of u, in cells; close to 2π / h.
    - `amplitude`: root mean square of u; sqrt(2 r / 3) for perfect stripes of small r at g = 0.
    - `skewness`: mean of u³ over the amplitude³: 0 for stripes, positive for spots.
    - `activity`: root mean square of ∂u/∂t, by the last two frames.
    """

    name = "swift_hohenberg"
    constraint = "none"
    reach = 2
    known: ClassVar[Mapping[str, Parameter]] = {
        "r": Parameter(0.4, 0.01, 1.0, "distance from the onset of convection"),
        "g": Parameter(0.0, -2.0, 2.0, "quadratic term, prefers spots"),
        "h": Parameter(0.8, 0.75, 1.2, "side of a cell, in units of the equation"),
        "dt": Parameter(0.03, 0.001, 0.03, "time per step"),
    }
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "labyrinth": {"r": 0.4, "g": 0.0},
        "spots": {"r": 0.1, "g": 1.2},
    }

    @property
    def starts(self) -> Mapping[str, Start]:
        """Return weak noise and smooth noise."""
        return {
            "noise": lambda random, h, w: _real(0.3 * random.standard_normal((h, w))),
            "smooth": lambda random, h, w: _real(0.5 * starts.smooth_noise(random, h, w, 4.0)),
        }

    def longest_dt(self) -> float:
        """Return 2 / (16 / (3 h²) - 1)², of the chequerboard."""
        return 2 / (STEEPEST / self.parameters["h"] ** 2 - 1) ** 2

    def advance(self, x: Tensor) -> Tensor:
        """Return u + dt [r u - (1 + ∇²)² u + g u² - u³], with imaginary part 0."""
        p = self.parameters
        u = x[:, :1]
        once = u + laplacian(u, self.padding) / p["h"] ** 2
        twice = once + laplacian(once, self.padding) / p["h"] ** 2
        du = p["r"] * u - twice + p["g"] * u.square() - u**3
        return torch.cat([u + p["dt"] * du, torch.zeros_like(u)], dim=1)

    def observe(self, trajectory: Tensor, every: int = 1) -> dict[str, Tensor]:
        """Measure wavelength, amplitude, skewness and activity; see the class."""
        before, last = trajectory[-2:, :, 0].double()
        amplitude = last.square().mean((-2, -1)).sqrt()
        rate = (last - before) / (every * self.parameters["dt"])
        return {
            "wavelength": measures.peak_wavelength(last),
            "amplitude": amplitude,
            "skewness": (last**3).mean((-2, -1)) / amplitude**3,
            "activity": rate.square().mean((-2, -1)).sqrt(),
        }


def _real(u: Field) -> Field:
    return np.stack([u, np.zeros_like(u)])
