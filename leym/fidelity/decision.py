"""Decides the outcome of a comparison of ensembles, without running anything."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from leym.contract.fidelity_plan import Plan
from leym.fidelity.measurement import Measurements
from leym.fidelity.stats import Interval, Outcome, Sample, bootstrap_excess, outcomes, tost

ALIVE = 0.9  # share of baseline members that must be free of flags, else the outcome is inconclusive
UNKNOWN = Interval(nan, nan, nan, 1.0, 1.0)


@dataclass(frozen=True)
class Decision:
    """The outcome of a comparison.

    Attributes:
        outcome: of the whole comparison.
        intervals: effect and interval per metric.
        outcomes: outcome per metric.
        spectrum: excess log-spectral distance, as (value, low, high).
        reasons: why the outcome is not "pass", in words.
    """

    outcome: Outcome
    intervals: dict[str, Interval]
    outcomes: dict[str, Outcome]
    spectrum: tuple[float, float, float]
    reasons: list[str]


def compare(
    plan: Plan,
    scales: dict[str, float],
    baseline: Measurements,
    candidate: Measurements,
    reference: Measurements | None = None,
) -> Decision:
    """Decide if the candidate is the same law as the baseline.

    Args:
        plan: margin, level, and the metrics that decide.
        scales: divisor of each metric's effect.
        baseline: the first baseline.
        candidate: the ensemble in question.
        reference: the second baseline, the yardstick of the spectra; without it, spectra are not compared.
    """
    new_flags = sorted(candidate.flags.keys() - baseline.flags.keys())
    intervals = {name: interval(plan, scales[name], baseline, candidate, name) for name in baseline.values}
    deciding = {name: i for name, i in intervals.items() if name in plan.deciding}
    reported = {name: i for name, i in intervals.items() if name not in plan.deciding}
    decided = outcomes(deciding, plan.margin, plan.alpha) | outcomes(reported, plan.margin, plan.alpha)
    reasons = [
        f"flag {flag}: {candidate.flags[flag]} of the candidate's members, none of the baseline's" for flag in new_flags
    ]
    reasons += [describe(name, intervals[name], decided[name], plan) for name in deciding if decided[name] != "pass"]
    spectrum, spectrum_outcome = (0.0, 0.0, 0.0), "pass"
    if reference is not None and min(ensemble.members for ensemble in (baseline, candidate, reference)) >= 2:
        spectrum = bootstrap_excess(candidate.spectra, baseline.spectra, reference.spectra, alpha=plan.alpha)
        spectrum_outcome = one_sided(*spectrum[1:], plan.margin)
        if spectrum_outcome != "pass":
            reasons.append(
                f"spectrum: {spectrum_outcome}: log-spectral distance above that of two baselines in"
                f" [{spectrum[1]:+.3f}, {spectrum[2]:+.3f}], margin {plan.margin}"
            )
    found = {spectrum_outcome, *(decided[name] for name in deciding)}
    outcome: Outcome = "fail" if new_flags or "fail" in found else "inconclusive" if "inconclusive" in found else "pass"
    flagged = max(baseline.flags.values(), default=0)
    if outcome != "fail" and flagged > (1 - ALIVE) * max(baseline.members, 1):
        outcome = "inconclusive"
        reasons.append(f"the baseline is not alive ({baseline.flags}): a fixed point passes everything")
    return Decision(outcome, intervals, decided, spectrum, reasons)


def interval(plan: Plan, scale: float, baseline: Measurements, candidate: Measurements, metric: str) -> Interval:
    """Run the TOST of one metric over the members that have it."""
    samples = [finite(ensemble.values.get(metric)) for ensemble in (candidate, baseline)]
    if min(map(len, samples)) < 2:
        return UNKNOWN
    return tost(samples[0], samples[1], scale, plan.margin, plan.alpha)


def finite(sample: Sample | None) -> NDArray[np.float64]:
    """Return the finite values of a sample; none of None."""
    return np.zeros(0) if sample is None else sample[np.isfinite(sample)]


def one_sided(low: float, high: float, margin: float) -> Outcome:
    """Decide for a distance with the interval [low, high] that must not exceed the margin."""
    return "pass" if high < margin else "fail" if low > margin else "inconclusive"


def not_below(fidelity: Sample, floor: Sample, plan: Plan) -> tuple[Outcome, tuple[float, float, float]]:
    """Decide if the fidelity F of equal seeds in two laws falls below that of unrelated members of one law.

    The effect is (F - floor) / max(1 - floor, 0.1). Below the floor the law itself has moved, not only the trajectory.

    Args:
        fidelity: F per pair of equal seeds, float64 [M].
        floor: F per pair of unrelated members, float64 [N].
        plan: margin and level.

    Returns:
        The outcome, and the effect with its interval.
    """
    if min(len(fidelity), len(floor)) < 2:
        return "inconclusive", (nan, nan, nan)
    i = tost(fidelity, floor, max(1 - float(floor.mean()), 0.1), plan.margin, plan.alpha)
    outcome: Outcome = "pass" if i.low > -plan.margin else "fail" if i.high < -plan.margin else "inconclusive"
    return outcome, (i.effect, i.low, i.high)


def describe(metric: str, i: Interval, outcome: Outcome, plan: Plan) -> str:
    """Write the outcome of a metric as a reason."""
    return f"{metric}: {outcome}: effect {i.effect:+.1%} [{i.low:+.1%}, {i.high:+.1%}], margin {plan.margin:.0%}"
