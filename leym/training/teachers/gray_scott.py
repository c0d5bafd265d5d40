"""Gray–Scott reaction and diffusion.

    ∂u/∂t = D_u ∇²u - u v² + F (1 - u)
    ∂v/∂t = D_v ∇²v + u v² - (F + k) v

One explicit Euler step of dt on cells of side 1, with the 9-point Laplacian. ψ = u + iv. The state (1, 0) is always
stable; another uniform state has u = (1 - sqrt(1 - 4 (F + k)² / F)) / 2 and v = (F + k) / u where the root is real.

Pearson, Science 261, 189 (1993).
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


class GrayScott(Teacher):
    """Substrate u and catalyst v, ψ = u + iv, d = 1, free cells.

    Observables:

    - `wavelength`: of the peak of the structure factor of v, in cells, last frame.
    - `mean_v`: mean of v, last frame.
    - `cover`: share of cells with v > 0.15, last frame.
    - `activity`: root mean square of ∂v/∂t, by frames, over the last half.
    """

    name = "gray_scott"
    constraint = "none"
    known: ClassVar[Mapping[str, Parameter]] = {
        "feed": Parameter(0.037, 0.005, 0.1, "F"),
        "kill": Parameter(0.06, 0.03, 0.08, "k"),
        "diffusion_u": Parameter(0.16, 0.02, 0.25, "D_u, cells² per unit of time"),
        "diffusion_v": Parameter(0.08, 0.01, 0.25, "D_v, cells² per unit of time"),
        "dt": Parameter(1.0, 0.05, 1.25, "time per step"),
    }
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "labyrinth": {"feed": 0.037, "kill": 0.06},
        "spots": {"feed": 0.03, "kill": 0.062},
        "chaos": {"feed": 0.018, "kill": 0.051},
        "living_spots": {"feed": 0.014, "kill": 0.053},
    }

    @property
    def starts(self) -> Mapping[str, Start]:
        """Return a few seeds on bare ground, and many: the peaks of smooth noise."""
        return {"seeds": self._seeds, "noise": self._noise}

    def _seeds(self, random: np.random.Generator, height: int, width: int) -> Field:
        sown = np.zeros((height, width), bool)
        for _ in range(int(random.integers(3, 12))):
            sown |= starts.disc(random, height, width, random.uniform(2, 6))
        return _sow(random, sown)

    def _noise(self, random: np.random.Generator, height: int, width: int) -> Field:
        return _sow(random, starts.smooth_noise(random, height, width, 3.0) > random.uniform(1.0, 2.0))

    def longest_dt(self) -> float:
        """Return 2 / (16 D / 3), of the chequerboard and the larger D."""
        return 2 / (STEEPEST * max(self.parameters["diffusion_u"], self.parameters["diffusion_v"]))

    def advance(self, x: Tensor) -> Tensor:
        """Return (u, v) + dt [(D_u ∇²u, D_v ∇²v) + (-u v² + F (1 - u), u v² - (F + k) v)]."""
        p = self.parameters
        u, v = x.chunk(2, dim=1)
        spread_u, spread_v = laplacian(x, self.padding).chunk(2, dim=1)
        reaction = u * v.square()
        du = p["diffusion_u"] * spread_u - reaction + p["feed"] * (1 - u)
        dv = p["diffusion_v"] * spread_v + reaction - (p["feed"] + p["kill"]) * v
        return x + p["dt"] * torch.cat([du, dv], dim=1)

    def observe(self, trajectory: Tensor, every: int = 1) -> dict[str, Tensor]:
        """Measure wavelength, mean, cover and activity; see the class."""
        v = trajectory[(len(trajectory) - 1) // 2 :, :, 1].double()
        rate = (v[1:] - v[:-1]) / (every * self.parameters["dt"])
        return {
            "wavelength": measures.peak_wavelength(v[-1]),
            "mean_v": v[-1].mean((-2, -1)),
            "cover": (v[-1] > 0.15).double().mean((-2, -1)),
            "activity": rate.square().mean((0, 2, 3)).sqrt(),
        }


def _sow(random: np.random.Generator, sown: np.ndarray) -> Field:
    """Return u = 1/2, v = 1/4 where sown, else u = 1, v = 0, with noise of 2%."""
    noise = 0.02 * random.random((2, *sown.shape))
    return np.stack([np.where(sown, 0.5, 1.0) - noise[0], np.where(sown, 0.25, 0.0) + noise[1]])
