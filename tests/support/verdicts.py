"""A verdict of the fidelity gate, made up."""

from __future__ import annotations

from leym.contract.fidelity_plan import PLANS
from leym.laws.verdicts import MetricVerdict, Verdict


def a_verdict(law, precision="nf4", outcome="pass", created="2026-01-01T00:00:00+00:00"):
    row = MetricVerdict(
        "activity", "M9", True, "pass", 0.01, -0.01, 0.03, 0.001, 1.0, 0.1, 0.2, 0.01, 0.2, 0.01, 1.0, 0.5, 0.1, 0.9,
        40, (0.0, -0.01, 0.01),
    )  # fmt: skip
    return Verdict(
        verdict=outcome, reasons=[], law={"name": law.name, "digest": law.digest}, precision=precision,
        plan={"members": PLANS["small"].members}, seeds={"baseline": (0, 63)}, metrics=[row], spectrum=(0.0, 0.0, 0.0),
        paired={}, long_range=(0.0, float("nan"), 0.0), energy=(0.0, 1.0), flags={}, controls={}, curves={}, engine={},
        versions={}, created=created, seconds=1.0,
    )  # fmt: skip
