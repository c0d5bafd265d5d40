"""The fidelity gate: judges if a law in a precision still produces the same universes as in fp32."""

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
from leym.fidelity.measurement import Measurements, mean_information_flow, run_and_measure
from leym.fidelity.metrics import METRICS
from leym.fidelity.paired import compare_pairs, long_range
from leym.fidelity.stats import energy_test, holm, ks, members_needed, power_of, wasserstein_ratio
from leym.laws.bundle import Bundle
from leym.laws.verdicts import MetricVerdict, Outcome, Verdict

log = logging.getLogger(__name__)

ENGINE_SLOTS = 64  # at most, of an engine that is started for one judgement


def judge(
    bundle: Bundle, precision: str, plan: Plan | str = "standard", *, engine: EngineLike | None = None
) -> Verdict:
    """Judge a precision of a law: "pass", "fail" or "inconclusive".

    An inconclusive verdict asks for more members, not for less rigour.

    Args:
        bundle: the law.
        precision: of the candidate.
        plan: a plan, or the name of one.
        engine: started and stopped by its owner; without it, an engine runs on this machine's device.

    Raises:
        Problem: the law cannot be run at all.
    """
    plan = PLANS[plan] if isinstance(plan, str) else plan
    return judge_subject(Subject(bundle, precision, plan.gamma), bundle, plan, engine=engine)


def judge_subject(candidate: Subject, bundle: Bundle, plan: Plan, *, engine: EngineLike | None = None) -> Verdict:
    """Judge any subject (another gamma, other weights) against `bundle` in fp32; otherwise like `judge`."""
    with running_engine(engine, min(max(plan.members, plan.pilot), ENGINE_SLOTS)) as device:
        began = monotonic()
        return judge_against(device, run_baselines(device, bundle, plan), candidate, began)


def judge_against(engine: EngineLike, baselines: Baselines, candidate: Subject, began: float | None = None) -> Verdict:
    """Run the candidate's ensemble and compare it to the baselines.

    Args:
        engine: runs the universes.
        baselines: of the law.
        candidate: the subject in question.
        began: start of the whole judgement by the monotonic clock, if it began before this call.
    """
    began = monotonic() if began is None else began
    plan, baseline, reference, scales = baselines.plan, baselines.baseline, baselines.reference, baselines.scales
    # the law against itself would match bit for bit on the same seeds, so it gets seeds of its own
    seeds = plan.candidate_seeds(same=candidate == baselines.subject)
    measured, trajectories = run_and_measure(engine, candidate, seeds, plan)
    information = dict(baselines.information)
    if plan.information:
        information["candidate"] = mean_information_flow(trajectories)
    floor_outcome, floor_effect = not_below(*long_range(baselines.trajectories, trajectories), plan)
    ends, end_seeds = baselines.trajectories.ends[: plan.pairs], baseline.seeds[: plan.pairs]
    short = compare_pairs(engine, baselines.subject, candidate, ends, end_seeds, plan) if len(ends) >= 2 else None
    decision = compare(plan, scales, baseline, measured, reference)
    control, damage = baselines.control, baselines.damage
    outcome, reasons = conclude(decision, floor_outcome, floor_effect, control, damage)
    log.info("law %s in %s: %s", baselines.law.ref, candidate.precision, outcome)
    ensembles = {"baseline": baseline, "second baseline": reference, "candidate": measured}
    ranges = {"baseline": plan.seeds, "second baseline": plan.reference_seeds, "candidate": seeds}
    return Verdict(
        verdict=outcome,
        reasons=reasons,
        law=_law_payload(baselines.law, candidate),
        precision=candidate.precision,
        plan=asdict(plan),
        seeds={name: (chosen[0], chosen[-1]) for name, chosen in ranges.items()},
        metrics=metric_verdicts(plan, scales, baseline, measured, reference, decision, control),
        spectrum=decision.spectrum,
        paired=asdict(short) if short else {},
        long_range=floor_effect,
        energy=_global_test(baseline, measured, plan),
        flags={name: ensemble.flags for name, ensemble in ensembles.items()},
        controls={"baseline": {"must": "pass", "outcome": control.outcome, "reasons": control.reasons}}
        | ({"zeroed": {"must": "fail", "outcome": damage.outcome, "reasons": damage.reasons}} if damage else {}),
        curves={name: ensemble.curve for name, ensemble in ensembles.items()},
        engine={"baseline": baseline.attributes, "candidate": measured.attributes},
        versions={"python": python_version(), "torch": str(torch.__version__), "numpy": np.__version__},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=monotonic() - began,
        information=information,
        regime=asdict(baselines.regime),
        samples={
            name: {metric: [float(f"{x:.6g}") for x in sample] for metric, sample in ensemble.values.items()}
            for name, ensemble in ensembles.items()
        },
    )


