"""From ensembles to an outcome: the statistics of a verdict, without running anything."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from leym.contract.fidelity_plan import Plan
from leym.fidelity.measurement import Measured, Sample
from leym.fidelity.stats import Interval, Outcome, bootstrap_excess, outcomes, tost

ALIVE = 0.9  # share of baseline members that must be free of flags, or nothing can be told
UNKNOWN = Interval(nan, nan, nan, 1.0, 1.0)


@dataclass(frozen=True)
class Decision:
    """intervals, outcomes: per metric; spectrum: excess log-spectral distance, (value, low, high); reasons: words."""

    outcome: Outcome
    intervals: dict[str, Interval]
    outcomes: dict[str, Outcome]
    spectrum: tuple[float, float, float]
    reasons: list[str]


def compare(plan: Plan, scales: dict[str, float], b: Measured, q: Measured, other: Measured | None = None) -> Decision:
    """Is q the same law as b? `other`: a second baseline, the yardstick of the spectra (left out without one)."""
    new = sorted(q.flags.keys() - b.flags.keys())
    intervals = {name: interval(plan, scales[name], b, q, name) for name in b.values}
    deciding = {name: i for name, i in intervals.items() if name in plan.deciding}
    decided = outcomes(deciding, plan.margin, plan.alpha)
    rest = {name: i for name, i in intervals.items() if name not in plan.deciding}
    decided |= outcomes(rest, plan.margin, plan.alpha)
    reasons = [f"flag {flag}: {q.flags[flag]} of the candidate's members, none of the baseline's" for flag in new]
    reasons += [say(name, intervals[name], decided[name], plan) for name in deciding if decided[name] != "pass"]
    spectrum, shape = (0.0, 0.0, 0.0), "pass"
    if other is not None and min(x.members for x in (b, q, other)) >= 2:
        excess = bootstrap_excess(q.spectra, b.spectra, other.spectra, alpha=plan.alpha)
        spectrum, shape = excess, one_sided(*excess[1:], plan.margin)
        if shape != "pass":
            reasons.append(
                f"spectrum: {shape}: log-spectral distance above that of two baselines in"
                f" [{excess[1]:+.3f}, {excess[2]:+.3f}], margin {plan.margin}"
            )
    found = {shape, *(decided[name] for name in deciding)}
    outcome: Outcome = "fail" if new or "fail" in found else "inconclusive" if "inconclusive" in found else "pass"
    if outcome != "fail" and b.flags and max(b.flags.values()) > (1 - ALIVE) * max(b.members, 1):
        outcome = "inconclusive"
        reasons.append(f"the baseline is not alive ({b.flags}): a fixed point passes everything")
    return Decision(outcome, intervals, decided, spectrum, reasons)


def interval(plan: Plan, scale: float, b: Measured, q: Measured, name: str) -> Interval:
    """TOST of one metric over the members that have it."""
    samples = [finite(x.values.get(name)) for x in (q, b)]
    if min(map(len, samples)) < 2:
        return UNKNOWN
    return tost(samples[0], samples[1], scale, plan.margin, plan.alpha)


def finite(sample: Sample | None) -> NDArray[np.float64]:
    return np.zeros(0) if sample is None else sample[np.isfinite(sample)]


def one_sided(low: float, high: float, margin: float) -> Outcome:
    """Of a distance that must not exceed the margin."""
    return "pass" if high < margin else "fail" if low > margin else "inconclusive"


def not_below(fidelity: Sample, floor: Sample, plan: Plan) -> tuple[Outcome, tuple[float, float, float]]:
    """Fidelity of equal seeds in two laws against that of unrelated members of one: float64 [M] each.

    Effect = (F - floor) / max(1 - floor, 0.1). Below the floor the law itself has moved, not just the trajectory.
    """
    if min(len(fidelity), len(floor)) < 2:
        return "inconclusive", (nan, nan, nan)
    i = tost(fidelity, floor, max(1 - float(floor.mean()), 0.1), plan.margin, plan.alpha)
    outcome: Outcome = "pass" if i.low > -plan.margin else "fail" if i.high < -plan.margin else "inconclusive"
    return outcome, (i.effect, i.low, i.high)


def say(name: str, i: Interval, outcome: Outcome, plan: Plan) -> str:
    return f"{name}: {outcome}: effect {i.effect:+.1%} [{i.low:+.1%}, {i.high:+.1%}], margin {plan.margin:.0%}"
