"""The statistics of the fidelity gate against printed tables, exact enumeration and simulation."""

from __future__ import annotations

from itertools import combinations
from math import gamma, pi, sqrt

import numpy as np
import pytest
from scipy.special import betainc, kolmogorov, ndtri, stdtr, stdtrit

from leym.fidelity.stats import (
    Interval,
    bootstrap_excess,
    energy_test,
    holm,
    ks,
    members_needed,
    outcomes,
    power_of,
    tost,
    wasserstein,
    wasserstein_ratio,
)


@pytest.mark.parametrize(
    ("p", "df", "t"),
    [
        (0.975, 1, 12.7062),
        (0.95, 2, 2.9200),
        (0.99, 5, 3.3649),
        (0.9, 8, 1.3968),
        (0.95, 10, 1.8125),
        (0.95, 30, 1.6973),
        (0.995, 60, 2.6603),
        (0.975, 120, 1.9799),
    ],
)
def test_student_quantiles_are_those_of_the_tables(p, df, t):
    assert stdtrit(df, p) == pytest.approx(t, abs=6e-5)
    assert stdtrit(df, 1 - p) == pytest.approx(-t, abs=6e-5)


@pytest.mark.parametrize("df", [1.5, 2.94, 17.3])
def test_student_cdf_is_the_integral_of_its_density(df):
    t = np.linspace(0, 1.7, 20_001)
    density = gamma((df + 1) / 2) / sqrt(df * pi) / gamma(df / 2) * (1 + t**2 / df) ** (-(df + 1) / 2)
    assert stdtr(df, 1.7) == pytest.approx(0.5 + np.trapezoid(density, t), abs=1e-9)


def test_other_distributions_at_tabulated_points():
    assert ndtri(0.975) == pytest.approx(1.959964, abs=1e-6)
    assert ndtri(0.1) == pytest.approx(-1.281552, abs=1e-6)
    assert betainc(2, 3, 0.4) == pytest.approx(0.5248)  # a polynomial for whole a, b
    assert kolmogorov(1.3581) == pytest.approx(0.05, abs=2e-5)
    assert kolmogorov(1.6276) == pytest.approx(0.01, abs=2e-5)
    assert kolmogorov(0.8276) == pytest.approx(0.5, abs=2e-4)
    assert kolmogorov(1.1799999) == pytest.approx(kolmogorov(1.1800001), abs=1e-6)  # the two series meet


@pytest.mark.parametrize("sizes", [(4, 4), (3, 5), (6, 2)])
def test_ks_is_exact(sizes):
    n, m = sizes
    values = np.random.default_rng(1).normal(size=n + m)
    d, p = ks(values[:n], values[n:])
    splits = [set(c) for c in combinations(range(n + m), n)]
    found = [
        ks(values[sorted(s)], values[sorted(set(range(n + m)) - s)])[0]  # the statistic of every split
        for s in splits
    ]
    assert p == pytest.approx(np.mean(np.array(found) >= d - 1e-9))


def test_ks_by_paths_meets_its_asymptotic_form():
    a, b = np.random.default_rng(2).normal(size=(2, 400))
    d, p = ks(a, b + 0.08)
    assert p == pytest.approx(kolmogorov(d * sqrt(200)), abs=0.04)


def test_holm_steps_down():
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})


def test_wasserstein_of_equal_sizes_pairs_the_sorted_values():
    a, b, c = np.random.default_rng(3).normal(size=(3, 50))
    assert wasserstein(a, b) == pytest.approx(np.abs(np.sort(a) - np.sort(b)).mean())
    assert wasserstein(a, np.concatenate([a, a])) == pytest.approx(0, abs=1e-12)
    assert wasserstein_ratio(a + 5, b, c) == pytest.approx(wasserstein(a + 5, b) / wasserstein(c, b))


def test_tost_interval_by_hand():
    i = tost(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]), scale=4.0)
    # variances 1/3 and 4/3 of the means; Welch: df = (5/3)^2 / ((1/3)^2/2 + (4/3)^2/2) = 50/17
    half = stdtrit(50 / 17, 0.95) * sqrt(5 / 3) / 4
    assert (i.effect, i.low, i.high) == pytest.approx((-0.5, -0.5 - half, -0.5 + half))


