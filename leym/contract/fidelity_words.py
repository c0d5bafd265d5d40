"""Says in words how much a verdict of the fidelity gate tells, and in which regime the law is."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import Any

POWER = 0.8  # of a test whose pass says much


def outcome_in_words(outcome: str, power: float | None) -> str:
    """Return the outcome; a pass by a test of little power says so.

    Args:
        outcome: "pass", "fail" or "inconclusive".
        power: smallest power of the deciding metrics; None or NaN if it is unknown.
    """
    weak = outcome == "pass" and power is not None and power < POWER  # not if it is NaN
    return f"pass, with power {power:.2f} only" if weak else outcome


def power_in_words(power: float | None, members_needed: int | None) -> str:
    """Return the smallest power of the deciding metrics and, if it is too small, what it would take.

    Returns:
        Empty if the power is unknown.
    """
    if power is None or isnan(power):
        return ""
    said = f"smallest power of the deciding metrics: {power:.2f}"
    return said if power >= POWER else f"{said}; {members_needed} members would give {POWER}"


def regime_in_words(regime: Mapping[str, Any]) -> str:
    """Return the label and its main evidence; empty without one, as in earlier verdicts.

    Args:
        regime: "label" and "evidence" of a verdict; numbers that were not measured are None or NaN.
    """
    if not regime:
        return ""
    known = {name: value for name, value in regime["evidence"].items() if value is not None and not isnan(value)}
    parts = [
        f"{title} {known[name]:.3g} [{known[f'{name}_low']:.3g}, {known[f'{name}_high']:.3g}]"
        for name, title in (("activity", "activity"), ("lyapunov", "Lyapunov exponent"))
        if f"{name}_low" in known
    ]
    parts += [
        f"{title} {known[name]:.3g}"
        for name, title in (("recurrence", "best return"), ("period", "period"), ("travel", "share that travels"))
        if name in known
    ]
    return f"regime in fp32: {regime['label']} ({', '.join(parts)})" if parts else f"regime in fp32: {regime['label']}"
