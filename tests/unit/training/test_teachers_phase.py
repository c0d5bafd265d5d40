"""Kuramoto–Sakaguchi and Ginzburg–Landau against what is known of them, and the measures on fields made by hand."""

from __future__ import annotations

from math import cos, pi, sin, sqrt, tau

import pytest
import torch

from leym.training.teachers import measures, starts
from leym.training.teachers.catalog import teacher


def plane_wave(rows: int, columns: int, amplitude: float, h: int = 16, w: int = 32) -> torch.Tensor:
    state = starts.complex_state(amplitude, starts.plane_phase(h, w, rows, columns))
    return torch.from_numpy(state[None]).float()


def vortex(h: int, w: int, cy: float, cx: float, sign: int) -> torch.Tensor:
    y, x = torch.arange(h)[:, None] - cy, torch.arange(w)[None] - cx
    return sign * torch.atan2(y.expand(h, w), x.expand(h, w))


def test_winding_finds_hand_made_vortices_with_their_signs() -> None:
    phase = vortex(20, 30, 5.5, 6.5, +1) + vortex(20, 30, 12.5, 21.5, -1)
    found = measures.winding(phase, "zero")
    assert found.shape == (19, 29)
    assert found[5, 6] == 1
    assert found[12, 21] == -1
    assert found.abs().sum() == 2
    assert measures.defect_density(phase, "zero") == pytest.approx(2 / (19 * 29))


def test_winding_numbers_of_a_torus_add_up_to_zero() -> None:
    phase = torch.rand(5, 17, 23, generator=torch.Generator().manual_seed(1)) * tau
    found = measures.winding(phase, "periodic")
    assert found.abs().sum() > 100
    assert found.sum((-2, -1)).tolist() == [0] * 5


@pytest.mark.parametrize("padding", ["periodic", "zero"])
def test_wavelengths_of_a_plane_wave(padding: str) -> None:
    x = plane_wave(0, 4, 1.0)
    assert float(measures.phase_wavelength(torch.atan2(x[0, 1], x[0, 0]), padding)) == pytest.approx(8)
    assert float(measures.structure_wavelength(x[0, 0])) == pytest.approx(8)
    assert float(measures.peak_wavelength(x[0, 0])) == pytest.approx(8)


def test_a_uniform_field_has_no_wavelength() -> None:
    assert measures.structure_wavelength(torch.ones(8, 8)).isnan()
    assert measures.peak_wavelength(torch.ones(8, 8)).isnan()


def test_decay_exponent_of_a_power_law() -> None:
    density = 0.3 * torch.arange(50, dtype=torch.float64)[:, None] ** torch.tensor([-0.7, -1.1])
    density[0] = 0.3
    assert measures.decay_exponent(density, floor=0).tolist() == pytest.approx([0.7, 1.1])


def test_order_of_uniform_and_random_phases() -> None:
    assert measures.local_order(plane_wave(0, 0, 0.3), "zero")[0] == pytest.approx(1)
    noise = teacher("kuramoto").start(1, (128, 128), seed=1, kind="noise")
    # |mean of 9 unit vectors| is nearly Rayleigh with mean sqrt(pi / 9) / 2
    assert measures.local_order(noise, "periodic")[0] == pytest.approx(sqrt(pi / 9) / 2, rel=0.03)


def test_uniform_oscillators_turn_at_the_frequency_of_the_lag() -> None:
    model = teacher("kuramoto", omega=0.3, coupling=0.1, alpha=0.5, dt=0.5)
    run = model.run(plane_wave(0, 0, 1.0), 8)
    expected = 0.3 - 8 * 0.1 * sin(0.5)  # dθ/dt
    assert model.observe(run)["frequency"][0] == pytest.approx(-expected, rel=1e-5)


def test_plane_waves_of_oscillators_turn_at_their_dispersion() -> None:
    model = teacher("kuramoto", omega=0.0, coupling=0.1, alpha=0.4)
    run = model.run(plane_wave(1, 2, 1.0), 6)
    ky, kx = tau / 16, tau * 2 / 32
    neighbours = 2 * cos(ky) + 2 * cos(kx) + 4 * cos(ky) * cos(kx)  # Σ_j cos(k·r_j)
    assert model.observe(run)["frequency"][0] == pytest.approx(0.1 * neighbours * sin(0.4), rel=1e-4)


def test_oscillators_stay_unit_vectors_and_lose_defects_without_lag() -> None:
    model = teacher("kuramoto", preset="coarsening")
    run = model.run(model.start(2, (32, 32), seed=5, kind="noise"), 100)
    assert (run.square().sum(2) - 1).abs().max() < 1e-5
    found = model.observe(run)
    assert (found["defect_density"] < 0.02).all()  # of random phases: 1/3
    assert (found["defect_decay"] > 0.3).all()
    assert measures.winding(torch.atan2(run[-1, :, 1], run[-1, :, 0]), "periodic").sum() == 0


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (0, 2), (1, 0), (1, 1)])
def test_plane_waves_of_ginzburg_landau(rows: int, columns: int) -> None:
    b, c, dt = 0.6, -0.4, 0.002
    model = teacher("ginzburg_landau", b=b, c=c, dt=dt)
    # The Laplacian's eigenvalue, which is -k² up to fourth order.
    ky, kx = tau * rows / 16, tau * columns / 32
    square = -(8 * (cos(ky) + cos(kx)) + 4 * cos(ky) * cos(kx) - 20) / 6
    assert square == pytest.approx(ky**2 + kx**2, rel=0.03)
    found = model.observe(model.run(plane_wave(rows, columns, sqrt(1 - square)), 20))
    assert found["intensity"][0] == pytest.approx(1 - square, abs=1e-4)
    assert found["frequency"][0] == pytest.approx(c + (b - c) * square, abs=2e-3)
    assert found["defect_density"][0] == 0


def test_small_amplitudes_grow_at_the_linear_rate() -> None:
    model = teacher("ginzburg_landau", b=1.0, dt=0.01)
    x = plane_wave(0, 2, 1e-4)
    after = model.run(x, 50)[-1]
    square = 2 - 2 * cos(tau * 2 / 32)
    factor = abs(1 + 0.01 * (1 - (1 + 1j) * square)) ** 50
    assert after.norm() / x.norm() == pytest.approx(factor, rel=1e-4)


def test_turbulence_keeps_making_defects_and_spirals_freeze_them() -> None:
    found = {}
    for preset in ("spirals", "turbulence"):
        model = teacher("ginzburg_landau", preset=preset)
        x = model.run(model.start(2, (48, 48), seed=3, kind="noise"), 600, every=600)[-1]
        found[preset] = model.observe(model.run(x, 300, every=10), every=10)
        assert (found[preset]["defect_density"] > 0).all()
    assert found["turbulence"]["defect_spread"].min() > 2 * found["spirals"]["defect_spread"].max()
