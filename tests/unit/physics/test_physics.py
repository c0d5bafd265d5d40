"""Invariants of the step, the start states and the fields, against NumPy written from the formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leym.contract.catalog import FIELDS, OBSERVABLES
from leym.contract.spec import ComplexNoise, Observe, RandomState, Zeros
from leym.engine.run import initial_state
from leym.laws.networks.deep_qca import DeepQCA
from leym.physics.observables import StateView
from leym.physics.step import step, to_complex, to_real


class Constant(torch.nn.Module):
    """A network whose output does not depend on the state."""

    def __init__(self, y: torch.Tensor):
        super().__init__()
        self.y = y

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.y


def random_psi(seed: int, h: int = 6, w: int = 5, d: int = 3) -> np.ndarray:
    re, im = np.random.default_rng(seed).standard_normal((2, h, w, d))
    return (re + 1j * im).astype(np.complex64)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), gamma=st.floats(0, 10), form=st.sampled_from(["additive", "diagonal"]))
def test_step_equals_the_formula(seed, gamma, form):
    psi, y = random_psi(seed), random_psi(seed + 1)
    after, _, finite = step(
        Constant(to_real(torch.from_numpy(y)[None])),
        form,
        to_real(torch.from_numpy(psi)[None]),
        torch.full((1, 1, 1, 1), gamma),
    )
    du = y * psi if form == "diagonal" else y
    phi = psi.astype(complex) + du - gamma * psi
    expected = phi / (np.sqrt((np.abs(phi) ** 2).sum(-1, keepdims=True)) + 1e-9)
    assert finite.all()
    np.testing.assert_allclose(to_complex(after)[0].numpy(), expected, atol=2e-5)
    np.testing.assert_allclose((np.abs(to_complex(after)[0].numpy()) ** 2).sum(-1), 1, atol=1e-5)


def test_the_antisymmetric_form_is_a_matrix_per_cell():
    psi, raw = random_psi(1), np.random.default_rng(2).standard_normal((6, 5, 3, 3)).astype(np.float32)
    y = torch.from_numpy(raw.reshape(6, 5, 9)).permute(2, 0, 1)[None]
    after, _, _ = step(Constant(y), "antisymmetric", to_real(torch.from_numpy(psi)[None]), torch.zeros(1, 1, 1, 1))
    phi = psi + np.einsum("hwij,hwj->hwi", (raw - raw.swapaxes(2, 3)) / 2, psi)
    expected = phi / np.linalg.norm(phi, axis=-1, keepdims=True)
    np.testing.assert_allclose(to_complex(after)[0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_a_non_finite_state_is_seen_in_its_own_universe_only(bad):
    y = torch.zeros(2, 4, 4, 4)
    y[1, 0, 2, 2] = bad
    x = to_real(torch.from_numpy(np.stack([random_psi(1, 4, 4, 2)] * 2)))
    _, _, finite = step(Constant(y), "additive", x, torch.zeros(2, 1, 1, 1))
    assert finite.tolist() == [True, False]


def test_start_states_follow_their_definitions():
    noise = initial_state(ComplexNoise(strength=0.1), (32, 16), 4, seed=5)
    assert noise.shape == (32, 16, 4)
    assert noise.dtype == np.complex64
    np.testing.assert_allclose(np.abs(noise), 1, atol=1e-6)
    assert np.std(np.angle(noise)) == pytest.approx(0.1, rel=0.05)
    haar = initial_state(RandomState(), (32, 16), 4, seed=5)
    np.testing.assert_allclose((np.abs(haar) ** 2).sum(-1), 1, atol=1e-6)
    overlaps = np.abs((haar[:-1].conj() * haar[1:]).sum(-1)) ** 2
    assert overlaps.mean() == pytest.approx(1 / 4, rel=0.2)  # Haar: E|<a, b>|^2 = 1 / d
    assert not initial_state(Zeros(), (4, 4), 2, seed=5).any()


def test_a_seed_decides_its_start_state_and_differs_from_others():
    same = [initial_state(ComplexNoise(), (8, 8), 2, seed=7) for _ in range(2)]
    assert np.array_equal(*same)
    assert not np.array_equal(same[0], initial_state(ComplexNoise(), (8, 8), 2, seed=8))


def numpy_field(name: str, psi: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Each field again, cell by cell, in float64."""
    psi, before = psi.astype(complex), before.astype(complex)
    h, w, d = psi.shape
    p = np.abs(psi) ** 2 / (np.abs(psi) ** 2).sum(-1, keepdims=True)

    def r(a, b):
        return abs(np.vdot(a, b)) / (np.linalg.norm(a) * np.linalg.norm(b))

    def around(i, j):
        near = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
        return [r(psi[i, j], psi[a, b]) for a, b in near if 0 <= a < h and 0 <= b < w]

    cells = [(i, j) for i in range(h) for j in range(w)]
    match name:
        case "psi":
            return psi
        case "channel_power":
            return p
        case "phase":
            theta = np.angle(psi)
            return np.arctan2(np.sin(theta).mean(-1), np.cos(theta).mean(-1))
        case "channel_entropy":
            return -(p * np.log(p)).sum(-1) / np.log(d)
        case "coherence":
            return np.array([np.mean(around(i, j)) for i, j in cells]).reshape(h, w)
        case "activity":
            return np.array([1 - r(before[i, j], psi[i, j]) for i, j in cells]).reshape(h, w)
        case "flow":
            return np.linalg.norm(psi - before, axis=-1)
        case "density":
            return (np.abs(psi) ** 2).sum(-1)
        case "rgb":
            channels = np.concatenate([psi.real, psi.imag], -1)
            return 1 - np.clip(channels[..., 3:4], 0, 1) + channels[..., :3]
    raise AssertionError(name)


