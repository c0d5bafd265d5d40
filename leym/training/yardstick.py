"""Measures how far a law under stored codes is from fp32, by the metrics of the gate.

    distance = max over the deciding metrics of |effect| / margin, and of the excess distance of the spectra / margin

The universes are ones that no judgement uses, so that a choice by this distance does not favour the law that is judged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite, nan
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from leym.contract.fidelity_plan import Plan
from leym.fidelity.baselines import run_baselines
from leym.fidelity.decision import Decision, compare, finite
from leym.fidelity.ensemble import EngineLike, Subject
from leym.fidelity.measurement import Measurements, run_and_measure
from leym.fidelity.stats import Sample
from leym.laws.bundle import Bundle

TINY = 1e-12  # power of a bin that counts as none


@dataclass(frozen=True)
class Measured:
    """Holds what an ensemble of universes under some codes says about them.

    Attributes:
        distance: To fp32, in margins: the largest effect.
        worst: The name of what is largest.
        effects: Of all metrics and of the spectrum's shape, in margins, float64 [E].
    """

    distance: float
    worst: str
    effects: NDArray[np.float64]


class Yardstick:
    """Two fp32 ensembles of a law, which draws are measured against."""

    def __init__(self, engine: EngineLike, law: Bundle, plan: Plan, *, members: int, seed: int) -> None:
        """Run the two ensembles.

        Args:
            engine: Started and stopped by its owner.
            law: The law.
            plan: Of the judgement that will follow: its metrics, margin and times.
            members: Universes of each ensemble, and of those that are measured.
            seed: Of the first; `3 * members` seeds are used.
        """
        self._engine = engine
        plan = plan.with_(members=members, pilot=0, pairs=min(plan.pairs, members), seed=seed, damage=0, regime_steps=0)
        self._baselines = run_baselines(engine, law, plan)

    def measure(self, write: Callable[[Path], Bundle], precision: str) -> Measured:
        """Return the distance to fp32 of the law that `write` writes, and its effects against both ensembles."""
        base, plan = self._baselines, self._baselines.plan
        with TemporaryDirectory() as folder:
            subject = Subject(write(Path(folder) / "law"), precision, plan.gamma)
            found, _ = run_and_measure(self._engine, subject, plan.seeds, plan)
        decision = compare(plan, base.scales, base.baseline, found, base.reference)
        return Measured(*distance_of(decision, plan), self._effects(found))

    def _effects(self, found: Measurements) -> NDArray[np.float64]:
        """Return the effects on the deciding metrics, then on each bin of the logarithm of the spectrum, in margins.

        The mean of both ensembles is the yardstick: it is nearer to the truth than that of one.
        """
        base, plan = self._baselines, self._baselines.plan
        pair = (base.baseline, base.reference)
        effects = [
            (mean(found.values[name]) - np.mean([mean(one.values[name]) for one in pair])) / base.scales[name]
            for name in plan.deciding
        ]
        usual = np.mean([one.spectra.mean(0) for one in pair], axis=0)
        bins = np.log(np.maximum(found.spectra.mean(0), TINY) / np.maximum(usual, TINY)) / np.sqrt(len(usual))
        return np.array([*effects, *bins]) / plan.margin


def distance_of(decision: Decision, plan: Plan) -> tuple[float, str]:
    """Return the largest effect of a decision in margins, and its name; infinite if a metric has none."""
    effects = {name: abs(decision.intervals[name].effect) for name in plan.deciding if name in decision.intervals}
    effects["spectrum"] = decision.spectrum[0]
    worst = max(effects, key=lambda name: effects[name] if isfinite(effects[name]) else inf)
    return (effects[worst] / plan.margin if isfinite(effects[worst]) else inf), worst


def mean(sample: Sample) -> float:
    """Return the mean of the finite values of a sample; NaN of none."""
    kept = finite(sample)
    return float(kept.mean()) if len(kept) else nan
