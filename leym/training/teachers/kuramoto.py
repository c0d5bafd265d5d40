"""Kuramoto–Sakaguchi oscillators on a lattice.

    dθ_i/dt = ω + K Σ_j sin(θ_j - θ_i - α)            j: the 8 neighbours of cell i

With ψ = e^(iθ) and H_i = Σ_j ψ_j the sum is Im(ψ*_i H_i e^(-iα)). One step turns each cell by dt times its rate, then
divides it by its norm, as the step of a law does. For α ≠ 0 phases that differ emit waves, and defects become spirals.

Sakaguchi, Shinomoto & Kuramoto, Progress of Theoretical Physics 79, 1069 (1988).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from leym.physics.elementwise import per_number
from leym.training.teachers import measures, starts
from leym.training.teachers.base import Parameter, Start, Teacher, unit
from leym.training.teachers.lattice import neighbours


class Kuramoto(Teacher):
    """Phase oscillators, ψ = e^(iθ), d = 1, unit cells.

    The uniform state turns at dθ/dt = ω - 8 K sin α on a torus. Observables (frames are those of the trajectory):

    - `defect_density`: plaquettes with winding number ±1, per plaquette, last frame.
    - `defect_decay`: p of the fit defect density ∝ time^(-p) without the first eighth of the frames.
    - `local_order`: mean over cells of |mean of ψ over 3 × 3 cells|, last frame.
    - `wavelength`: 2π / median |∇θ| away from defects, in cells, last frame.
    - `frequency`: mean -dθ/dt of the last half of the frames; frames must be closer than half a period.
    """

    name = "kuramoto"
    constraint = "unit"
    known: ClassVar[Mapping[str, Parameter]] = {
        "omega": Parameter(0.4, -2.0, 2.0, "natural frequency, radians per unit of time"),
        "coupling": Parameter(0.15, 0.0, 1.0, "K, radians per unit of time and neighbour"),
        "alpha": Parameter(0.45, -1.5, 1.5, "phase lag, radians"),
        "dt": Parameter(1.0, 0.01, 1.0, "time per step"),
    }
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "spirals": {"omega": 0.4, "alpha": 0.45},
        "turbulence": {"omega": 0.8, "alpha": 0.9},
        "coarsening": {"omega": 0.0, "alpha": 0.0},
    }

    @property
    def starts(self) -> Mapping[str, Start]:
        """Return noise, smooth noise, plane waves and vortices."""
        return {
            "noise": lambda random, h, w: starts.complex_state(1.0, starts.random_phases(random, h, w)),
            "smooth": lambda random, h, w: starts.complex_state(1.0, 3 * starts.smooth_noise(random, h, w, 4.0)),
            "wave": lambda random, h, w: starts.complex_state(1.0, starts.random_plane_phase(random, h, w, 16.0)),
            "vortices": lambda random, h, w: starts.complex_state(1.0, starts.vortex_phase(random, h, w)),
        }

    def longest_dt(self) -> float:
        """Return 2 / (12 K cos α): a wave of period 2 along one axis decays from the uniform state at 12 K cos α."""
        pull = 12 * self.parameters["coupling"] * np.cos(self.parameters["alpha"])
        return float(2 / pull) if pull else inf

    def advance(self, x: Tensor) -> Tensor:
        """Turn every phase by dt [ω + K Im(ψ* H e^(-iα))]."""
        p = self.parameters
        re, im = x.chunk(2, dim=1)
        near_re, near_im = neighbours(x, self.padding, corner=1.0).chunk(2, dim=1)
        along, across = re * near_re + im * near_im, re * near_im - im * near_re  # ψ* H
        pull = across * np.cos(p["alpha"]) - along * np.sin(p["alpha"])
        turn = p["dt"] * (p["omega"] + p["coupling"] * pull)
        cos, sin = per_number(torch.cos, turn), per_number(torch.sin, turn)
        return unit(torch.cat([re * cos - im * sin, re * sin + im * cos], dim=1))

    def observe(self, trajectory: Tensor, every: int = 1) -> dict[str, Tensor]:
        """Measure defects, order, wavelength and frequency; see the class."""
        phase = torch.atan2(trajectory[:, :, 1], trajectory[:, :, 0])
        defects = measures.defect_density(phase, self.padding)
        half = phase[(len(phase) - 1) // 2 :]
        return {
            "defect_density": defects[-1],
            "defect_decay": measures.decay_exponent(defects, floor=1 / phase[0, 0].numel()),
            "local_order": measures.local_order(trajectory[-1], self.padding),
            "wavelength": measures.phase_wavelength(phase[-1], self.padding),
            "frequency": measures.frequency(half, every * self.parameters["dt"]),
        }