@pytest.mark.parametrize("name", FIELDS)
def test_fields_and_observables_equal_numpy(name):
    psi, before = random_psi(3), random_psi(4)
    x, previous = (to_real(torch.from_numpy(a)[None])[0] for a in (psi, before))
    state = StateView(x, previous, previous)
    expected = numpy_field(name, psi, before)
    np.testing.assert_allclose(state.field(name).numpy(), expected, atol=2e-6)
    if name in OBSERVABLES:
        assert state.observable(name) == pytest.approx(expected.mean(), abs=1e-5)
        assert state.observable(f"{name}_sd") == pytest.approx(expected.std(), abs=1e-5)


def test_overlap_is_one_at_the_start_and_zero_for_orthogonal_states():
    psi = random_psi(3, d=2)
    orthogonal = np.stack([-psi[..., 1].conj(), psi[..., 0].conj()], -1)
    x, y = (to_real(torch.from_numpy(a.astype(np.complex64))[None])[0] for a in (psi, orthogonal))
    assert StateView(x, None, x).observable("overlap") == pytest.approx(1, abs=1e-6)
    assert StateView(y, None, x).observable("overlap") == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", FIELDS)
def test_fields_are_finite_for_an_empty_universe(name):
    x = torch.zeros(4, 4, 4)
    assert torch.isfinite(
        torch.view_as_real(StateView(x, x, x).field(name)) if name == "psi" else StateView(x, x, x).field(name)
    ).all()


def test_a_global_phase_changes_no_field_but_psi_phase_and_colour():
    psi, before = random_psi(8), random_psi(9)
    turned = [(a * np.exp(0.7j)).astype(np.complex64) for a in (psi, before)]
    states = [
        StateView(*(to_real(torch.from_numpy(a)[None])[0] for a in pair), None) for pair in ((psi, before), turned)
    ]
    for name in set(FIELDS) - {"psi", "phase", "rgb"}:
        torch.testing.assert_close(states[0].field(name), states[1].field(name), atol=3e-6, rtol=0)


def test_deep_qca_with_its_identical_maps_folded_is_the_same_function():
    torch.manual_seed(0)
    network = DeepQCA(3, 10).double()
    x = torch.randn(2, 6, 9, 7, dtype=torch.float64)
    folded = network.folded()
    assert folded.conv_neighbors.out_channels * 8 == network.conv_neighbors.out_channels
    assert torch.allclose(folded(x), network(x), rtol=1e-5, atol=1e-6)  # the sum of weights is kept in float32
    with torch.no_grad():
        network.conv_neighbors.weight[5] *= 2  # a trained stencil: its maps differ, and nothing can be folded
    assert network.folded() is network


def test_the_old_name_fidelity_is_the_observable_overlap():
    x, origin = (to_real(torch.from_numpy(random_psi(seed))[None])[0] for seed in (3, 4))
    state = StateView(x, None, origin)
    assert state.observable("fidelity") == state.observable("overlap")
    assert "fidelity" not in OBSERVABLES
    assert "fidelity" not in Observe(every=1).names
    assert Observe(every=1, names=("activity", "fidelity")).names == ("activity", "fidelity")
