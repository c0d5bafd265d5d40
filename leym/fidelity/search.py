"""A law that few bits change: which of its weights need more of them, so that it stays the law?

Fixed before anything is run:

a. Sensitivity. For every quantised matrix, a law in which only that one is quantised, in the format that the precision
   gives it, and all others are fp32, runs an ensemble of `SCREENING` members. Its score is what its intervals leave no
   doubt of: the larger of the effects on activity and on the Lyapunov exponent, in the gate's scales, each taken at the
   end of its interval that is nearer to 0. The relative error of the first step breaks ties.
b. Order. Score per byte that the format saves against the next higher one.
c. Ladder. Rung k raises the first k weights by one format (nf4 -> int8 -> 16 bits), then the first ones again. The
   first rung that `SCREENING` members do not refuse is found by bisection; from there on the whole plan judges rung by
   rung, until one passes.
d. Every rung tried is kept, passed or not.

One pair of fp32 baselines, by the whole plan, serves everything. What passes is the smallest on this ladder, which is
not every subset of the weights. Each judgement errs at the plan's alpha: a search of n judgements by the whole plan
lets a law at the margin through with at most n alpha, so their number is kept with the law.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf, isfinite, nan
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from leym.contract.fidelity_plan import Plan
from leym.engine.device import pick_device
from leym.fidelity.baselines import Baselines, run_baselines
from leym.fidelity.ensemble import Laboratory, Subject, an_engine
from leym.fidelity.gate import judge_against, unsound
from leym.fidelity.search_ladder import HIGHER, Weight, climb, ordered, rungs
from leym.laws import versions
from leym.laws.bundle import Bundle
from leym.laws.loading import load_weights
from leym.laws.variants import with_policy
from leym.laws.verdicts import Verdict, write_verdict
from leym.quantization.policy import formats_of, policy_for, roles_of
from leym.quantization.quantized_law import encode, quantize_law

log = logging.getLogger(__name__)

SCREENING = 16  # members that order the weights and refuse rungs; far too few to pass one
Effect = tuple[float, float, float]  # value, low, high; in the gate's scales


@dataclass(frozen=True)
class Alone:
    """A weight, and what its quantisation does by itself."""

    weight: Weight
    activity: Effect
    lyapunov: Effect


@dataclass(frozen=True)
class Tried:
    """One rung. raised: key -> format; stage: "screen" or "gate"; members: of the candidate's ensemble."""

    rung: int
    raised: dict[str, str]
    bytes_at_rest: int
    stage: str
    members: int
    verdict: str
    activity: Effect
    lyapunov: Effect
    reasons: list[str]


@dataclass
class Rescue:
    """alone: in the order of the ladder; tried: as they were; ladder: rungs beside rung 0; passed: the verdict on the
    smallest rung that passes, and what each matrix has there; why_not: why no rung could have passed, in words.
    """

    law: Bundle
    precision: str
    plan: Plan
    device: str
    bytes_fp32: int
    alone: list[Alone] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)
    ladder: int = 0
    passed: tuple[Verdict, dict[str, str]] | None = None
    why_not: list[str] = field(default_factory=list)

    @property
    def judgements(self) -> int:
        """By the whole plan."""
        return sum(t.stage == "gate" for t in self.tried)


def rescue(
    law: Bundle,
    precision: str,
    plan: Plan,
    *,
    engine: Laboratory | None = None,
    told: Callable[[str], None] = log.info,
) -> Rescue:
    """Search by the method above; writes nothing. `told` hears of every ensemble.

    engine: as for `gate.judge`. Raises Problem when the law cannot be run at all.
    """
    with TemporaryDirectory() as folder, an_engine(engine, min(max(plan.members, plan.pilot), 64)) as laboratory:
        search = _Search(law, precision, laboratory, Path(folder), told)
        told("baselines of the whole plan")
        baselines = run_baselines(laboratory, law, plan)
        found = Rescue(law, precision, baselines.plan, pick_device().kind, search.bytes_fp32)
        found.why_not = unsound(baselines.control, baselines.damage)
        if not found.why_not:
            search.run(baselines, found)
    return found


