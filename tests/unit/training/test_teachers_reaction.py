"""Barkley, Gray–Scott, Allen–Cahn and Swift–Hohenberg against what is known of them."""

from __future__ import annotations

from math import cos, sqrt, tau

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from leym.training.teachers.catalog import teacher


def eigenvalue(k: float) -> float:
    """Return that of the Laplacian for a wave along an axis."""
    return 2 * cos(k) - 2


def real(u: torch.Tensor) -> torch.Tensor:
    return torch.stack([u, torch.zeros_like(u)]).float()[None]


def test_fronts_run_into_the_rest_state_at_the_speed_of_the_bistable_front() -> None:
    a, b, epsilon = 0.75, 0.02, 0.002  # ε small, so that v stays 0 within a front
    model = teacher("excitable", padding="zero", a=a, b=b, epsilon=epsilon, h=0.05, dt=0.0002)
    x = torch.zeros(1, 2, 4, 120)
    x[:, 0, :, :20] = 1
    run = model.run(model.run(x, 400, every=400)[-1], 400, every=20)
    place = (run[:, 0, 0, 1] > 0.5).sum(-1).float() * 0.05
    expected = (1 - 2 * b / a) / sqrt(2 * epsilon)
    by_place = float(place[-1] - place[0]) / (400 * 0.0002)
    assert by_place == pytest.approx(expected, rel=0.08)
    assert model.observe(run, every=20)["speed"][0] == pytest.approx(expected, rel=0.1)


def test_a_broken_front_becomes_spirals_that_turn_for_ever() -> None:
    model = teacher("excitable")
    x = model.run(model.start(2, (80, 80), seed=1, kind="broken_front"), 600, every=600)[-1]
    found = model.observe(model.run(x, 1200, every=4), every=4)
    assert (found["active"] > 0.01).all()
    assert (found["tip_density"] > 0).all()
    assert ((found["period"] > 2) & (found["period"] < 12)).all()
    assert ((found["speed"] > 1.0) & (found["speed"] < 3.2)).all()


def test_the_rest_state_of_the_excitable_medium_ignores_a_small_push() -> None:
    model = teacher("excitable")
    x = torch.zeros(1, 2, 8, 8)
    x[:, 0, 4, 4] = 0.02
    assert model.run(x, 200)[-1].abs().max() < 1e-4


def test_uniform_states_of_gray_scott_are_fixed() -> None:
    feed, kill = 0.04, 0.055
    u = (1 - sqrt(1 - 4 * (feed + kill) ** 2 / feed)) / 2
    model = teacher("gray_scott", feed=feed, kill=kill)
    for state in ((1.0, 0.0), (u, (feed + kill) / u)):
        x = torch.tensor(state).view(1, 2, 1, 1).expand(1, 2, 8, 8)
        assert (model.advance(x) - x).abs().max() < 1e-6


@pytest.mark.parametrize("waves", [0, 2, 4])
def test_small_waves_of_gray_scott_grow_as_the_jacobian_says(waves: int) -> None:
    feed, kill, width = 0.04, 0.055, 32
    model = teacher("gray_scott", feed=feed, kill=kill, dt=0.5)
    u = (1 - sqrt(1 - 4 * (feed + kill) ** 2 / feed)) / 2
    v = (feed + kill) / u
    k2 = eigenvalue(tau * waves / width)
    jacobian = np.array([[0.16 * k2 - v * v - feed, -2 * u * v], [v * v, 0.08 * k2 + 2 * u * v - feed - kill]])
    shape = torch.cos(tau * waves * torch.arange(width) / width).expand(8, width)
    uniform = torch.tensor([u, v]).view(1, 2, 1, 1)
    push = np.array([1e-3, -5e-4])
    after = model.run(uniform + torch.tensor(push, dtype=torch.float32).view(1, 2, 1, 1) * shape, 20)[-1]
    grown = ((after - uniform) * shape).mean((0, 2, 3)) / shape.square().mean()
    expected = np.linalg.matrix_power(np.eye(2) + 0.5 * jacobian, 20) @ push
    assert grown.numpy() == pytest.approx(expected, abs=0.02 * np.abs(expected).max())


