"""Measures of whole states against known states, and against formulas written another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from leym.contract.catalog import DEFAULT_OBSERVABLES, OBSERVABLES
from leym.contract.spec import Observe
from leym.physics import interventions, structure
from leym.physics.complexity import multiscale
from leym.physics.domains import domains, labels_of
from leym.physics.observables import MEASURES, StateView
from leym.physics.reference import beside_reference
from leym.physics.step import to_real
from leym.training.teachers.measures import winding

GRIDS = [(8, 8), (7, 13), (16, 32), (33, 20)]


def measured(psi: np.ndarray, name: str) -> float:
    x = to_real(torch.from_numpy(psi.astype(np.complex64))[None])
    return float(StateView(x, None, x).observable(name)[0])


def noise(h: int, w: int, d: int, seed: int = 0) -> np.ndarray:
    re, im = np.random.default_rng(seed).standard_normal((2, h, w, d))
    return (re + 1j * im).astype(np.complex64)


def plane_wave(h: int, w: int, ky: int, kx: int, d: int = 2) -> np.ndarray:
    """ky and kx waves along the sides."""
    y, x = np.mgrid[:h, :w]
    return np.repeat(np.exp(2j * np.pi * (ky * y / h + kx * x / w))[..., None], d, -1) / np.sqrt(d)


def smooth(h: int, w: int, d: int, cells: float, seed: int = 0) -> np.ndarray:
    """Noise without waves shorter than so many cells."""
    ky, kx = np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None]
    return np.fft.ifft2(
        np.fft.fft2(noise(h, w, d, seed), axes=(0, 1)) * (np.hypot(ky, kx) < 1 / cells)[..., None], axes=(0, 1)
    )


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_of_a_universe_in_a_batch_is_that_of_it_alone(name):
    states = torch.stack([to_real(torch.from_numpy(noise(9, 8, 3, seed))[None])[0] for seed in range(5)])
    together = StateView(states, None, states).observable(name)
    alone = [StateView(one[None], None, one[None]).observable(name) for one in states]
    assert torch.equal(together, torch.cat(alone))
    assert together.dtype == torch.float32
    assert StateView(states[2], None, states[2]).observable(name) == together[2]


@pytest.mark.parametrize(("h", "w"), GRIDS)
@pytest.mark.parametrize("waves", [(0, 1), (3, 0), (2, 2)])
def test_a_plane_wave_has_its_own_wavenumber_and_length(h, w, waves):
    psi = plane_wave(h, w, *waves)
    per_cell = np.hypot(waves[0] / h, waves[1] / w)
    assert measured(psi, "peak_wavenumber") == pytest.approx(max(np.rint(per_cell * min(h, w)), 1))
    assert measured(psi, "correlation_length") == pytest.approx(1 / (2 * np.pi * per_cell), rel=1e-4)


@pytest.mark.parametrize(("h", "w"), GRIDS)
def test_the_peak_is_that_of_the_energy_spectrum(h, w):
    for seed, psi in enumerate([noise(h, w, 3), smooth(h, w, 2, 5), plane_wave(h, w, 1, 1) + noise(h, w, 2) / 5]):
        energy = structure.spectrum(torch.from_numpy((psi - psi.mean((0, 1))).astype(np.complex64)))
        energy[1] += energy[0]  # waves longer than twice the shorter side
        assert measured(psi, "peak_wavenumber") == int(energy[1:].argmax()) + 1, seed


@pytest.mark.parametrize(("h", "w"), GRIDS)
def test_the_correlation_length_equals_numpy_cell_by_cell(h, w):
    psi = smooth(h, w, 2, 4) + 0.3
    power, moment = 0.0, 0.0
    y, x = np.mgrid[:h, :w]
    for j in range(h):
        for i in range(w):
            if j or i:
                k = np.hypot(min(j, h - j) / h, min(i, w - i) / w)
                turned = psi * np.exp(-2j * np.pi * (j * y / h + i * x / w))[..., None]
                here = (np.abs(turned.sum((0, 1))) ** 2).sum()
                power, moment = power + here, moment + k * here
    assert measured(psi, "correlation_length") == pytest.approx(power / moment / 2 / np.pi, rel=1e-4)


def test_noise_has_a_short_correlation_length_and_smooth_noise_a_longer_one():
    lengths = [
        measured(psi, "correlation_length") for psi in (noise(64, 64, 4), smooth(64, 64, 4, 8), smooth(64, 64, 4, 16))
    ]
    assert lengths[0] == pytest.approx(0.416, rel=0.02)  # the mean |k| of a square of side 1 is 0.3826
    assert lengths[2] > 1.8 * lengths[1] > 5 * lengths[0]
    assert lengths[2] < 64 / np.pi


@pytest.mark.parametrize("value", [0.0, 1.0, 0.3 + 0.7j])
def test_a_uniform_state_has_no_structure(value):
    psi = np.full((12, 20, 3), value)
    psi = psi * np.array([1, 1j, 0.1])
    expected = {"correlation_length": 20 / np.pi, "peak_wavenumber": 0, "multiscale_complexity": 0}
    assert {name: measured(psi, name) for name in MEASURES} == pytest.approx(
        dict.fromkeys(MEASURES, 0.0) | expected, abs=1e-6
    )


def test_complexity_is_the_sum_over_scales_without_the_finest():
    for psi in (noise(32, 32, 2), smooth(32, 32, 2, 6), noise(18, 37, 2), plane_wave(24, 24, 2, 0)):
        parts = np.concatenate([psi.real, psi.imag], -1)
        h, w = (side // 2 * 2 for side in psi.shape[:2])
        blocks = parts[:h, :w].reshape(h // 2, 2, w // 2, 2, -1).mean((1, 3))
        channels = torch.from_numpy(blocks).movedim(-1, 0)
        expected = float(multiscale(channels.double()).sum()) if min(blocks.shape[:2]) > 1 else 0.0
        assert measured(psi, "multiscale_complexity") == pytest.approx(
            expected / (np.abs(psi) ** 2).sum(-1).mean(), abs=1e-5
        )


def test_complexity_tells_structure_from_noise():
    assert measured(noise(64, 64, 4), "multiscale_complexity") == pytest.approx(1 / 8, rel=0.02)
    assert 0.3 < measured(smooth(64, 64, 4, 8), "multiscale_complexity") < 0.5


@pytest.mark.parametrize(("h", "w"), GRIDS)
def test_domain_walls_are_those_of_the_fidelity_suite(h, w):
    for d in (1, 2, 5):
        psi = torch.from_numpy(noise(h, w, d))
        expected = float(domains(labels_of(beside_reference(psi, "none") if d == 1 else psi))["domain_walls"])
        assert measured(psi.numpy(), "domain_walls") == pytest.approx(expected, abs=1e-6)


def test_domain_walls_of_stripes_and_of_equal_channels():
    psi = np.zeros((6, 8, 3))
    psi[:, :4, 1] = 1
    psi[:, 4:, 2] = 1
    assert measured(psi, "domain_walls") == pytest.approx(6 / (6 * 7 + 5 * 8))
    assert measured(np.ones((6, 8, 3)), "domain_walls") == 0


def vortices(psi: np.ndarray) -> tuple[float, float]:
    return measured(psi, "vortices"), measured(psi, "antivortices")


@pytest.mark.parametrize("charge", [1, -1])
def test_a_vortex_and_a_pair_are_counted_with_their_signs(charge):
    y, x = np.mgrid[:16, :24]
    up = (x - 7.5) + 1j * charge * (y - 8.5)
    down = (x - 16.5) - 1j * charge * (y - 8.5)
    one, pair = up / abs(up), up * down / abs(up * down)
    assert vortices(one[..., None]) == ((1, 0) if charge > 0 else (0, 1))
    assert vortices(np.repeat(pair[..., None], 3, -1)) == (1, 1)


@pytest.mark.parametrize("charge", [1, -1])
def test_a_vortex_that_an_intervention_makes_is_counted(charge):
    turned = interventions.vortex(
        to_real(torch.ones(1, 16, 16, 2, dtype=torch.complex64)), 7.5, 4.5, charge, periodic=False
    )
    state = StateView(turned, None, turned)
    assert (float(state.observable("vortices")), float(state.observable("antivortices"))) == (
        (1, 0) if charge > 0 else (0, 1)
    )


@pytest.mark.parametrize("d", [1, 3])
def test_vortices_of_noise_are_those_of_the_teachers(d):
    psi = noise(20, 31, d)
    x = to_real(torch.from_numpy(psi)[None])
    found = winding(StateView(x, None, x).field("phase")[0], "zero")
    assert vortices(psi) == (float((found == 1).sum()), float((found == -1).sum()))
    assert vortices(psi.conj()) == vortices(psi)[::-1]


def test_a_global_phase_and_a_scale_change_no_measure():
    psi = smooth(16, 16, 3, 3)
    for name in MEASURES:
        assert measured(psi * 2 * np.exp(0.7j), name) == pytest.approx(measured(psi, name), rel=1e-4), name


def test_new_measures_are_computed_by_request_only():
    assert set(DEFAULT_OBSERVABLES) | set(MEASURES) == set(OBSERVABLES)
    assert Observe(every=1).names == DEFAULT_OBSERVABLES
    assert Observe(every=1, names=tuple(MEASURES)).names == tuple(MEASURES)
