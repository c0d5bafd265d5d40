"""Statistics of a verdict: equivalence tests of means, and diagnostic comparisons of two samples.

The unit is a member (a whole run): samples are float64 [M], one number per member, or [M, K] for K metrics. Absence of
a significant difference is no evidence of equality, so the decision rests on two one-sided tests (TOST); everything
else is diagnosis.

scipy provides the distributions, the Kolmogorov-Smirnov test and the Wasserstein distance. It has no TOST, no Holm
correction, no power of an equivalence test and no energy test of vectors, so those are here. The bootstrap stays here
too: `scipy.stats.bootstrap` draws its resamples in another order, which would change published intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform
from scipy.special import ndtr, ndtri, stdtr, stdtrit
from scipy.stats import ks_2samp, wasserstein_distance

Sample = NDArray[np.float64]
Outcome = Literal["pass", "fail", "inconclusive"]
FAINT = 1e-6  # share of the energy below which a wavenumber is not compared


@dataclass(frozen=True)
class Interval:
    """An effect, (mean(candidate) - mean(baseline)) / scale, with its 1 - 2 alpha confidence interval.

    Attributes:
        effect: the effect, dimensionless.
        low: lower end of the interval.
        high: upper end of the interval.
        p: p-value of "the means differ by the margin or more"; small values show equivalence.
        p_beyond: p-value of "the means differ by no more than the margin"; small values show that the law has changed.
    """

    effect: float
    low: float
    high: float
    p: float
    p_beyond: float


def tost(candidate: Sample, baseline: Sample, scale: float, margin: float = 0.05, alpha: float = 0.05) -> Interval:
    """Run two one-sided Welch t-tests of |mean(candidate) - mean(baseline)| < margin * scale (Schuirmann 1987).

    The test passes at level alpha if and only if the 1 - 2 alpha interval lies inside the margin.

    Args:
        candidate: float64 [M], M >= 2.
        baseline: float64 [N], N >= 2.
        scale: divisor of the effect, in the units of the samples. It is fixed before the samples are drawn, so that
            the effect is a difference of means and not a ratio of two random numbers.
        margin: largest effect that counts as equal.
        alpha: level of each one-sided test.
    """
    effect = float(candidate.mean() - baseline.mean()) / scale
    candidate_variance = candidate.var(ddof=1) / len(candidate) / scale**2
    baseline_variance = baseline.var(ddof=1) / len(baseline) / scale**2
    error = sqrt(candidate_variance + baseline_variance)
    if error == 0:  # both samples are constant
        equal = abs(effect) < margin
        return Interval(effect, effect, effect, 0.0 if equal else 1.0, 1.0 if equal else 0.0)
    df = (candidate_variance + baseline_variance) ** 2 / (  # Welch-Satterthwaite
        candidate_variance**2 / (len(candidate) - 1) + baseline_variance**2 / (len(baseline) - 1)
    )
    half = float(stdtrit(df, 1 - alpha)) * error
    p = max(float(stdtr(df, -(effect + margin) / error)), float(stdtr(df, (effect - margin) / error)))
    beyond = min(1.0, 2 * float(stdtr(df, -(abs(effect) - margin) / error)))
    return Interval(effect, effect - half, effect + half, p, beyond)


def outcomes(intervals: dict[str, Interval], margin: float, alpha: float = 0.05) -> dict[str, Outcome]:
    """Decide each metric: pass if its interval lies inside ±margin, fail if its effect is beyond it, else inconclusive.

    A law passes only if all metrics pass: an intersection-union test, which needs no correction. A law fails if one
    metric fails, so the p-values of failure are Holm-adjusted: noisy metrics alone then fail a good law in at most
    `alpha` of cases.
    """
    beyond = holm({name: interval.p_beyond for name, interval in intervals.items()})
    return {
        name: "pass" if -margin < i.low and i.high < margin else "fail" if beyond[name] < alpha else "inconclusive"
        for name, i in intervals.items()
    }


def members_needed(spread: float, margin: float = 0.05, power: float = 0.8, effect: float = 0.0) -> int:
    """Return the members per ensemble that a TOST needs to pass with probability `power` (normal approximation).

    M = 2 (spread / (margin - |effect|))^2 (z_0.95 + z_(1 - beta'))^2 with beta = 1 - power; beta' = beta / 2 without an
    effect, when the interval may miss on either side, and beta otherwise.

    Args:
        spread: standard deviation of members divided by the scale.
        margin: largest effect that counts as equal.
        power: probability of a pass.
        effect: the true effect.

    Raises:
        ValueError: the effect is not inside the margin.
    """
    room = margin - abs(effect)
    if room <= 0:
        raise ValueError(f"an effect of {effect} is not inside the margin {margin}")
    miss = (1 - power) / 2 if effect == 0 else 1 - power
    z = float(ndtri(0.95) + ndtri(1 - miss))
    return max(2, ceil(2 * (spread / room) ** 2 * z**2))


def power_of(spread: float, members: int, margin: float = 0.05) -> float:
    """Return the probability that a TOST passes without an effect (normal approximation).

    max(0, 2 Phi(margin / error - z_0.95) - 1) with error = spread * sqrt(2 / members).
    """
    if spread == 0:
        return 1.0
    reach = margin / (spread * sqrt(2 / members)) - ndtri(0.95)
    return max(0.0, 2 * float(ndtr(reach)) - 1)


def ks(a: Sample, b: Sample) -> tuple[float, float]:
    """Return the statistic and the two-sided p-value of the two-sample Kolmogorov-Smirnov test.

    The p-value is exact for samples of up to 10,000; ties make it conservative.
    """
    found = ks_2samp(a, b)
    return float(found.statistic), float(found.pvalue)


def holm(p: dict[str, float]) -> dict[str, float]:
    """Adjust p-values by Holm's step-down method, which bounds the family-wise error under any dependence."""
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[name]))
        adjusted[name] = largest
    return adjusted


