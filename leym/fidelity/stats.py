"""Two samples of members: are their means equivalent, and do their distributions differ?

A member (a whole run) is the unit: arrays are float64 [M], one number per member, or [M, K] for K metrics. Absence of
a significant difference is no evidence of equality, so the decision rests on equivalence tests (TOST); the rest is
diagnosis.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leym.fidelity.distributions import kolmogorov_sf, normal_quantile, student_cdf, student_quantile

Sample = NDArray[np.float64]
Outcome = Literal["pass", "fail", "inconclusive"]
TOO_MANY_PATHS = 10_000_000  # above this product of sizes the KS p-value is the asymptotic one


@dataclass(frozen=True)
class Interval:
    """Effect = (mean(q) - mean(b)) / scale with its 1 - 2 alpha confidence interval.

    p: that the means differ by the margin or more (small: equivalent); p_beyond: that they differ by no more than it
    (small: the law has changed).
    """

    effect: float
    low: float
    high: float
    p: float
    p_beyond: float


def tost(q: Sample, b: Sample, scale: float, margin: float = 0.05, alpha: float = 0.05) -> Interval:
    """Two one-sided Welch t-tests of |mean(q) - mean(b)| < margin * scale (Schuirmann 1987).

    Passes at level alpha if and only if the 1 - 2 alpha interval lies inside the margin. `scale` is fixed before the
    samples are drawn, so that the effect is a difference of means and no ratio of random numbers.
    """
    effect = float(q.mean() - b.mean()) / scale
    vq, vb = q.var(ddof=1) / len(q) / scale**2, b.var(ddof=1) / len(b) / scale**2
    error = sqrt(vq + vb)
    if error == 0:  # both samples constant
        equal = abs(effect) < margin
        return Interval(effect, effect, effect, 0.0 if equal else 1.0, 1.0 if equal else 0.0)
    df = (vq + vb) ** 2 / (vq**2 / (len(q) - 1) + vb**2 / (len(b) - 1))
    half = student_quantile(1 - alpha, df) * error
    p = max(1 - student_cdf((effect + margin) / error, df), student_cdf((effect - margin) / error, df))
    beyond = min(1.0, 2 * (1 - student_cdf((abs(effect) - margin) / error, df)))
    return Interval(effect, effect - half, effect + half, p, beyond)


def outcomes(intervals: dict[str, Interval], margin: float, alpha: float = 0.05) -> dict[str, Outcome]:
    """Per metric: pass if its interval lies inside +-margin, fail if its effect is beyond it, else inconclusive.

    That all must pass is an intersection-union test and needs no correction. That one fails fails the law, so the
    p-values of failure are Holm-adjusted: noisy metrics alone then fail a good law in at most `alpha` of cases.
    """
    beyond = holm({name: interval.p_beyond for name, interval in intervals.items()})
    return {
        name: "pass" if -margin < i.low and i.high < margin else "fail" if beyond[name] < alpha else "inconclusive"
        for name, i in intervals.items()
    }


def members_needed(spread: float, margin: float = 0.05, power: float = 0.8, effect: float = 0.0) -> int:
    """Members per ensemble for a TOST to pass with probability `power`, by the normal approximation.

    2 (s / (margin - |effect|))^2 (z_0.95 + z_(1 - beta'))^2, beta' = beta / 2 if there is no effect (either side may
    miss), beta otherwise. spread: standard deviation of members over the scale.
    """
    room = margin - abs(effect)
    if room <= 0:
        raise ValueError(f"an effect of {effect} is not inside the margin {margin}")
    miss = (1 - power) / 2 if effect == 0 else 1 - power
    z = normal_quantile(0.95) + normal_quantile(1 - miss)
    return max(2, ceil(2 * (spread / room) ** 2 * z**2))


def power_of(spread: float, members: int, margin: float = 0.05) -> float:
    """Probability that a TOST passes when there is no effect: max(0, 2 Phi(m / se - z_0.95) - 1), se = s sqrt(2/M)."""
    if spread == 0:
        return 1.0
    reach = margin / (spread * sqrt(2 / members)) - normal_quantile(0.95)
    return max(0.0, 2 * student_cdf(reach, 1e6) - 1)


def ks(a: Sample, b: Sample) -> tuple[float, float]:
    """Two-sample Kolmogorov-Smirnov: the largest distance of the distributions, and its p (two-sided).

    Exact by counting lattice paths (Hodges 1958) when there are no more than 10^7 of them to step through; ties make it
    conservative.
    """
    both = np.concatenate([a, b])
    cdf_a, cdf_b = (np.searchsorted(np.sort(x), both, side="right") / len(x) for x in (a, b))
    d = float(np.abs(cdf_a - cdf_b).max())
    n, m = len(a), len(b)
    if n * m > TOO_MANY_PATHS:
        return d, kolmogorov_sf(d * sqrt(n * m / (n + m)))
    edge = d - 1e-10
    inside = np.abs(np.arange(n + 1)[:, None] / n - np.arange(m + 1) / m) < edge
    # probability that a random path from (0, 0) has stayed inside so far, advanced along the anti-diagonals' rows
    paths = np.zeros(m + 1)
    for i in range(n + 1):
        for j in range(m + 1):
            if not inside[i, j]:
                paths[j] = 0.0
            elif i + j == 0:
                paths[j] = 1.0
            else:  # weights make the number of paths to (n, m) one: P(step in a) = i / (i + j) seen from the end
                paths[j] = (paths[j] * i + (paths[j - 1] * j if j else 0.0)) / (i + j)
    return d, float(min(1.0, max(0.0, 1 - paths[m])))


def holm(p: dict[str, float]) -> dict[str, float]:
    """Adjusted p-values by Holm's step-down: family-wise error without assumptions on dependence."""
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[name]))
        adjusted[name] = largest
    return adjusted


