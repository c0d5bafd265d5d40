"""The metric suite and its statistics against plain loops, closed forms and exact enumeration."""

from __future__ import annotations

from itertools import combinations
from math import log

import numpy as np
import pytest
import torch
from scipy.special import kolmogorov, ndtri, stdtr, stdtrit

from leym.fidelity import stats
from leym.fidelity.information import mutual_information, transfer_entropy
from leym.fidelity.metrics import METRICS, flags, measure, shuffled
from leym.physics import complexity, dynamics, structure
from leym.physics.domains import components, domains


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def wave(k: int, side: int = 16) -> torch.Tensor:
    """A plane wave of k cycles: complex64 [H, W, 1]."""
    return torch.polar(torch.ones(side), 2 * torch.pi * k * torch.arange(side) / side).expand(side, side)[..., None]


def test_entropy_and_coherence_equal_plain_loops():
    psi = noise(5, 4, 3)
    p = np.abs(psi.numpy().astype(complex)) ** 2
    p /= p.sum(-1, keepdims=True)
    np.testing.assert_allclose(structure.entropy_field(psi).numpy(), -(p * np.log(p)).sum(-1) / np.log(3), atol=1e-6)
    cells, found = psi.numpy().astype(complex), []
    for i in range(5):
        for j in range(4):
            for a, b in ((i + 1, j), (i, j + 1)):
                if a < 5 and b < 4:
                    x, y = cells[i, j], cells[a, b]
                    found.append(abs(np.vdot(x, y)) / np.linalg.norm(x) / np.linalg.norm(y))
    assert float(structure.pair_coherence(psi)) == pytest.approx(np.mean(found), abs=1e-6)


def test_the_spectrum_keeps_the_density_and_finds_the_wave():
    psi = noise(3, 16, 16, 2)
    density = psi.abs().square().sum(-1).mean((-2, -1))
    torch.testing.assert_close(structure.spectrum(psi).sum(-1), density, rtol=1e-4, atol=0)
    for k in (1, 3, 7):
        energy = structure.spectrum(wave(k))
        assert float(structure.mean_wavenumber(energy)) == pytest.approx(k, abs=1e-3)


def test_domains_equal_a_flood_fill():
    labels = torch.randint(0, 3, (9, 7), generator=torch.Generator().manual_seed(1))
    grid, seen, sizes = labels.numpy(), np.zeros((9, 7), bool), []
    for start in np.ndindex(9, 7):
        if not seen[start]:
            seen[start], stack, size = True, [start], 0
            while stack:
                i, j = stack.pop()
                size += 1
                for a, b in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                    if 0 <= a < 9 and 0 <= b < 7 and not seen[a, b] and grid[a, b] == grid[i, j]:
                        seen[a, b] = True
                        stack.append((a, b))
            sizes.append(size)
    found = domains(labels)
    assert float(found["domains"]) == pytest.approx(len(sizes) / 63)
    assert float(found["largest_domain"]) == pytest.approx(max(sizes) / 63)
    ring = torch.ones(5, 5, dtype=torch.long)
    ring[1:4, 1:4] = 0
    ring[2, 2] = 1
    assert float(domains(ring)["domain_euler"]) * 25 == pytest.approx(3 - 2)  # three domains, two of them with a hole
    stripe = torch.zeros(4, 4, dtype=torch.long)
    stripe[:, 1] = 1
    assert len(components(stripe).unique()) == 3
    assert len(components(stripe, wrap=True).unique()) == 2


def test_complexity_of_known_things():
    assert complexity.lz76([int(c) for c in "0001101001000101"]) == pytest.approx(6 * log(16, 2) / 16)  # LZ 1976
    flat, rough = torch.zeros(32, 32), torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    assert float(complexity.multiscale(flat)) == 0
    assert float(complexity.permutation_entropy(flat)[0]) == 0
    entropy, statistical = complexity.permutation_entropy(rough)
    assert entropy > 0.98
    assert statistical < 0.05
    ramp, _ = complexity.permutation_entropy(torch.arange(64.0).view(8, 8))
    assert float(ramp) == 0
    still, moved = torch.ones(1, 32, 32, 2, dtype=torch.complex64), noise(1, 32, 32, 2)
    turned = moved * torch.polar(torch.tensor(1.0), torch.tensor(0.7))
    assert complexity.compression(still) < 0.05 < complexity.compression(moved)
    assert float(complexity.compression(moved)) == pytest.approx(float(complexity.compression(turned)), abs=0.02)