def keep(found: Rescue, data: Path, name: str | None = None) -> Bundle:
    """What passed, as a version of its own in the data folder with its verdict beside it.

    If no weight had to be raised, the law itself gets the verdict. The baselines of the verdict are the law's: a
    version with the same weights has the same fp32 universes.
    """
    assert found.passed is not None
    verdict, formats = found.passed
    law = found.law
    if formats == formats_of(law, found.precision):
        write_verdict(law, verdict, data=data)
        return law
    plan = found.plan
    why = {"source": law.digest, "precision": found.precision, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    design = {"grid": list(plan.grid), "members": plan.members, "steps": plan.steps, "margin": plan.margin}
    tuned = why | {"plan": design, "judgements": found.judgements}
    policy = policy_for(law, found.precision, formats)
    with TemporaryDirectory() as work:
        made = with_policy(
            law, Path(work) / "law", found.precision, policy, name=name, provenance={"tune_precision": tuned}
        )
        said = verdict.law | {"name": made.name, "digest": made.digest, "baseline_digest": law.digest}
        said.pop("candidate_digest", None)  # it was the same law without its provenance
        write_verdict(made, replace(verdict, law=said), data=data)
        return versions.add_copy(data / "laws", made.path)[0]


class _Search:
    """The candidates of one law: derived bundles in `folder`, run by the engine like any law."""

    def __init__(
        self, law: Bundle, precision: str, engine: Laboratory, folder: Path, told: Callable[[str], None]
    ) -> None:
        self.law, self.precision, self.engine, self.folder, self.told = law, precision, engine, folder, told
        sixteen, weights = pick_device().operands, load_weights(law)
        self.formats, roles = formats_of(law, precision), roles_of(law)
        self.weights = [
            Weight(key, roles[key], form, {f: encode(f, weights[key], sixteen).nbytes for f in HIGHER})
            for key, form in self.formats.items()
            if form in HIGHER[:-1]
        ]
        self.bytes_at_rest = quantize_law(law, weights, precision, sixteen).bytes_at_rest
        self.bytes_fp32 = quantize_law(law, weights, "fp32", torch.float32).bytes_at_rest

    def run(self, baselines: Baselines, found: Rescue) -> None:
        few = min(SCREENING, baselines.plan.members)
        plan = baselines.plan.with_(members=few, pilot=0, pairs=min(baselines.plan.pairs, few))
        # the baselines keep all their members: a few of the candidate against many is better than against few
        screening = replace(baselines, plan=plan)
        alone = [self.alone(weight, screening) for weight in self.weights]
        order = ordered([a.weight for a in alone])
        found.alone = sorted(alone, key=lambda a: order.index(a.weight))
        ladder = rungs(order)
        found.ladder = len(ladder) - 1

        def judged(rung: int, against: Baselines, stage: str) -> Verdict:
            verdict = self.judged(self.formats | ladder[rung], against)
            size, members = self.size(ladder[rung]), against.plan.members
            row = Tried(rung, ladder[rung], size, stage, members, verdict.verdict, *effects(verdict), verdict.reasons)
            found.tried.append(row)
            self.told(f"rung {rung} of {found.ladder}, {size:,} B at rest, {members} members: {verdict.verdict}")
            return verdict

        def passes(rung: int) -> bool:
            verdict = judged(rung, baselines, "gate")
            if verdict.verdict == "pass":
                found.passed = verdict, self.formats | ladder[rung]
            return verdict.verdict == "pass"

        climb(found.ladder, lambda rung: judged(rung, screening, "screen").verdict == "fail", passes)

    def alone(self, weight: Weight, screening: Baselines) -> Alone:
        """Every other matrix in fp32. Only what orders the weights is run."""
        names = tuple(name for name in ("activity", "lyapunov") if name in screening.b.values)
        plan = screening.plan.with_(deciding=names, paired_steps=1, permutations=1)
        formats = dict.fromkeys(self.formats, "fp32") | {weight.key: weight.format}
        verdict = self.judged(formats, replace(screening, plan=plan))
        activity, lyapunov = effects(verdict)
        error = float(verdict.paired.get("one_step_error", nan))
        score = max(_sure(effect) for effect in (activity, lyapunov)[: len(names)])
        scored = replace(weight, score=score, error=error if isfinite(error) else inf)
        self.told(f"{weight.key} alone in {weight.format}: {scored.score:.1%} at least, first step off by {error:.2%}")
        return Alone(scored, activity, lyapunov)

    def judged(self, formats: dict[str, str], against: Baselines) -> Verdict:
        """The law itself where nothing differs from it, else a bundle of its own with another digest."""
        if formats == self.formats:
            return judge_against(self.engine, against, Subject(self.law, self.precision, against.plan.gamma))
        policy = policy_for(self.law, self.precision, formats)
        with TemporaryDirectory(dir=self.folder) as work:
            candidate = with_policy(self.law, Path(work) / "law", self.precision, policy)
            return judge_against(self.engine, against, Subject(candidate, self.precision, against.plan.gamma))

    def size(self, raised: dict[str, str]) -> int:
        by_key = {w.key: w for w in self.weights}
        return self.bytes_at_rest + sum(
            by_key[key].sizes[form] - by_key[key].sizes[by_key[key].format] for key, form in raised.items()
        )


def effects(verdict: Verdict) -> tuple[Effect, Effect]:
    """On activity and on the Lyapunov exponent; not numbers where too few members have one."""
    found = {m.name: (m.effect, m.low, m.high) for m in verdict.metrics}
    return found.get("activity", (nan,) * 3), found.get("lyapunov", (nan,) * 3)


def _sure(effect: Effect) -> float:
    """The least that the interval admits. What is no number comes of runs that broke: nothing is worse."""
    return max(0.0, effect[1], -effect[2]) if isfinite(effect[0]) else inf
