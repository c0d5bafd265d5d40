"""Barkley's model of an excitable medium.

    ∂u/∂t = u (1 - u) (u - (v + b) / a) / ε + ∇²u
    ∂v/∂t = u - v

One explicit Euler step of dt on cells of side h, with the 9-point Laplacian. ψ = u + iv. A front runs into the rest
state at c = (1 - 2 b / a) / sqrt(2 ε), the speed of the bistable front with frozen v = 0; behind it v rises until the
medium falls back. An open end of a front curls up to a spiral.

Barkley, Physica D 49, 61 (1991).
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


class Excitable(Teacher):
    """Activator u and inhibitor v, ψ = u + iv, d = 1, free cells.

    Observables:

    - `active`: share of cells with u > 1/2, mean over the last half of the frames.
    - `tip_density`: plaquettes around which (u, v) circles (1/2, a/2 - b), per plaquette, mean over the last half.
    - `period`: of the strongest oscillation of u in the last half, in units of time: rotation of the spirals.
    - `speed`: Σ |∂u/∂t| / Σ |∇u| over the last half, in lengths per time: speed of the fronts. Frames must be so close
      that a front moves less than its width.
    - `wavelength`: of the peak of the structure factor of v, in cells, last frame.
    """

    name = "excitable"
    constraint = "none"
    known: ClassVar[Mapping[str, Parameter]] = {
        "a": Parameter(0.75, 0.3, 1.5, "length of the excitation"),
        "b": Parameter(0.02, 0.001, 0.2, "threshold of the rest state, times a"),
        "epsilon": Parameter(0.05, 0.002, 0.1, "time of the activator over that of the inhibitor"),
        "h": Parameter(0.6, 0.05, 1.0, "side of a cell, in units of the equation"),
        "dt": Parameter(0.04, 0.0001, 0.05, "time per step"),
    }
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "spirals": {"b": 0.02, "epsilon": 0.05, "dt": 0.04},
        "broken_waves": {"b": 0.05, "epsilon": 0.03, "dt": 0.03},
    }

    @property
    def starts(self) -> Mapping[str, Start]:
        """Return broken fronts, whole fronts, sparks at random places and smooth noise."""
        return {"broken_front": self._broken_front, "front": self._front, "sparks": self._sparks, "noise": self._noise}

    def _fronts(self, random: np.random.Generator, height: int, width: int) -> tuple[Field, Field, Field]:
        """Return u and v of a pulse that runs along a random axis, and the position along the other axis in [0, 1)."""
        y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
        along, across = (y, x) if random.random() < 0.5 else (x, y)
        along, across = (along + random.random()) % 1, (across + random.random()) % 1
        along = 1 - along if random.random() < 0.5 else along
        u = ((along > 0.4) & (along < 0.5)).astype(float)
        v = np.where(along < 0.45, np.clip(0.5 * self.parameters["a"] * (1 - (0.45 - along) / 0.3), 0, None), 0.0)
        return u, v, across

    def _broken_front(self, random: np.random.Generator, height: int, width: int) -> Field:
        u, v, across = self._fronts(random, height, width)
        return np.stack([u, v]) * (across < random.uniform(0.3, 0.7))

    def _front(self, random: np.random.Generator, height: int, width: int) -> Field:
        return np.stack(self._fronts(random, height, width)[:2])

    def _sparks(self, random: np.random.Generator, height: int, width: int) -> Field:
        state = np.zeros((2, height, width))
        for _ in range(int(random.integers(2, 6))):
            state[0][starts.disc(random, height, width, random.uniform(3, 6))] = 1
            state[1][starts.disc(random, height, width, random.uniform(6, 15))] = self.parameters["a"] / 2
        return state

    def _noise(self, random: np.random.Generator, height: int, width: int) -> Field:
        u, v = (starts.smooth_noise(random, height, width, 6.0) > 0 for _ in range(2))
        return np.stack([u, v * self.parameters["a"] / 2])

    def longest_dt(self) -> float:
        """Return 2 / (16 / (3 h²) + 1 / ε), of the chequerboard on u = 1."""
        return 2 / (STEEPEST / self.parameters["h"] ** 2 + 1 / self.parameters["epsilon"])

    def advance(self, x: Tensor) -> Tensor:
        """Return (u + dt [u (1 - u) (u - (v + b) / a) / ε + ∇²u], v + dt [u - v])."""
        p = self.parameters
        u, v = x.chunk(2, dim=1)
        reaction = u * (1 - u) * (u - (v + p["b"]) / p["a"]) / p["epsilon"]
        du = reaction + laplacian(u, self.padding) / p["h"] ** 2
        return x + p["dt"] * torch.cat([du, u - v], dim=1)

    def observe(self, trajectory: Tensor, every: int = 1) -> dict[str, Tensor]:
        """Measure excitation, tips, period, speed and wavelength; see the class."""
        p = self.parameters
        u, v = trajectory[(len(trajectory) - 1) // 2 :].unbind(2)
        phase = torch.atan2(v - (p["a"] / 2 - p["b"]), u - 0.5)
        return {
            "active": (u > 0.5).double().mean((0, 2, 3)),
            "tip_density": measures.defect_density(phase, self.padding).mean(0),
            "period": measures.dominant_period(u, every * p["dt"]),
            "speed": p["h"] * measures.front_speed(u, every * p["dt"], self.padding),
            "wavelength": measures.peak_wavelength(v[-1]),
        }
