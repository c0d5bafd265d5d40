"""Renders one verdict as one HTML file that loads nothing else. Torch-free."""

from __future__ import annotations

from math import isfinite, nan
from typing import Any

from markupsafe import Markup

from leym.contract.fidelity_words import outcome_in_words, power_in_words, regime_in_words
from leym.laws.verdicts import Verdict
from leym.reports.plots import COLOURS, curves, interval_bar, strips
from leym.reports.rendering import render

MEANING = {
    "pass": "Every deciding interval lies inside the margin and the controls behave: it may be served as the law.",
    "fail": "The law has changed by more than the margin: this precision is another law.",
    "inconclusive": "Neither equality nor a change was shown: it takes more members, longer averages or a larger grid.",
}


def report(verdict: Verdict) -> str:
    """Return the page: outcome, metrics with intervals against the margin, distributions, dynamics, design."""
    seeds = {f"seeds, {ensemble}": f"{first} to {last}" for ensemble, (first, last) in verdict.seeds.items()}
    attributes = {
        f"{ensemble}: {key}": value for ensemble, known in verdict.engine.items() for key, value in known.items()
    }
    return render(
        "verdict.html",
        verdict=verdict,
        meaning=MEANING[verdict.verdict],
        colours=COLOURS,
        interval_bar=interval_bar,
        distributions=_distributions(verdict),
        time_plots=_time_plots(verdict),
        flags="; ".join(f"{ensemble}: {flags}" for ensemble, flags in verdict.flags.items() if flags),
        summary=[*filter(None, _summary(verdict))],
        evidence={name: f"{value:.4g}" for name, value in verdict.regime.get("evidence", {}).items()},
        design={key: _plain(value) for key, value in (verdict.plan | seeds).items()},
        computed_by={key: _plain(value) for key, value in (attributes | verdict.versions).items()},
    )


def _summary(verdict: Verdict) -> tuple[str, ...]:
    outcome = outcome_in_words(verdict.verdict, verdict.power)
    power = power_in_words(verdict.power, verdict.members_needed)
    return "" if outcome == verdict.verdict else outcome, power, regime_in_words(verdict.regime)


def _distributions(verdict: Verdict) -> list[dict[str, Any]]:
    """Return a row per metric: its members as ticks, their least and their greatest value."""
    rows = []
    for metric in verdict.metrics:
        samples = {
            ensemble: [nan if value is None else value for value in metrics[metric.name]]
            for ensemble, metrics in verdict.samples.items()
            if metric.name in metrics
        }
        values = [value for sample in samples.values() for value in sample if isfinite(value)]
        if values:
            least, greatest = f"{min(values):.4g}", f"{max(values):.4g}"
            rows.append({"name": metric.name, "plot": strips(samples, 420), "least": least, "greatest": greatest})
    return rows


def _time_plots(verdict: Verdict) -> list[Markup]:
    """Plot the memory of each ensemble and, where paired runs were made, their fidelity."""
    every, paired = verdict.plan["every"], verdict.paired
    memory = {name: ([i * every for i in range(len(curve))], curve) for name, curve in verdict.curves.items()}
    plots = [curves(memory, "A(τ), τ in steps")]
    if paired.get("steps"):
        lines = {"candidate": (paired["steps"], paired["fidelity"]), "floor": (paired["steps"], paired["floor"])}
        plots.append(curves(lines, "paired fidelity F(t), steps from a common state"))
    return plots


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
