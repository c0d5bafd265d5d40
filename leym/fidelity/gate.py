"""The gate: does a law in this precision still give the same universes as in fp32?"""

from __future__ import annotations

import logging
from dataclasses import asdict
from datetime import UTC, datetime
from platform import python_version
from time import monotonic
from typing import Any

import numpy as np
import torch

from leym.contract.fidelity_plan import PLANS, Plan
from leym.fidelity.baselines import Baselines, run_baselines
from leym.fidelity.decision import Decision, compare, finite, not_below
from leym.fidelity.ensemble import EngineLike, Subject, running_engine
from leym.fidelity.measurement import Measured, flow, run_and_measure
from leym.fidelity.metrics import METRICS
from leym.fidelity.paired import long_range, paired
from leym.fidelity.stats import energy_test, holm, ks, members_needed, power_of, wasserstein_ratio
from leym.laws.bundle import Bundle
from leym.laws.verdicts import MetricVerdict, Outcome, Verdict

log = logging.getLogger(__name__)


def judge(
    bundle: Bundle, precision: str, plan: Plan | str = "standard", *, engine: EngineLike | None = None
) -> Verdict:
    """Run the plan and say "pass", "fail" or "inconclusive"; the latter asks for more members, not for less rigour.

    engine: started, and stopped by its owner; without one an engine of our own runs on this machine's device. Raises
    Problem when the law cannot be run at all.
    """
    plan = PLANS[plan] if isinstance(plan, str) else plan
    return judge_subject(Subject(bundle, precision, plan.gamma), bundle, plan, engine=engine)


def judge_subject(candidate: Subject, bundle: Bundle, plan: Plan, *, engine: EngineLike | None = None) -> Verdict:
    """As `judge`, of any subject (another gamma, other weights) against `bundle` in fp32."""
    with running_engine(engine, min(max(plan.members, plan.pilot), 64)) as device:
        began = monotonic()
        return judge_against(device, run_baselines(device, bundle, plan), candidate, began)


def judge_against(engine: EngineLike, baselines: Baselines, candidate: Subject, began: float | None = None) -> Verdict:
    """Run the candidate's ensemble and compare. `began`: of the whole judgement, by the monotonic clock."""
    began = monotonic() if began is None else began
    plan, b, other, scales = baselines.plan, baselines.b, baselines.other, baselines.scales
    # the law against itself would be paired bit for bit: it gets seeds of its own
    seeds = plan.candidate_seeds(same=candidate == baselines.subject)
    q, frames = run_and_measure(engine, candidate, seeds, plan)
    information = baselines.information | ({"candidate": flow(frames)} if plan.information else {})
    floor_outcome, floor_effect = not_below(*long_range(baselines.frames, frames), plan)
    ends = baselines.frames.ends[: plan.pairs]
    pairs = b.seeds[: plan.pairs]
    short = paired(engine, baselines.subject, candidate, ends, pairs, plan) if len(ends) >= 2 else None
    decision, control, damage = compare(plan, scales, b, q, other), baselines.control, baselines.damage
    outcome, reasons = conclude(decision, floor_outcome, floor_effect, control, damage)
    log.info("law %s in %s: %s", baselines.law.ref, candidate.precision, outcome)
    return Verdict(
        verdict=outcome,
        reasons=reasons,
        law=_law(baselines.law, candidate),
        precision=candidate.precision,
        plan=asdict(plan),
        seeds={
            name: (r[0], r[-1])
            for name, r in {"baseline": plan.seeds, "second baseline": plan.other_seeds, "candidate": seeds}.items()
        },
        metrics=metric_verdicts(plan, scales, b, q, other, decision, control),
        spectrum=decision.spectrum,
        paired=asdict(short) if short else {},
        long_range=floor_effect,
        energy=_global(b, q, plan),
        flags={"baseline": b.flags, "second baseline": other.flags, "candidate": q.flags},
        controls={"baseline": {"must": "pass", "outcome": control.outcome, "reasons": control.reasons}}
        | ({"zeroed": {"must": "fail", "outcome": damage.outcome, "reasons": damage.reasons}} if damage else {}),
        curves={"baseline": b.curve, "second baseline": other.curve, "candidate": q.curve},
        engine={"baseline": b.attributes, "candidate": q.attributes},
        versions={"python": python_version(), "torch": str(torch.__version__), "numpy": np.__version__},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=monotonic() - began,
        information=information,
        samples={
            name: {metric: [float(f"{x:.6g}") for x in sample] for metric, sample in m.values.items()}
            for name, m in {"baseline": b, "second baseline": other, "candidate": q}.items()
        },
    )


