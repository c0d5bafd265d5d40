"""Interventions against formulas in numpy, cell by cell, and their properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from leym.physics import interventions as physics
from leym.physics.constraint import Box
from leym.physics.step import to_complex, to_real

GRID, D = (9, 12), 3
SEEDS = np.array([7, 8, 2**62], np.int64)


def some_states(constraint="unit", n=3):
    rng = np.random.default_rng(1)
    psi = rng.standard_normal((n, *GRID, D)) + 1j * rng.standard_normal((n, *GRID, D))
    if constraint == "unit":
        psi /= np.linalg.norm(psi, axis=-1, keepdims=True)
    return to_real(torch.from_numpy(psi.astype(np.complex64)))


def complex_of(x):
    return to_complex(x).numpy().astype(np.complex128)


def constrained(constraint, psi):
    if constraint == "unit":
        return psi / (np.linalg.norm(psi, axis=-1, keepdims=True) + 1e-9)
    if constraint == "none":
        return psi
    return psi.real.clip(*constraint.box) + 1j * psi.imag.clip(*constraint.box)


def distance(a, b, side, periodic):
    off = a - b
    return (off + side / 2) % side - side / 2 if periodic else off


CONSTRAINTS = ["unit", "none", Box(box=(-0.5, 0.8))]


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
@pytest.mark.parametrize("periodic", [False, True])
def test_a_vortex_winds_the_phase_around_its_centre(constraint, periodic):
    x, y0, x0, radius, charge = some_states(constraint), 1.25, 10.5, 3.5, -2
    inside = physics.disc(GRID, y0, x0, radius, periodic=periodic)
    found = complex_of(physics.changed(x, physics.vortex(x, y0, x0, charge, periodic=periodic), inside, constraint))
    before = complex_of(x)
    for row in range(GRID[0]):
        for column in range(GRID[1]):
            dy, dx = distance(row, y0, GRID[0], periodic), distance(column, x0, GRID[1], periodic)
            cell = before[:, row, column]
            if np.hypot(dy, dx) <= radius:
                cell = constrained(constraint, cell * np.exp(1j * charge * np.arctan2(dy, dx)))
            np.testing.assert_allclose(found[:, row, column], cell, atol=3e-7)


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
def test_a_wave_is_a_plane_wave_of_all_channels(constraint):
    x, (ky, kx) = some_states(constraint), (0.7, -2 * np.pi / GRID[1])
    rows, columns = np.mgrid[: GRID[0], : GRID[1]]
    turned = complex_of(x) * np.exp(1j * (ky * rows + kx * columns))[..., None]
    found = complex_of(physics.changed(x, physics.wave(x, ky, kx), np.ones(GRID, bool), constraint))
    np.testing.assert_allclose(found, constrained(constraint, turned), atol=3e-7)


def test_noise_has_its_strength_and_depends_on_seed_step_and_number_only():
    x = torch.zeros(3, 2 * D, 64, 64)
    first = physics.noise(x, 0.5, SEEDS, 30, 0)
    psi = complex_of(first)
    assert np.mean(np.abs(psi) ** 2) == pytest.approx(0.25, rel=0.02)
    assert abs(psi.mean()) < 0.01
    assert np.mean(psi**2) == pytest.approx(0, abs=0.01)  # real and imaginary parts are independent and alike
    assert torch.equal(physics.noise(x[:1], 0.5, SEEDS[1:2], 30, 0)[0], first[1])
    others = [(SEEDS + 1, 30, 0), (SEEDS, 31, 0), (SEEDS, 30, 1)]
    assert not any(torch.equal(first, physics.noise(x, 0.5, *other)) for other in others)
    shift = x + 1
    assert torch.equal(physics.noise(shift, 0.5, SEEDS, 30, 0), first + 1)


def test_a_collapse_keeps_phase_and_norm_in_the_dominant_channel():
    x = some_states("none")
    x[:, :, 0, 0] = 0  # an empty cell stays empty
    before, found = complex_of(x), complex_of(physics.collapse(x))
    chosen = np.abs(before).argmax(axis=-1)
    expected = np.zeros_like(before)
    size = np.linalg.norm(before, axis=-1)
    for at in np.ndindex(chosen.shape):
        channel = before[(*at, chosen[at])]
        expected[(*at, chosen[at])] = size[at] * channel / abs(channel) if channel else 0
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_a_drawn_collapse_has_the_probabilities_of_born():
    vector = np.sqrt([0.5, 0.2, 0.3, 0.0]) * np.exp(1j * np.array([0, 1, 2, 3]))
    psi = np.broadcast_to(vector, (2, 100, 100, 4)).astype(np.complex64)
    x = to_real(torch.from_numpy(psi.copy()))
    found = complex_of(physics.collapse_drawn(x, SEEDS[:2], 4, 0))
    chosen = np.abs(found).argmax(axis=-1)
    np.testing.assert_allclose(np.bincount(chosen.ravel(), minlength=4) / chosen.size, [0.5, 0.2, 0.3, 0], atol=0.015)
    kept = np.take_along_axis(found, chosen[..., None], -1)[..., 0]
    np.testing.assert_allclose(kept, np.exp(1j * chosen), atol=1e-6)
    assert (np.count_nonzero(found, axis=-1) == 1).all()
    assert not np.array_equal(chosen[0], chosen[1])
    again = complex_of(physics.collapse_drawn(x[1:], SEEDS[1:2], 4, 0))
    assert np.array_equal(again[0], found[1])


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
def test_cells_outside_of_the_region_keep_their_bits(constraint):
    x = some_states(constraint)
    inside = physics.rectangle(GRID, 7, 10, 4, 3, periodic=True)
    after = physics.changed(x, physics.filled(np.array([1, 2j, -1]), x), inside, constraint)
    assert torch.equal(after[..., ~torch.from_numpy(inside)], x[..., ~torch.from_numpy(inside)])
    expected = constrained(constraint, np.array([1, 2j, -1]))
    np.testing.assert_allclose(complex_of(after)[:, inside], np.broadcast_to(expected, (3, 12, 3)), atol=1e-6)


@pytest.mark.parametrize(
    ("periodic", "rows", "columns"), [(True, {7, 8, 0, 1}, {10, 11, 0}), (False, {7, 8}, {10, 11})]
)
def test_a_rectangle_wraps_around_or_is_cut_off(periodic, rows, columns):
    inside = physics.rectangle(GRID, 7, 10, 4, 3, periodic=periodic)
    assert {tuple(at) for at in np.argwhere(inside).tolist()} == {(y, x) for y in rows for x in columns}


def test_one_channel_has_norm_1_and_the_phase():
    np.testing.assert_allclose(physics.one_channel(4, 2, 0.5), [0, 0, np.exp(0.5j), 0], atol=1e-15)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_bits_do_not_depend_on_the_other_universes(n):
    x = some_states()
    ways = {
        "vortex": lambda x, seeds: physics.vortex(x, 4, 4, 1, periodic=True),
        "wave": lambda x, seeds: physics.wave(x, 0.3, 0.4),
        "noise": lambda x, seeds: physics.noise(x, 0.3, seeds, 1, 0),
        "collapse": lambda x, seeds: physics.collapse(x),
        "drawn": lambda x, seeds: physics.collapse_drawn(x, seeds, 1, 0),
    }
    whole = np.ones(GRID, bool)
    for name, way in ways.items():
        together = physics.changed(x, way(x, SEEDS), whole, "unit")
        part = x[:n].to(memory_format=torch.channels_last)
        assert torch.equal(physics.changed(part, way(part, SEEDS[:n]), whole, "unit"), together[:n]), name
