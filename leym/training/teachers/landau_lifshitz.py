"""Landau–Lifshitz dynamics of classical spins, carried by spinors.

    ds/dt = h × s + λ s × (h × s)             s = ψ†σψ, a unit vector of R³ for a unit ψ of C²
    h_i   = J Σ_j s_j + D Σ_j r_ij × s_j + (A s_z + B) ẑ        j: the 4 neighbours, at r_ij from cell i

J couples neighbours (exchange), D twists them (Dzyaloshinskii–Moriya), A > 0 prefers ±z, B is a field along z. In
spinors this is dψ/dt = ½ (λ - i) (h·σ) ψ up to a real factor, which the division by the norm takes away:

    φ = ψ + ½ dt (λ - i) (h·σ) ψ,    ψ' = φ / |φ|

which is one explicit Euler step and the constraint of a unit law. With λ = 0 it turns every spin about its own field
by exactly 2 atan(|h| dt / 2). Small waves around +z run at ω(k) = J (4 - 2 cos k_x - 2 cos k_y) + A + B for D = 0.
The explicit step drives the shortest waves, so λ must not be much smaller than |h| dt / 4.

Lakshmanan, Philosophical Transactions of the Royal Society A 369, 1280 (2011); spirals and skyrmions:
Bogdanov & Hubert, Journal of Magnetism and Magnetic Materials 138, 255 (1994).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import pi
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from leym.training.teachers import measures, starts
from leym.training.teachers.base import Parameter, Start, Teacher, unit
from leym.training.teachers.lattice import difference, neighbours
from leym.training.teachers.starts import Field


class LandauLifshitz(Teacher):
    """Spins s = ψ†σψ of spinors ψ = (ψ_0, ψ_1), d = 2, unit cells. The phase that ψ_0 and ψ_1 share has no meaning.

    Observables:

    - `energy`: per cell, last frame; see `energy`.
    - `magnetisation`: mean of s_z, last frame.
    - `frequency`: arg Σ m*(t) m(t + Δt) / Δt of m = s_x + i s_y over the last half of the frames: ω of a wave.
      Frames must be closer than half a period.
    - `wavelength`: of the peak of the structure factor of s_z, in cells, last frame.
    - `charge`: skyrmion number Σ s·(∂_x s × ∂_y s) / 4π of the grid, last frame: the Berry phase of the spinors around
      every plaquette (Fukui, Hatsugai & Suzuki 2005), a whole number on a torus.
    - `length`: 1 / share of edge neighbours whose s_z differ in sign, in cells, last frame; NaN without any.
    - `growth_exponent`: p of the fit length ∝ t^p without the first eighth of the frames. Frame 0 must be t = 0.
    """

    name = "landau_lifshitz"
    d_state = 2
    constraint = "unit"
    known: ClassVar[Mapping[str, Parameter]] = {
        "exchange": Parameter(1.0, 0.0, 2.0, "J, energy per pair of edge neighbours"),
        "twist": Parameter(0.7, -1.5, 1.5, "D, energy per pair of edge neighbours"),
        "anisotropy": Parameter(0.0, -2.0, 2.0, "A, energy per cell; negative prefers the plane"),
        "field": Parameter(0.2, -2.0, 2.0, "B along z, energy per cell"),
        "damping": Parameter(0.3, 0.0, 2.0, "λ, without dimension"),
        "dt": Parameter(0.1, 0.001, 0.15, "time per step, over ħ per energy"),
    }
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "skyrmions": {"twist": 0.7, "field": 0.2, "damping": 0.3},
        "helices": {"twist": 0.7, "field": 0.0, "damping": 0.3},
        "domains": {"twist": 0.0, "field": 0.0, "anisotropy": 0.5, "damping": 0.5},
        "magnons": {"twist": 0.0, "field": 0.3, "anisotropy": 0.0, "damping": 0.1, "dt": 0.05},
    }

    @property
    def starts(self) -> Mapping[str, Start]:
        """Return random spins, smooth random spins, and a weak wave around +z."""
        return {
            "noise": lambda random, h, w: _unit(random.standard_normal((4, h, w))),
            "smooth": lambda random, h, w: _unit(np.stack([starts.smooth_noise(random, h, w, 3.0) for _ in range(4)])),
            "wave": self._wave,
        }

    def _wave(self, random: np.random.Generator, height: int, width: int) -> Field:
        wave = starts.complex_state(random.uniform(0.05, 0.3), starts.random_plane_phase(random, height, width, 8.0))
        return _unit(np.stack([np.ones((height, width)), wave[0], np.zeros((height, width)), wave[1]]))

    def advance(self, x: Tensor) -> Tensor:
        """Return ψ + ½ dt (λ - i) (h·σ) ψ, normalised."""
        p = self.parameters
        hx, hy, hz = self.effective_field(spins(x)).unbind(1)
        a, b, c, d = x.unbind(1)  # Re ψ_0, Re ψ_1, Im ψ_0, Im ψ_1
        # (h·σ) ψ in real numbers: those of complex products depend on a cell's place in memory in their last bits.
        re = torch.stack([hz * a + hx * b + hy * d, hx * a - hy * c - hz * b], dim=1)
        im = torch.stack([hz * c + hx * d - hy * b, hx * c + hy * a - hz * d], dim=1)
        rate = torch.cat([p["damping"] * re + im, p["damping"] * im - re], dim=1)  # (λ - i) (h·σ) ψ
        return unit(x + 0.5 * p["dt"] * rate)

    def effective_field(self, s: Tensor) -> Tensor:
        """Return h of spins [..., 3, H, W]."""
        p = self.parameters
        slope_y, slope_x = (difference(s, axis, self.padding).unbind(-3) for axis in (-2, -1))
        # Σ_j r_ij × s_j: x̂ × s = (0, -s_z, s_y) and ŷ × s = (s_z, 0, -s_x)
        twist = torch.stack([slope_y[2], -slope_x[2], slope_x[1] - slope_y[0]], dim=-3)
        h = p["exchange"] * neighbours(s, self.padding) + p["twist"] * twist
        h[..., 2, :, :] += p["anisotropy"] * s[..., 2, :, :] + p["field"]
        return h

    def energy(self, x: Tensor) -> Tensor:
        """Return -Σ s·(h_pairs / 2 + A s_z ẑ / 2 + B ẑ) per cell, each pair once: [..., 4, H, W] -> float64 [...]."""
        s = spins(x.double())
        h = self.effective_field(s)
        h[..., 2, :, :] += self.parameters["field"]  # the field acts on each cell, not on pairs, and counts whole
        return -(s * h).sum(-3).mean((-2, -1)) / 2

    def observe(self, trajectory: Tensor, every: int = 1) -> dict[str, Tensor]:
        """Measure energy, waves, skyrmions and domains; see the class."""
        s = spins(trajectory.double())
        last = s[-1, :, 2]
        walls = measures.wall_density(s[:, :, 2], self.padding)
        m = torch.complex(s[:, :, 0], s[:, :, 1])[(len(s) - 1) // 2 :]
        turn = (m[:-1].conj() * m[1:]).sum((0, 2, 3)).angle()
        return {
            "energy": self.energy(trajectory[-1]),
            "magnetisation": last.mean((-2, -1)),
            "frequency": turn / (every * self.parameters["dt"]),
            "wavelength": measures.peak_wavelength(last),
            "charge": charge(trajectory[-1], closed=self.padding == "periodic"),
            "length": measures.domain_length(walls[-1]),
            "growth_exponent": measures.decay_exponent(walls, floor=1 / last[0].numel()),
        }


def spins(x: Tensor) -> Tensor:
    """Return s = ψ†σψ of spinors: [..., 4, H, W] -> [..., 3, H, W]."""
    a, b, c, d = x.unbind(-3)  # Re ψ_0, Re ψ_1, Im ψ_0, Im ψ_1
    return torch.stack([2 * (a * b + c * d), 2 * (a * d - c * b), a * a + c * c - b * b - d * d], dim=-3)


def charge(x: Tensor, closed: bool) -> Tensor:
    """Return the skyrmion number of spinors: [..., 4, H, W] -> float64 [...]; closed: of a torus."""
    psi = torch.complex(*x.double().chunk(2, dim=-3))
    links = [(psi.conj() * torch.roll(psi, -1, axis)).sum(-3) for axis in (-1, -2)]
    around = links[0] * torch.roll(links[1], -1, -1) * torch.roll(links[0], -1, -2).conj() * links[1].conj()
    # The Berry phase of a spin ½ is half the solid angle, and a skyrmion covers 4π.
    flux = around.angle() / (2 * pi)
    return (flux if closed else flux[..., :-1, :-1]).sum((-2, -1))


def _unit(x: Field) -> Field:
    found: Field = x / np.sqrt((x**2).sum(axis=0, keepdims=True))
    return found