def test_dynamics_of_known_universes():
    still = noise(1, 4, 4, 2).expand(6, 4, 4, 2)
    assert 1 - float(dynamics.autocorrelation(still, (1,))) == pytest.approx(0, abs=1e-6)
    swap = torch.zeros(6, 4, 4, 2, dtype=torch.complex64)
    swap[::2, ..., 0] = swap[1::2, ..., 1] = 1
    assert 1 - float(dynamics.autocorrelation(swap, (1,))) == 1
    assert dynamics.autocorrelation(swap, (1, 2)).tolist() == [0, 1]
    before = torch.full((5, 3), 1e-3, dtype=torch.float64)
    torch.testing.assert_close(dynamics.exponent(before, before * 8, 3), torch.full((3,), log(2), dtype=torch.float64))
    psi = dynamics.normalised(noise(8, 8, 3))
    near = dynamics.perturbed(psi, 1e-3, seed=1)
    assert float(dynamics.distance(psi, near)) == pytest.approx(1e-3, rel=0.01)
    assert torch.allclose(near.abs().square().sum(-1), torch.ones(8, 8), atol=1e-5)


def test_information_flows_from_a_source_and_not_back():
    generator = torch.Generator().manual_seed(0)
    source = torch.randint(0, 2, (4000, 1), generator=generator)
    target = torch.roll(source, 1, 0)
    assert transfer_entropy(source, target, 2) == pytest.approx(1, abs=0.01)
    assert transfer_entropy(target, source, 2) == pytest.approx(0, abs=0.01)
    assert mutual_information(source, source, 2) == pytest.approx(1, abs=0.01)


def test_distributions_meet_the_tables():
    for p, df, t in ((0.95, 1, 6.3138), (0.95, 10, 1.8125), (0.975, 5, 2.5706), (0.995, 30, 2.7500)):
        assert stdtrit(df, p) == pytest.approx(t, abs=1e-4)
        assert stdtr(df, -t) == pytest.approx(1 - p, abs=1e-5)
    assert ndtri(0.975) == pytest.approx(1.959964, abs=1e-6)
    assert kolmogorov(1.3581) == pytest.approx(0.05, abs=1e-4)
    assert kolmogorov(1.6276) == pytest.approx(0.01, abs=1e-4)


def test_ks_is_exact_by_enumeration():
    a, b = np.array([0.1, 0.2, 0.35, 0.9]), np.array([0.3, 0.5, 0.7])
    d, p = stats.ks(a, b)
    both, as_large, ways = np.concatenate([a, b]), 0, list(combinations(range(7), 4))
    for rows in ways:
        rest = [i for i in range(7) if i not in rows]
        as_large += stats.ks(both[list(rows)], both[rest])[0] >= d - 1e-12
    assert p == pytest.approx(as_large / len(ways))


def test_tost_holm_wasserstein_and_the_global_test():
    rng = np.random.default_rng(0)
    q, b = rng.normal(1.0, 0.02, 30), rng.normal(1.0, 0.02, 30)
    same, far = stats.tost(q, b, 1.0), stats.tost(q + 0.2, b, 1.0)
    error = np.sqrt(q.var(ddof=1) / 30 + b.var(ddof=1) / 30)
    assert same.high - same.low == pytest.approx(2 * 1.6717 * error, rel=1e-3)  # t_0.95 at 58 degrees of freedom
    assert same.p < 0.05
    assert far.p > 0.99
    assert far.p_beyond < 1e-6
    assert same.p_beyond > 0.5
    noisy = stats.tost(rng.normal(1, 0.5, 10), rng.normal(1, 0.5, 10), 1.0)
    verdicts = stats.outcomes({"same": same, "far": far, "noisy": noisy}, 0.05)
    assert verdicts == {"same": "pass", "far": "fail", "noisy": "inconclusive"}
    assert stats.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert stats.wasserstein(b + 0.3, b) == pytest.approx(0.3)
    rows = rng.normal(size=(40, 4))
    assert stats.energy_test(rows[:20], rows[20:])[1] > 0.05
    assert stats.energy_test(rows[:20] + 1, rows[20:])[1] < 0.01


def test_the_stated_power_is_the_measured_one():
    members = stats.members_needed(spread=0.08)
    rng, passed = np.random.default_rng(1), 0
    for _ in range(300):
        q, b = rng.normal(1, 0.08, (2, members))
        passed += stats.outcomes({"x": stats.tost(q, b, 1.0)}, 0.05)["x"] == "pass"
    assert abs(passed / 300 - 0.8) < 0.07
    assert stats.power_of(0.08, members) == pytest.approx(0.8, abs=0.02)


def test_the_suite_measures_a_member_and_its_null_and_flags_the_dead():
    psi = dynamics.normalised(noise(6, 16, 16, 3))
    activity = torch.full((6,), 0.1)
    found = measure(psi, activity, wrap=False)
    assert found.keys() == METRICS.keys() - {"lyapunov"}
    assert all(np.isfinite(list(found.values())))
    null = measure(shuffled(psi, 0), activity, wrap=False)
    assert null["entropy"] == pytest.approx(found["entropy"], abs=1e-6)
    assert flags(psi, activity) == ()
    assert flags(psi[:1].expand(6, 16, 16, 3), activity * 0) == ("frozen",)
    assert flags(torch.full((6, 4, 4, 2), torch.nan, dtype=torch.complex64), activity)[0] == "nan"