def test_tost_passes_exactly_when_its_interval_is_inside():
    random = np.random.default_rng(4)
    for effect in np.linspace(-0.08, 0.08, 200):
        i = tost(1 + effect + 0.1 * random.normal(size=40), 1 + 0.1 * random.normal(size=40), scale=1.0)
        assert (i.p < 0.05) == (i.low > -0.05 and i.high < 0.05)
        assert (outcomes({"x": i}, 0.05)["x"] == "pass") == (i.p < 0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "least", "most"), [(0.05, 0.0, 0.065), (-0.05, 0.0, 0.065), (0.0, 0.76, 0.86)])
def test_size_at_the_margin_and_power_at_none(effect, least, most):
    """An effect of exactly 5 % passes in at most 5 % of cases; 69 members of spread 0.1 pass in 80 % without one."""
    random, draws = np.random.default_rng(5), 1000
    q = 1 + effect + 0.1 * random.normal(size=(draws, 69))
    b = 1 + 0.1 * random.normal(size=(draws, 69))
    passed = np.mean([tost(q[k], b[k], 1.0).p < 0.05 for k in range(draws)])
    assert least <= passed <= most


def test_members_needed_is_the_table_of_the_method():
    assert [members_needed(s) for s in (0.02, 0.05, 0.10, 0.15, 0.20, 0.25)] == pytest.approx(
        [3, 18, 69, 155, 275, 429], abs=1
    )
    assert power_of(0.1, 69) == pytest.approx(0.8, abs=0.01)
    assert power_of(0.1, 22) < 0.05
    assert members_needed(0.1, effect=0.02) > 1.5 * members_needed(0.1)
    with pytest.raises(ValueError, match="not inside the margin"):
        members_needed(0.1, effect=0.05)


@pytest.mark.slow
def test_many_noisy_metrics_do_not_fail_a_law_by_chance():
    random = np.random.default_rng(6)
    failed = 0
    for _ in range(60):
        found = {str(k): tost(*random.normal(1, 1.0, size=(2, 20)), scale=1.0) for k in range(20)}
        failed += "fail" in outcomes(found, 0.05).values()
    assert failed <= 0.08 * 60
    beyond = {"x": Interval(0.2, 0.1, 0.3, 1.0, 1e-6), "y": Interval(0.0, -0.01, 0.01, 0.0, 1.0)}
    assert outcomes(beyond, 0.05) == {"x": "fail", "y": "pass"}


def test_energy_test_against_loops_and_full_enumeration():
    random = np.random.default_rng(7)
    a, b = random.normal(size=(4, 2)), random.normal(1.5, 1, size=(4, 2))
    both = np.concatenate([a, b])
    z = (both - both.mean(0)) / both.std(0)

    def energy(x: list[int], y: list[int]) -> float:
        def mean(i: list[int], j: list[int]) -> float:
            return float(np.mean([np.linalg.norm(z[k] - z[m]) for k in i for m in j]))

        return 2 * mean(x, y) - mean(x, x) - mean(y, y)

    observed, p = energy_test(a, b, permutations=4000)
    assert observed == pytest.approx(energy([0, 1, 2, 3], [4, 5, 6, 7]))
    splits = [(list(c), [k for k in range(8) if k not in c]) for c in combinations(range(8), 4)]
    exact = np.mean([energy(x, y) >= observed - 1e-9 for x, y in splits])
    assert p == pytest.approx(exact, abs=0.03)


def test_spectra_of_one_law_have_no_excess_and_shifted_ones_do():
    random = np.random.default_rng(8)
    b, other, q = np.exp(0.1 * random.normal(size=(3, 64, 9)))
    assert abs(bootstrap_excess(q, b, other)[0]) < 0.02
    at, low, high = bootstrap_excess(1.2 * q, b, other)
    assert low < at < high
    assert low > 0.1


def test_wavenumbers_without_energy_are_not_compared():
    random = np.random.default_rng(9)
    b, other, q = np.exp(0.05 * random.normal(size=(3, 64, 9)))
    faint = np.array([1e-9] * 3 + [1.0] * 6)
    q[:, :3] *= 100  # still 1e-7 of the energy
    assert bootstrap_excess(q * faint, b * faint, other * faint)[2] < 0.02
    q[:, 3] *= 1.5
    assert bootstrap_excess(q * faint, b * faint, other * faint)[1] > 0.03