def conclude(
    decision: Decision,
    floor_outcome: Outcome,
    floor: tuple[float, float, float],
    control: Decision,
    damage: Decision | None,
) -> tuple[Outcome, list[str]]:
    """Return the outcome of a judgement and its reasons.

    Fail if anything shows a change; pass if everything shows its absence and the controls behave; else inconclusive.

    Args:
        decision: the candidate against the baseline.
        floor_outcome: outcome of paired fidelity against that of unrelated members.
        floor: the effect of that comparison, as (value, low, high).
        control: baseline against baseline, which must pass.
        damage: the damaged law against the baseline, which must fail.
    """
    reasons = list(decision.reasons)
    if floor_outcome != "pass":
        reasons.append(
            f"paired fidelity against the floor of unrelated members: {floor_outcome}:"
            f" {floor[0]:+.1%} [{floor[1]:+.1%}, {floor[2]:+.1%}]"
        )
    reasons += control_problems(control, damage)
    if "fail" in (decision.outcome, floor_outcome):
        return "fail", reasons
    return ("inconclusive" if reasons else "pass"), reasons


def control_problems(control: Decision, damage: Decision | None) -> list[str]:
    """Return what the controls hold against any pass by these baselines; empty if they behave."""
    problems = []
    if control.outcome != "pass":
        problems.append(f"control: baseline against baseline is {control.outcome}: " + "; ".join(control.reasons))
    if damage is not None and damage.outcome != "fail":
        problems.append(f"control: the damaged law is {damage.outcome}, so a pass would mean little")
    return problems


def metric_verdicts(
    plan: Plan,
    scales: dict[str, float],
    baseline: Measurements,
    candidate: Measurements,
    reference: Measurements,
    decision: Decision,
    control: Decision,
) -> list[MetricVerdict]:
    """Return the row of each metric that at least two members of every ensemble have."""
    samples = {
        name: tuple(finite(ensemble.values.get(name)) for ensemble in (baseline, candidate, reference))
        for name in baseline.values
    }
    samples = {name: found for name, found in samples.items() if min(map(len, found)) >= 2}
    ks_adjusted = holm(
        {name: ks(of_candidate, of_baseline)[1] for name, (of_baseline, of_candidate, _) in samples.items()}
    )
    beyond = holm({name: i.p_beyond for name, i in decision.intervals.items() if name in plan.deciding})
    rows = []
    for name, (of_baseline, of_candidate, of_reference) in samples.items():
        own, of_control = decision.intervals[name], control.intervals[name]
        spread = float(of_reference.std(ddof=1)) / scales[name]
        rows.append(
            MetricVerdict(
                name=name,
                what=METRICS[name].what,
                deciding=name in plan.deciding,
                outcome=decision.outcomes[name],
                effect=own.effect,
                low=own.low,
                high=own.high,
                p=own.p,
                p_beyond=beyond.get(name, own.p_beyond),
                scale=scales[name],
                baseline_mean=float(of_baseline.mean()),
                baseline_sd=float(of_baseline.std(ddof=1)),
                candidate_mean=float(of_candidate.mean()),
                candidate_sd=float(of_candidate.std(ddof=1)),
                wasserstein_ratio=wasserstein_ratio(of_candidate, of_baseline, of_reference),
                ks_p=ks_adjusted[name],
                spread=spread,
                power=power_of(spread, len(of_baseline), plan.margin),
                members_needed=members_needed(spread, plan.margin),
                control=(of_control.effect, of_control.low, of_control.high),
            )
        )
    return rows


def _global_test(baseline: Measurements, candidate: Measurements, plan: Plan) -> tuple[float, float]:
    """Run the energy test on all deciding metrics at once; NaN if too few members have all of them."""
    names = tuple(name for name in plan.deciding if name in baseline.values and name in candidate.values)
    enough = names and min(baseline.members, candidate.members) >= 2
    rows = [ensemble.rows(names) for ensemble in (candidate, baseline)] if enough else []
    complete = [row[np.isfinite(row).all(1)] for row in rows]
    if not complete or min(map(len, complete)) < 2:
        return float("nan"), float("nan")
    return energy_test(complete[0], complete[1], plan.permutations)


def _law_payload(bundle: Bundle, candidate: Subject) -> dict[str, Any]:
    m = bundle.manifest
    payload = {"name": m.name, "digest": bundle.digest, "architecture": m.architecture, "form": m.form}
    payload |= {"d_state": str(m.d_state), "hidden_channels": str(m.hidden_channels)}
    if candidate.law.digest != bundle.digest:
        payload["candidate_digest"] = candidate.law.digest
    return payload