def wasserstein(a: Sample, b: Sample) -> float:
    """W1 = integral |F_a - F_b| dx, in the units of the samples."""
    both = np.sort(np.concatenate([a, b]))
    cdf_a, cdf_b = (np.searchsorted(np.sort(x), both[:-1], side="right") / len(x) for x in (a, b))
    return float((np.abs(cdf_a - cdf_b) * np.diff(both)).sum())


def wasserstein_ratio(q: Sample, b: Sample, other: Sample) -> float:
    """W1(q, b) / W1(other, b), `other` a second baseline: about 1 for the same law, at most 2 is good."""
    yardstick = wasserstein(other, b)
    return wasserstein(q, b) / yardstick if yardstick else (0.0 if np.array_equal(q, b) else inf)


def energy_test(a: Sample, b: Sample, permutations: int = 999, seed: int = 0) -> tuple[float, float]:
    """Energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| of z-scored rows [M, K], and p by permuting members.

    Columns without spread are left out. Szekely & Rizzo (2004).
    """
    both = np.concatenate([a, b])
    spread = both.std(axis=0)
    z = (both - both.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    apart = np.sqrt(np.maximum(((z[:, None] - z[None]) ** 2).sum(-1), 0))
    n, m = len(a), len(b)

    def energy(order: NDArray[np.int64]) -> float:
        x, y = order[:n], order[n:]
        cross, within_x, within_y = apart[np.ix_(x, y)], apart[np.ix_(x, x)], apart[np.ix_(y, y)]
        return float(2 * cross.mean() - within_x.mean() - within_y.mean())

    observed, generator = energy(np.arange(n + m)), np.random.default_rng(seed)
    as_large = sum(energy(generator.permutation(n + m)) >= observed for _ in range(permutations))
    return observed, (1 + as_large) / (1 + permutations)


def bootstrap_excess(
    q: Sample, b: Sample, other: Sample, resamples: int = 400, seed: int = 0, alpha: float = 0.05
) -> tuple[float, float, float]:
    """Log-spectral distance of mean spectra, d(q, b) - d(other, b), with its 1 - 2 alpha percentile interval.

    Spectra float64 [M, K]; d = mean over k of |log mean(q) - log mean(b)|. A distance is positive by noise alone: the
    distance between two baselines is what it is compared with. Members are resampled.
    """

    def excess(i: NDArray[np.int64], j: NDArray[np.int64], k: NDArray[np.int64]) -> float:
        lq, lb, lo = (np.log(np.maximum(x[rows].mean(0), 1e-30)) for x, rows in ((q, i), (b, j), (other, k)))
        return float(np.abs(lq - lb).mean() - np.abs(lo - lb).mean())

    generator = np.random.default_rng(seed)
    draws = [
        excess(*(generator.integers(0, len(x), len(x)) for x in (q, b, other)))  # with replacement
        for _ in range(resamples)
    ]
    low, high = np.quantile(draws, [alpha, 1 - alpha])
    return excess(np.arange(len(q)), np.arange(len(b)), np.arange(len(other))), float(low), float(high)