def wasserstein(a: Sample, b: Sample) -> float:
    """Return the Wasserstein distance W1 = integral |F_a - F_b| dx, in the units of the samples."""
    return float(wasserstein_distance(a, b))


def wasserstein_ratio(candidate: Sample, baseline: Sample, reference: Sample) -> float:
    """Return W1(candidate, baseline) / W1(reference, baseline): about 1 for the same law, at most 2 is good.

    `reference` is a second baseline of the same law.
    """
    yardstick = wasserstein(reference, baseline)
    if yardstick:
        return wasserstein(candidate, baseline) / yardstick
    return 0.0 if np.array_equal(candidate, baseline) else inf


def energy_test(a: Sample, b: Sample, permutations: int = 999, seed: int = 0) -> tuple[float, float]:
    """Return the energy distance of two samples of vectors, and its p-value by permuting members.

    2 E|X - Y| - E|X - X'| - E|Y - Y'| of z-scored rows, with Euclidean norms (Szekely & Rizzo 2004). Columns without
    spread are left out.

    Args:
        a: float64 [M, K].
        b: float64 [N, K].
        permutations: number of random permutations.
        seed: decides the permutations.
    """
    both = np.concatenate([a, b])
    spread = both.std(axis=0)
    z_scores = (both - both.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    apart = squareform(pdist(z_scores))
    size, total = len(a), len(both)

    def energy(order: NDArray[np.int64]) -> float:
        x, y = order[:size], order[size:]
        cross, within_x, within_y = apart[np.ix_(x, y)], apart[np.ix_(x, x)], apart[np.ix_(y, y)]
        return float(2 * cross.mean() - within_x.mean() - within_y.mean())

    observed, generator = energy(np.arange(total)), np.random.default_rng(seed)
    as_large = sum(energy(generator.permutation(total)) >= observed for _ in range(permutations))
    return observed, (1 + as_large) / (1 + permutations)


def bootstrap_excess(
    candidate: Sample, baseline: Sample, reference: Sample, resamples: int = 400, seed: int = 0, alpha: float = 0.05
) -> tuple[float, float, float]:
    """Return how much farther the candidate's mean spectrum lies from the baseline's than the reference's does.

    The excess is d(candidate, baseline) - d(reference, baseline), where d is the mean over k of the absolute difference
    of the logarithms of both mean spectra, each with FAINT of its sum added to every E(k): in a smooth field, what is
    fainter is the rounding of 16-bit operands (2^-9 of a number, so 4e-6 of its power), and no picture shows it. A
    distance is positive by noise alone, so the distance between two baselines is the yardstick.

    Args:
        candidate: spectra of the candidate, float64 [M, K].
        baseline: spectra of the first baseline, float64 [N, K].
        reference: spectra of the second baseline, float64 [L, K].
        resamples: number of bootstrap resamples of members.
        seed: decides the resamples.
        alpha: the interval has the confidence 1 - 2 alpha.

    Returns:
        The excess and the ends of its percentile interval.
    """
    samples = (candidate, baseline, reference)

    def excess(rows: list[NDArray[np.int64]]) -> float:
        means = [sample[chosen].mean(0) for sample, chosen in zip(samples, rows, strict=True)]
        logs = [np.log(mean + max(FAINT * mean.sum(), 1e-30)) for mean in means]
        return float(np.abs(logs[0] - logs[1]).mean() - np.abs(logs[2] - logs[1]).mean())

    generator = np.random.default_rng(seed)
    draws = [
        excess([generator.integers(0, len(sample), len(sample)) for sample in samples])  # with replacement
        for _ in range(resamples)
    ]
    low, high = np.quantile(draws, [alpha, 1 - alpha])
    return excess([np.arange(len(sample)) for sample in samples]), float(low), float(high)
