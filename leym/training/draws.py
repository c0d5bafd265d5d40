"""Chooses among several draws of a law's four-bit codes: the one whose own universes are most like those in fp32.

    distance = max over the deciding metrics of |effect| / margin, and of the excess distance of the spectra / margin

Rounding is chaotic: other calibration universes, or another order of updates, give other codes of the same one-step
error, and what their law settles to differs by several per cent. No loss over a few steps can see that. The metrics of
the gate can, on universes that no judgement uses, so that the choice does not favour the law that is judged.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite
from pathlib import Path
from tempfile import TemporaryDirectory

from leym.contract.fidelity_plan import Plan
from leym.fidelity.baselines import run_baselines
from leym.fidelity.decision import Decision, compare
from leym.fidelity.ensemble import EngineLike, Subject
from leym.fidelity.measurement import run_and_measure
from leym.laws.bundle import Bundle


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

    def distance(self, write: Callable[[Path], Bundle], precision: str) -> tuple[float, str]:
        """Return the distance to fp32 of the law that `write` writes, in margins, and what it is largest in."""
        plan = self._baselines.plan
        with TemporaryDirectory() as folder:
            subject = Subject(write(Path(folder) / "law"), precision, plan.gamma)
            measured, _ = run_and_measure(self._engine, subject, plan.seeds, plan)
        base = self._baselines
        return distance_of(compare(plan, base.scales, base.baseline, measured, base.reference), plan)


def distance_of(decision: Decision, plan: Plan) -> tuple[float, str]:
    """Return the largest effect of a decision in margins, and its name; infinite if a metric has none."""
    effects = {name: abs(decision.intervals[name].effect) for name in plan.deciding if name in decision.intervals}
    effects["spectrum"] = decision.spectrum[0]
    worst = max(effects, key=lambda name: effects[name] if isfinite(effects[name]) else inf)
    return (effects[worst] / plan.margin if isfinite(effects[worst]) else inf), worst


def check_draws(draws: int, measured: int) -> None:
    """Check the settings of a choice.

    Raises:
        ValueError: There is no draw, or too few universes measure them.
    """
    if draws < 1:
        raise ValueError(f"draws = {draws} is below 1")
    if measured < 2:
        raise ValueError(f"measured = {measured} is below 2")