def test_a_labyrinth_has_a_wavelength() -> None:
    model = teacher("gray_scott", preset="labyrinth")
    run = model.run(model.start(2, (48, 48), seed=2, kind="noise"), 1500, every=100)
    found = model.observe(run, every=100)
    assert ((found["wavelength"] > 6) & (found["wavelength"] < 20)).all()
    assert ((found["cover"] > 0.3) & (found["cover"] < 0.8)).all()


def test_a_spot_of_gray_scott_divides() -> None:
    model = teacher("gray_scott", preset="spots")
    x = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).repeat(1, 1, 64, 64)
    x[:, :, 30:35, 30:34] = torch.tensor([0.5, 0.25]).view(1, 2, 1, 1)
    v = model.run(x, 2000, every=500)[:, 0, 1]
    spots = [label(np.asarray(frame > 0.15))[1] for frame in v]
    assert spots[0] == 1
    assert spots[-1] >= 4


def test_a_flat_wall_is_a_tanh() -> None:
    model = teacher("allen_cahn", padding="zero", diffusion=4.0, dt=0.05)
    x = torch.arange(40) - 19.5
    run = model.run(real(torch.sign(x).expand(4, 40)), 400, every=400)[-1]
    assert (run[0, 0, 0] - torch.tanh(x / sqrt(8))).abs().max() < 0.03
    assert run[:, 1].abs().max() == 0


def test_a_disc_shrinks_by_its_curvature() -> None:
    model = teacher("allen_cahn", diffusion=1.0)
    y, x = torch.meshgrid(*[torch.arange(64) - 31.5] * 2, indexing="ij")
    run = model.run(real(torch.tanh((20 - torch.hypot(y, x)) / sqrt(2))), 500, every=100)
    square = (run[:, 0, 0] > 0).sum((-2, -1)) / np.pi
    # R² = R₀² - 2 D t, t = 20 between frames
    assert (square[1:] - square[:-1]).tolist() == pytest.approx([-40] * 5, rel=0.15)


def test_domains_grow_with_the_square_root_of_time() -> None:
    model = teacher("allen_cahn")
    found = model.observe(model.run(model.start(4, (128, 128), seed=8, kind="noise"), 400, every=10), every=10)
    assert float(found["growth_exponent"].mean()) == pytest.approx(0.5, abs=0.1)


def test_energy_of_domains_falls() -> None:
    for padding in ("periodic", "zero"):
        model = teacher("allen_cahn", padding=padding)
        run = model.run(model.start(3, (32, 32), seed=8, kind="noise"), 100, every=5)
        energy = torch.stack([model.energy(u) for u in run[:, :, 0].double()])
        assert (energy[1:] < energy[:-1]).all()
        assert energy[0] == pytest.approx(0.25, abs=0.05)  # (1 - 0²)² / 4 and a little noise


@pytest.mark.parametrize("waves", [2, 4, 6])
def test_small_waves_of_swift_hohenberg_grow_at_their_rate(waves: int) -> None:
    model = teacher("swift_hohenberg", r=0.3, h=0.8, dt=0.02)
    k2 = eigenvalue(tau * waves / 32) / 0.8**2
    x = real(1e-4 * torch.cos(tau * waves * torch.arange(32) / 32).expand(8, 32))
    after = model.run(x, 50)[-1]
    assert after.norm() / x.norm() == pytest.approx((1 + 0.02 * (0.3 - (1 + k2) ** 2)) ** 50, rel=1e-3)


def test_stripes_have_the_wavelength_and_amplitude_of_theory() -> None:
    model = teacher("swift_hohenberg", r=0.1, h=tau / 8)
    shape = torch.cos(tau * torch.arange(64) / 8).expand(16, 64)
    found = model.observe(model.run(real(0.3 * shape), 1500, every=750), every=750)
    assert found["wavelength"][0] == pytest.approx(8)
    assert found["amplitude"][0] == pytest.approx(sqrt(2 * 0.1 / 3), rel=0.1)
    assert abs(float(found["skewness"][0])) < 0.01


def test_labyrinths_have_the_wavelength_of_the_fastest_wave_and_spots_are_skewed() -> None:
    for preset, skewed in (("labyrinth", False), ("spots", True)):
        model = teacher("swift_hohenberg", preset=preset)
        run = model.run(model.start(2, (64, 64), seed=5, kind="noise"), 900, every=450)
        found = model.observe(run, every=450)
        assert found["wavelength"].numpy() == pytest.approx(tau / 0.8, rel=0.15)
        assert ((found["skewness"] > 0.3) == skewed).all()
