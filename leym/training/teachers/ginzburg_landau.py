"""Complex Ginzburg–Landau equation.

    ∂A/∂t = A + (1 + i b) ∇²A - (1 + i c) |A|² A

One explicit Euler step of dt on cells of side h, with the 9-point Laplacian. A plane wave A = R e^(i(k·r - ωt)) has
R² = 1 - k² and ω = b k² + c R² = c + (b - c) k². Where 1 + b c < 0 no plane wave is stable (Benjamin & Feir) and
defects are born and die for ever.

Aranson & Kramer, Reviews of Modern Physics 74, 99 (2002); there the signs are the same.
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


class GinzburgLandau(Teacher):
    """Complex amplitude ψ = A, d = 1, free cells.

    Observables (the first three over the last half of the frames):

    - `defect_density`: plaquettes whose phase winds by ±2π, per plaquette, mean.
    - `defect_spread`: standard deviation of the defect density over frames, 0 for frozen spirals.
    - `intensity`: mean |A|²; R² = 1 - k² for waves.
    - `frequency`: mean -d(arg A)/dt; frames must be closer than half a period. Equals c + (b - c) k² for waves.
    - `wavelength`: 2π / median |∇ arg A| away from defects, in cells, last frame.
    - `defect_decay`: p of the fit defect density ∝ time^(-p) without the first eighth of the frames.
    """

    name = "ginzburg_landau"
    constraint = "none"
    known: ClassVar[Mapping[str, Parameter]] = {
        "b": Parameter(0.0, -3.0, 3.0, "linear dispersion"),
        "c": Parameter(1.0, -3.0, 3.0, "nonlinear dispersion"),
        "h": Parameter(1.0, 0.5, 2.0, "side of a cell, in units of the equation"),
        "dt": Parameter(0.15, 0.001, 0.2, "time per step"),
    }
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "spirals": {"b": 0.0, "c": 1.0, "dt": 0.15},
        "turbulence": {"b": 2.0, "c": -1.2, "dt": 0.05},
    }

    @property
    def starts(self) -> Mapping[str, Start]:
        """Return weak noise, smooth noise, plane waves and vortices."""
        return {
            "noise": lambda random, h, w: 0.1 * random.standard_normal((2, h, w)),
            "smooth": lambda random, h, w: np.stack([starts.smooth_noise(random, h, w, 3.0) for _ in range(2)]) / 2,
            "wave": self._wave,
            "vortices": lambda random, h, w: starts.complex_state(0.9, starts.vortex_phase(random, h, w)),
        }

    def _wave(self, random: np.random.Generator, height: int, width: int) -> Field:
        phase = starts.random_plane_phase(random, height, width, shortest=16.0)
        return starts.complex_state(0.95, phase) + 0.02 * random.standard_normal((2, height, width))

    def longest_dt(self) -> float:
        """Return the dt at which the chequerboard of growth rate λ = 1 - (1 + i b) 16 / (3 h²) has |1 + dt λ| = 1."""
        square = STEEPEST / self.parameters["h"] ** 2
        rate = complex(1 - square, -self.parameters["b"] * square)
        return 2 * -rate.real / abs(rate) ** 2

    def advance(self, x: Tensor) -> Tensor:
        """Return A + dt [A + (1 + i b) ∇²A - (1 + i c) |A|² A]."""
        p = self.parameters
        re, im = x.chunk(2, dim=1)
        spread_re, spread_im = (laplacian(x, self.padding) / p["h"] ** 2).chunk(2, dim=1)
        power = re.square() + im.square()
        d_re = re + spread_re - p["b"] * spread_im - power * (re - p["c"] * im)
        d_im = im + spread_im + p["b"] * spread_re - power * (im + p["c"] * re)
        return x + p["dt"] * torch.cat([d_re, d_im], dim=1)

    def observe(self, trajectory: Tensor, every: int = 1) -> dict[str, Tensor]:
        """Measure defects, intensity, frequency and wavelength; see the class."""
        phase = torch.atan2(trajectory[:, :, 1], trajectory[:, :, 0])
        defects = measures.defect_density(phase, self.padding)
        half = slice((len(phase) - 1) // 2, None)
        return {
            "defect_density": defects[half].mean(0),
            "defect_spread": defects[half].std(0, correction=0),
            "intensity": trajectory[half].double().square().sum(2).mean((0, 2, 3)),
            "frequency": measures.frequency(phase[half], every * self.parameters["dt"]),
            "wavelength": measures.phase_wavelength(phase[-1], self.padding),
            "defect_decay": measures.decay_exponent(defects, floor=1 / phase[0, 0].numel()),
        }
