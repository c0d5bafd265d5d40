"""Landau–Lifshitz spins against what is known of them."""

from __future__ import annotations

from math import atan, cos, pi, tau

import pytest
import torch

from leym.training.teachers.catalog import teacher
from leym.training.teachers.landau_lifshitz import LandauLifshitz, charge, spins


def model_of(**parameters: float) -> LandauLifshitz:
    found = teacher("landau_lifshitz", **parameters)
    assert isinstance(found, LandauLifshitz)
    return found


def spinors(s: torch.Tensor) -> torch.Tensor:
    """Return a spinor of each spin [3, H, W]: ψ = (cos θ/2, e^(iφ) sin θ/2), [1, 4, H, W]."""
    half = torch.acos(s[2].clamp(-1, 1)) / 2
    angle = torch.atan2(s[1], s[0])
    parts = [
        torch.cos(half),
        torch.sin(half) * torch.cos(angle),
        torch.zeros_like(half),
        torch.sin(half) * torch.sin(angle),
    ]
    return torch.stack(parts).float()[None]


def test_spins_are_the_expectation_of_the_pauli_matrices() -> None:
    model = teacher("landau_lifshitz")
    x = model.start(1, (5, 6), seed=1, kind="noise").double()
    psi = torch.complex(*x.chunk(2, dim=1))[0]
    pauli = torch.tensor([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=torch.complex128)
    expected = torch.einsum("ahw,sab,bhw->shw", psi.conj(), pauli, psi)
    assert torch.allclose(spins(x)[0], expected.real)
    assert torch.allclose(spins(x).square().sum(1), torch.ones(5, 6, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("padding", ["periodic", "zero"])
def test_the_field_is_minus_the_gradient_of_the_energy(padding: str) -> None:
    model = LandauLifshitz(padding=padding, exchange=0.7, twist=0.4, anisotropy=0.3, field=-0.2)
    s = spins(model.start(1, (5, 6), seed=1, kind="noise").double())[0].requires_grad_()
    total = -(0.15 * s[2] ** 2 - 0.2 * s[2]).sum()
    for i in range(5):
        for j in range(6):
            for r, direction in (((0, 1), [1.0, 0, 0]), ((1, 0), [0, 1.0, 0])):
                if padding == "zero" and (i + r[0] == 5 or j + r[1] == 6):
                    continue
                a, b = s[:, i, j], s[:, (i + r[0]) % 5, (j + r[1]) % 6]
                along = torch.tensor(direction, dtype=torch.float64)
                total = total - 0.7 * a @ b + 0.4 * along @ torch.linalg.cross(a, b)
    total.backward()
    assert s.grad is not None
    assert torch.allclose(model.effective_field(s.detach()), -s.grad)
    found = model.energy(spinors(s.detach()))
    assert float(found[0]) == pytest.approx(float(total.detach()) / 30, abs=1e-6)


def test_one_step_is_the_landau_lifshitz_equation() -> None:
    model = model_of(damping=0.4, dt=0.001)
    x = model.start(1, (8, 8), seed=3, kind="noise")
    s = spins(x.double())
    h = model.effective_field(s)
    turn = torch.linalg.cross(h, s, dim=1)
    expected = turn + 0.4 * torch.linalg.cross(s, turn, dim=1)
    rate = (spins(model.advance(x.double())) - s) / 0.001
    assert (rate - expected).abs().max() < 0.01 * expected.abs().max()


def test_without_damping_a_spin_turns_about_the_field_by_the_known_angle() -> None:
    model = model_of(exchange=0.0, twist=0.0, field=1.5, damping=0.0, dt=0.1)
    run = model.run(model.start(3, (8, 8), seed=3, kind="noise"), 10)
    found = model.observe(run)
    assert found["frequency"].tolist() == pytest.approx([2 * atan(1.5 * 0.1 / 2) / 0.1] * 3, rel=1e-5)
    assert (spins(run)[:, :, 2] - spins(run)[0, :, 2]).abs().max() < 1e-5


@pytest.mark.parametrize(("rows", "columns"), [(0, 1), (0, 4), (2, 0), (2, 3)])
def test_magnons_run_at_their_dispersion(rows: int, columns: int) -> None:
    model = model_of(exchange=1.0, twist=0.0, anisotropy=0.2, field=0.3, damping=0.0, dt=0.01)
    y, x = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    phase = tau * (rows * y + columns * x) / 16
    m = 0.01
    s = torch.stack([m * torch.cos(phase), m * torch.sin(phase), torch.full(phase.shape, (1 - m * m) ** 0.5)])
    found = model.observe(model.run(spinors(s), 40))
    omega = 4 - 2 * cos(tau * rows / 16) - 2 * cos(tau * columns / 16) + 0.2 + 0.3
    assert found["frequency"][0] == pytest.approx(omega, rel=0.01)


def test_damping_lowers_the_energy_and_spins_keep_their_length() -> None:
    for preset in LandauLifshitz.presets:
        model = LandauLifshitz(preset=preset)
        run = model.run(model.start(2, (24, 24), seed=5, kind="noise"), 300, every=20)
        energy = model.energy(run)
        assert (energy[1:] < energy[:-1] + 1e-6).all(), preset
        assert (spins(run).square().sum(2) - 1).abs().max() < 1e-5


def test_helices_have_the_pitch_of_twist_over_exchange() -> None:
    model = model_of(twist=1.0, field=0.0, damping=1.0)  # atan(D / J) = 45°: 8 cells
    x = torch.arange(32).expand(8, 32)
    turned = [model.energy(spinors(torch.stack([torch.zeros(8, 32), -torch.sin(k * x), torch.cos(k * x)])))
              for k in (tau / 32 * n for n in range(-6, 7))]  # fmt: skip
    best = min(range(13), key=lambda n: float(turned[n][0])) - 6
    assert abs(best) == 4
    run = model.run(model.start(2, (32, 32), seed=4, kind="noise"), 400, every=200)
    assert model.observe(run)["wavelength"].numpy() == pytest.approx(8, rel=0.25)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_hand_made_skyrmion_has_charge_one(sign: int) -> None:
    y, x = torch.meshgrid(*[torch.arange(32) - 15.5] * 2, indexing="ij")
    r, angle = torch.hypot(y, x), sign * torch.atan2(y, x)
    tilt = pi * (1 - r / 14).clamp(min=0)  # down in the middle, up outside
    s = torch.stack([torch.sin(tilt) * torch.cos(angle), torch.sin(tilt) * torch.sin(angle), torch.cos(tilt)])
    # Σ s·(∂_x s × ∂_y s) / 4π = sign [-cos tilt / 2] from the middle to the edge = -sign
    assert float(charge(spinors(s), closed=True)[0]) == pytest.approx(-sign, abs=1e-5)
    assert float(charge(spinors(s), closed=False)[0]) == pytest.approx(-sign, abs=1e-5)


def test_the_charge_of_a_torus_is_a_whole_number_and_free_of_the_gauge() -> None:
    model = model_of()
    x = model.run(model.start(4, (24, 24), seed=6, kind="noise"), 60, every=60)[-1]
    found = charge(x, closed=True)
    assert (found - found.round()).abs().max() < 1e-6
    psi = torch.complex(*x.chunk(2, dim=1)) * torch.exp(1j * torch.rand(4, 1, 24, 24) * tau)
    assert torch.allclose(charge(torch.cat([psi.real, psi.imag], dim=1), closed=True), found, atol=1e-5)


def test_domains_of_an_easy_axis_grow() -> None:
    model = model_of(twist=0.0, field=0.0, anisotropy=0.5, damping=0.5)
    found = model.observe(model.run(model.start(2, (64, 64), seed=7, kind="noise"), 300, every=10), every=10)
    assert ((found["growth_exponent"] > 0.25) & (found["growth_exponent"] < 0.75)).all()
