"""Baselines of a judgement: two fp32 ensembles of disjoint seeds, run before any candidate.

The second one, the reference, fixes the scales of all effects and shows that the procedure does not refuse the law
itself. A damaged copy of the law shows that the procedure can refuse. All of it serves any number of candidates of one
law and plan.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from leym.contract.fidelity_plan import Plan
from leym.fidelity.controls import zeroed
from leym.fidelity.decision import Decision, compare
from leym.fidelity.ensemble import EngineLike, Subject, Trajectories
from leym.fidelity.measurement import Measurements, mean_information_flow, run_and_measure, scales_of
from leym.fidelity.regime import Regime, regime_of
from leym.fidelity.stats import members_needed
from leym.laws.bundle import Bundle

log = logging.getLogger(__name__)

MIN_MEMBERS = 32  # with fewer, no statistic of an ensemble is worth much
POWER = 0.8  # probability, metric by metric, that a candidate which changes nothing passes


@dataclass(frozen=True)
class Baselines:
    """Two baselines of a law, and what they show about the procedure.

    Attributes:
        law: the law, run in fp32.
        plan: with the number of members that was run.
        scales: divisor of each metric's effect.
        baseline: the first ensemble, whose seeds a candidate shares.
        trajectories: the frames of the first ensemble.
        reference: the second ensemble.
        control: the first against the second, which must pass.
        damage: a damaged copy against the first, which must fail; None if the plan leaves it out.
        information: stored information and information flow per ensemble, in bits.
        regime: of the law in fp32, with its evidence.
    """

    law: Bundle
    plan: Plan
    scales: dict[str, float]
    baseline: Measurements
    trajectories: Trajectories
    reference: Measurements
    control: Decision
    damage: Decision | None
    information: dict[str, dict[str, float]]
    regime: Regime

    @property
    def subject(self) -> Subject:
        """The law as the baselines ran it."""
        return Subject(self.law, "fp32", self.plan.gamma)


def run_baselines(engine: EngineLike, law: Bundle, plan: Plan) -> Baselines:
    """Run and compare both baselines; a pilot, if the plan has one, decides the number of members.

    Raises:
        Problem: the law cannot be run at all.
    """
    subject = Subject(law, "fp32", plan.gamma)
    if plan.pilot:
        plan = sized_by_pilot(engine, subject, plan)
    reference, trajectories = run_and_measure(engine, subject, plan.reference_seeds, plan)
    scales = scales_of(reference, trajectories, wrap=law.manifest.boundary == "periodic")
    information = {"second baseline": mean_information_flow(trajectories)} if plan.information else {}
    del trajectories  # frees its memory before the next ensemble
    baseline, trajectories = run_and_measure(engine, subject, plan.seeds, plan)
    if plan.information:
        information["baseline"] = mean_information_flow(trajectories)
    control = compare(plan, scales, baseline, reference)
    damage = _damaged(engine, law, plan, scales, baseline)
    regime = regime_of(engine, subject, baseline, trajectories, plan)
    log.info("law %s in fp32: %s", law.ref, regime.label)
    return Baselines(law, plan, scales, baseline, trajectories, reference, control, damage, information, regime)


def sized_by_pilot(engine: EngineLike, subject: Subject, plan: Plan) -> Plan:
    """Return the plan with as many members as the spread of a pilot asks for, within [MIN_MEMBERS, plan.most].

    If a metric needs more than `plan.most`, its verdict shows the power that it was tested with.
    """
    pilot, trajectories = run_and_measure(engine, subject, plan.pilot_seeds, plan)
    scales = scales_of(pilot, trajectories, wrap=subject.law.manifest.boundary == "periodic")
    needed = {
        name: members_needed(float(values.std(ddof=1)) / scales[name], plan.margin, POWER)
        for name, values in pilot.values.items()
        if name in plan.deciding and len(values) >= 2
    }
    noisiest = max(needed, key=lambda name: needed[name], default="none")
    members = min(max(needed.get(noisiest, MIN_MEMBERS), MIN_MEMBERS), plan.most)
    log.info("law %s: %d members; the noisiest metric %s asks for %s", subject.law.name, members, noisiest, needed)
    return plan.with_(members=members, pairs=min(plan.pairs, members))


def _damaged(
    engine: EngineLike, law: Bundle, plan: Plan, scales: dict[str, float], baseline: Measurements
) -> Decision | None:
    """Compare the law with a share of its weights set to zero, in fp32, to the baseline."""
    if not plan.damage:
        return None
    with TemporaryDirectory() as folder:
        damaged = zeroed(law, plan.damage, Path(folder) / "zeroed", seed=plan.seed)
        measured, _ = run_and_measure(engine, Subject(damaged, "fp32", plan.gamma), plan.seeds, plan)
    return compare(plan, scales, baseline, measured)
