"""What a candidate is compared with: two fp32 ensembles of disjoint seeds, run before any candidate is looked at.

The second one fixes the scales of all effects and shows that the procedure does not refuse the law itself; a damaged
copy of the law shows that it can refuse. All of it serves any number of candidates of one law and plan.
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
from leym.fidelity.measurement import Measured, flow, run_and_measure, scales_of
from leym.fidelity.stats import members_needed
from leym.laws.bundle import Bundle

log = logging.getLogger(__name__)

LEAST = 32  # members: with fewer, no statistic of an ensemble is worth much
POWER = 0.8  # that a candidate which changes nothing passes, metric by metric


@dataclass(frozen=True)
class Baselines:
    """b, frames: the first baseline, whose seeds a candidate shares; other: the second; control: the first against the
    second, which must pass; damage: the damaged copy against the first, which must fail (None: left out)."""

    law: Bundle
    plan: Plan
    scales: dict[str, float]
    b: Measured
    frames: Trajectories
    other: Measured
    control: Decision
    damage: Decision | None
    information: dict[str, dict[str, float]]

    @property
    def subject(self) -> Subject:
        return Subject(self.law, "fp32", self.plan.gamma)


def run_baselines(engine: EngineLike, law: Bundle, plan: Plan) -> Baselines:
    """A plan with a pilot gets its number of members from it. Raises Problem when the law cannot be run at all."""
    subject = Subject(law, "fp32", plan.gamma)
    if plan.pilot:
        plan = sized(engine, subject, plan)
    other, other_frames = run_and_measure(engine, subject, plan.other_seeds, plan)
    scales = scales_of(other, other_frames, wrap=law.manifest.boundary == "periodic")
    information = {"second baseline": flow(other_frames)} if plan.information else {}
    del other_frames
    b, frames = run_and_measure(engine, subject, plan.seeds, plan)
    if plan.information:
        information["baseline"] = flow(frames)
    control, damage = compare(plan, scales, b, other), _damaged(engine, law, plan, scales, b)
    return Baselines(law, plan, scales, b, frames, other, control, damage, information)


def sized(engine: EngineLike, subject: Subject, plan: Plan) -> Plan:
    """The plan with as many members as the spread of a pilot asks for, within [LEAST, plan.most].

    Where `most` is too few for a metric, its verdict says with which power it was tried.
    """
    pilot, frames = run_and_measure(engine, subject, plan.pilot_seeds, plan)
    scales = scales_of(pilot, frames, wrap=subject.law.manifest.boundary == "periodic")
    needed = {
        name: members_needed(float(values.std(ddof=1)) / scales[name], plan.margin, POWER)
        for name, values in pilot.values.items()
        if name in plan.deciding and len(values) >= 2
    }
    noisiest = max(needed, key=lambda name: needed[name], default="none")
    members = min(max(needed.get(noisiest, LEAST), LEAST), plan.most)
    log.info("law %s: %d members; the noisiest metric %s asks for %s", subject.law.name, members, noisiest, needed)
    return plan.with_(members=members, pairs=min(plan.pairs, members))


def _damaged(engine: EngineLike, law: Bundle, plan: Plan, scales: dict[str, float], b: Measured) -> Decision | None:
    """The law with a share of its weights set to zero, in fp32, against the baseline."""
    if not plan.damage:
        return None
    with TemporaryDirectory() as folder:
        hurt = zeroed(law, plan.damage, Path(folder) / "zeroed", seed=plan.seed)
        measured, _ = run_and_measure(engine, Subject(hurt, "fp32", plan.gamma), plan.seeds, plan)
    return compare(plan, scales, b, measured)
