"""Chooses among the candidates of a refinement: the one whose own universes are the most like those of the fp32 law.

    distance = max over the deciding metrics of |effect| / margin, and of the excess distance of the spectra / margin

These are the metrics of the gate, on universes of the refinement's own seeds, so that the judgement that follows does
not know the universes that the choice was made by. A loss over ten steps cannot see what a law settles to; this can.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite
from pathlib import Path
from tempfile import TemporaryDirectory

from leym.contract.fidelity_plan import Plan
from leym.fidelity.baselines import Baselines, run_baselines
from leym.fidelity.decision import Decision, compare
from leym.fidelity.ensemble import EngineLike, Subject, running_engine
from leym.fidelity.gate import ENGINE_SLOTS
from leym.fidelity.measurement import run_and_measure
from leym.laws.bundle import Bundle
from leym.training.refinement.refined import Candidate, write
from leym.training.refinement.training import OnUpdate, Refined, Settings, candidates


def refined(
    law: Bundle,
    precision: str,
    how: Settings,
    plan: Plan,
    *,
    engine: EngineLike | None = None,
    on_update: OnUpdate = lambda number, row: None,
    on_progress: Callable[[str], None] = lambda line: None,
) -> Candidate:
    """Refine a law, and return the best of its candidates; with `how.cycles` = 1, the only one.

    Args:
        law: The law.
        precision: Whose weights are refined.
        how: Settings; `how.measured` universes measure each candidate.
        plan: Of the judgement that will follow: its metrics, margin and times, with seeds and members of `how`.
        engine: Started and stopped by its owner; without it, an engine runs on this machine's device.
        on_update: As for `training.refine`.
        on_progress: Called with a line of text for every candidate.

    Raises:
        Problem: 422, the precision stores the law as it is; or the law cannot be run at all.
        ValueError: The law's universes, or the loss, do not stay finite.
    """
    found = candidates(law, precision, how, on_update=on_update)
    if how.cycles == 1:
        return Candidate(law, precision, how, next(found))
    plan = measuring(plan, how)
    with running_engine(engine, min(how.measured, ENGINE_SLOTS)) as running:
        baselines = run_baselines(running, law, plan)
        rated: list[tuple[float, Refined]] = []
        for refinement in found:
            value, worst = distance(running, baselines, Candidate(law, precision, how, refinement))
            rated.append((value, refinement))
            on_progress(f"candidate {len(rated)} of {how.cycles}: distance {value:.2f}, by {worst}")
    distances = tuple(value for value, _ in rated)
    return Candidate(law, precision, how, rated[distances.index(min(distances))][1], distances=distances)


def measuring(plan: Plan, how: Settings) -> Plan:
    """Return the plan with the members and seeds that measure candidates, without controls."""
    return plan.with_(
        members=how.measured,
        pilot=0,
        pairs=min(plan.pairs, how.measured),
        seed=how.seed + how.members,
        damage=0,
        regime_steps=0,
    )


def distance(engine: EngineLike, baselines: Baselines, candidate: Candidate) -> tuple[float, str]:
    """Return the distance of a candidate to the fp32 law, in margins, and what it is largest in."""
    with TemporaryDirectory() as folder:
        made = write(candidate, Path(folder) / "law")
        subject = Subject(made, candidate.precision, baselines.plan.gamma)
        measured, _ = run_and_measure(engine, subject, baselines.plan.seeds, baselines.plan)
    decision = compare(baselines.plan, baselines.scales, baselines.baseline, measured, baselines.reference)
    return distance_of(decision, baselines.plan)


def distance_of(decision: Decision, plan: Plan) -> tuple[float, str]:
    """Return the largest effect of a decision in margins, and its name; infinite if a metric has none."""
    effects = {name: abs(decision.intervals[name].effect) for name in plan.deciding if name in decision.intervals}
    effects["spectrum"] = decision.spectrum[0]
    worst = max(effects, key=lambda name: effects[name] if isfinite(effects[name]) else inf)
    return (effects[worst] / plan.margin if isfinite(effects[worst]) else inf), worst