def conclude(
    decision: Decision,
    floor_outcome: Outcome,
    floor: tuple[float, float, float],
    control: Decision,
    damage: Decision | None,
) -> tuple[Outcome, list[str]]:
    """Fail if anything shows a change; pass if everything shows its absence and the controls behave; else undecided."""
    reasons = list(decision.reasons)
    if floor_outcome != "pass":
        reasons.append(
            f"paired fidelity against the floor of unrelated members: {floor_outcome}:"
            f" {floor[0]:+.1%} [{floor[1]:+.1%}, {floor[2]:+.1%}]"
        )
    reasons += unsound(control, damage)
    if "fail" in (decision.outcome, floor_outcome):
        return "fail", reasons
    return ("inconclusive" if reasons else "pass"), reasons


def unsound(control: Decision, damage: Decision | None) -> list[str]:
    """What the controls say against any pass by these baselines; empty if they behave."""
    said = []
    if control.outcome != "pass":
        said.append(f"control: baseline against baseline is {control.outcome}: " + "; ".join(control.reasons))
    if damage is not None and damage.outcome != "fail":
        said.append(f"control: the damaged law is {damage.outcome}, so a pass would mean little")
    return said


def metric_verdicts(
    plan: Plan,
    scales: dict[str, float],
    b: Measured,
    q: Measured,
    other: Measured,
    decision: Decision,
    control: Decision,
) -> list[MetricVerdict]:
    triples = {n: tuple(finite(m.values.get(n)) for m in (b, q, other)) for n in b.values}
    told = {name: x for name, x in triples.items() if min(map(len, x)) >= 2}
    adjusted = holm({name: ks(x[1], x[0])[1] for name, x in told.items()})
    beyond = holm({name: i.p_beyond for name, i in decision.intervals.items() if name in plan.deciding})
    rows = []
    for name, (xb, xq, xo) in told.items():
        i, c, spread = decision.intervals[name], control.intervals[name], float(xo.std(ddof=1)) / scales[name]
        rows.append(
            MetricVerdict(
                name=name,
                what=METRICS[name].what,
                deciding=name in plan.deciding,
                outcome=decision.outcomes[name],
                effect=i.effect,
                low=i.low,
                high=i.high,
                p=i.p,
                p_beyond=beyond.get(name, i.p_beyond),
                scale=scales[name],
                baseline_mean=float(xb.mean()),
                baseline_sd=float(xb.std(ddof=1)),
                candidate_mean=float(xq.mean()),
                candidate_sd=float(xq.std(ddof=1)),
                wasserstein_ratio=wasserstein_ratio(xq, xb, xo),
                ks_p=adjusted[name],
                spread=spread,
                power=power_of(spread, len(xb), plan.margin),
                members_needed=members_needed(spread, plan.margin),
                control=(c.effect, c.low, c.high),
            )
        )
    return rows


def _global(b: Measured, q: Measured, plan: Plan) -> tuple[float, float]:
    names = tuple(n for n in plan.deciding if n in b.values and n in q.values)
    rows = [x.rows(names) for x in (q, b)] if names and min(b.members, q.members) >= 2 else []
    clean = [x[np.isfinite(x).all(1)] for x in rows]
    if not clean or min(map(len, clean)) < 2:
        return float("nan"), float("nan")
    return energy_test(clean[0], clean[1], plan.permutations)


def _law(bundle: Bundle, candidate: Subject) -> dict[str, Any]:
    m = bundle.manifest
    said = {"name": m.name, "digest": bundle.digest, "architecture": m.architecture, "form": m.form}
    said |= {"d_state": str(m.d_state), "hidden_channels": str(m.hidden_channels)}
    if candidate.law.digest != bundle.digest:
        said["candidate_digest"] = candidate.law.digest
    return said
