"""Cells of one channel beside a constant reference: their phases and sizes are seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from leym.physics import structure
from leym.physics.observables import StateView, alignment
from leym.physics.reference import beside_reference
from leym.physics.step import to_real
from leym.training.objectives import statistics
from leym.training.refinement.courses import overlap


def phases(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, shape)


def unit(angles: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.exp(1j * angles).astype(np.complex64))[..., None]


def complex_cells(seed: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, 5, 6, d)) + 1j * rng.normal(size=(2, 5, 6, d))


def test_two_phases_align_by_the_cosine_of_half_their_difference() -> None:
    a, b = phases(1, 1, 9, 7), phases(2, 1, 9, 7)
    expected = np.abs(np.cos((a - b) / 2))
    for found in (
        alignment(to_real(unit(a)), to_real(unit(b))),
        structure.alignment(beside_reference(unit(a), "unit"), beside_reference(unit(b), "unit")),
        statistics.alignment(to_real(unit(a)), to_real(unit(b))),
    ):
        np.testing.assert_allclose(found, expected, atol=2e-4)
    assert float(overlap(to_real(unit(a)), to_real(unit(b)))) == pytest.approx(expected.mean(), abs=1e-4)


def test_a_turning_universe_of_one_channel_is_active_and_a_resting_one_is_not() -> None:
    angles = phases(3, 1, 8, 8)
    now, later = to_real(unit(angles)), to_real(unit(angles + 0.3))
    assert float(StateView(later, now, now).observable("activity")) == pytest.approx(1 - np.cos(0.15), rel=1e-3)
    assert float(StateView(now, now, now).observable("activity")) == pytest.approx(0, abs=1e-6)
    assert float(StateView(later, now, now).observable("overlap")) == pytest.approx(np.cos(0.15) ** 2, rel=1e-4)


@pytest.mark.parametrize("d", [1, 3])
def test_the_size_of_a_cell_counts_where_no_law_fixes_it(d: int) -> None:
    a, b = complex_cells(4, d), complex_cells(5, d)
    whole = [np.concatenate([cells, np.ones_like(cells[..., :1])], -1) for cells in (a, b)]
    inner = np.abs((whole[0].conj() * whole[1]).sum(-1))
    expected = inner / np.prod([np.linalg.norm(cells, axis=-1) for cells in whole], axis=0)
    found = [beside_reference(torch.from_numpy(cells.astype(np.complex64)), "none") for cells in (a, b)]
    np.testing.assert_allclose(structure.alignment(*found), expected, atol=1e-5)
    assert float(structure.alignment(found[0], beside_reference(torch.from_numpy(2 * a), "none")).min()) < 0.99


def test_the_shares_of_a_single_channel_follow_its_phase() -> None:
    angles = phases(6, 1, 4, 4)
    shares = structure.channel_power(beside_reference(unit(angles), "unit"))
    np.testing.assert_allclose(shares[..., 0], (1 + np.cos(angles)) / 2, atol=1e-6)


def test_the_constant_adds_to_the_spectrum_at_wavenumber_zero_only() -> None:
    psi = torch.from_numpy(complex_cells(7, 1).astype(np.complex64))
    added = structure.spectrum(beside_reference(psi, "none")) - structure.spectrum(psi)
    np.testing.assert_allclose(added[:, 0], 1, atol=1e-5)
    np.testing.assert_allclose(added[:, 1:], 0, atol=1e-5)


def test_cells_of_several_channels_under_the_constraint_unit_are_measured_as_they_are() -> None:
    psi = torch.from_numpy(complex_cells(8, 3).astype(np.complex64))
    assert beside_reference(psi, "unit") is psi
