"""Searches which weights of a law need more bits, so that a low precision is still the same law.

The method is fixed before anything is run:

a. Sensitivity. For every quantised matrix, a law in which only that matrix is quantised (in the format that the
   precision gives it) and all others are fp32 makes `stability.STEPS` steps from states on the attractor, beside the
   law in which none is. `stability` scores how far the two stray. No gate is run for a single matrix.
b. Order. Score per byte that the format saves against the next higher format.
c. Ladder. Rung k raises the first k weights by one format (nf4 -> int8 -> 16 bits), then the first ones again. A
   bisection finds the first rung that `SCREENING` members do not refuse; from there on the whole plan judges rung by
   rung, until one passes.
d. Every rung that was tried is recorded, passed or not.

One pair of fp32 baselines, by the whole plan, serves all candidates. The result is the smallest law on this ladder that
passes; other subsets of the weights are not tried. Each judgement errs at the plan's alpha, so a search of n judgements
by the whole plan accepts a law at the margin with a probability of at most n alpha; n is stored with the law.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from leym.contract.fidelity_plan import Plan
from leym.engine.device import pick_device
from leym.fidelity.baselines import Baselines, run_baselines
from leym.fidelity.ensemble import EngineLike, Subject, running_engine
from leym.fidelity.gate import ENGINE_SLOTS, control_problems, judge_against
from leym.fidelity.search_ladder import HIGHER, Weight, climb, ordered, rungs
from leym.fidelity.stability import Rollouts, Stability
from leym.laws import versions
from leym.laws.bundle import Bundle
from leym.laws.loading import load_weights
from leym.laws.variants import write_variant
from leym.laws.verdicts import Verdict, write_verdict
from leym.quantization.policy import formats_of, policy_for, roles_of, unchanged
from leym.quantization.quantized_law import encode, quantize_law

log = logging.getLogger(__name__)

SCREENING = 16  # members that refuse rungs; far too few to pass one
Effect = tuple[float, float, float]  # value, low, high; in the gate's scales


@dataclass(frozen=True)
class Sensitivity:
    """A weight, and what quantising only this one does to rollouts."""

    weight: Weight
    stability: Stability


@dataclass(frozen=True)
class Candidate:
    """A rung that was tried.

    Attributes:
        rung: number of the rung; 0 raises nothing.
        raised: format of each raised weight, by key.
        bytes_at_rest: of all weights.
        stage: "screen" or "gate".
        members: of the candidate's ensemble.
        verdict: "pass", "fail" or "inconclusive".
        activity: effect on activity.
        lyapunov: effect on the Lyapunov exponent.
        reasons: why the verdict is not "pass".
    """

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
class SearchResult:
    """The result of a precision search.

    Attributes:
        law: the law.
        precision: that was tuned.
        plan: with the number of members that was run.
        device: that the search ran on.
        bytes_fp32: bytes at rest of the law in fp32.
        sensitivities: in the order of the ladder.
        candidates: in the order in which they were tried.
        last_rung: number of the last rung of the ladder.
        passed: verdict on the smallest rung that passes and the format of each matrix there; None if no rung passes.
        why_not: why no rung could have passed, in words.
    """

    law: Bundle
    precision: str
    plan: Plan
    device: str
    bytes_fp32: int
    sensitivities: list[Sensitivity] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    last_rung: int = 0
    passed: tuple[Verdict, dict[str, str]] | None = None
    why_not: list[str] = field(default_factory=list)

    @property
    def judgements(self) -> int:
        """Number of judgements by the whole plan."""
        return sum(candidate.stage == "gate" for candidate in self.candidates)


def search_precision(
    law: Bundle,
    precision: str,
    plan: Plan,
    *,
    engine: EngineLike | None = None,
    on_progress: Callable[[str], None] = log.info,
) -> SearchResult:
    """Search the smallest law that passes, by the method above; write nothing.

    Args:
        law: the law.
        precision: the precision to tune, "nf4" or "int8".
        plan: of the baselines and of every judgement.
        engine: started and stopped by its owner; without it, an engine runs on this machine's device.
        on_progress: called with a line of text for every ensemble.

    Raises:
        Problem: the law cannot be run at all.
    """
    slots = min(max(plan.members, plan.pilot), ENGINE_SLOTS)
    with TemporaryDirectory() as folder, running_engine(engine, slots) as running:
        search = _Search(law, precision, running, Path(folder), on_progress)
        on_progress("baselines of the whole plan")
        baselines = run_baselines(running, law, plan)
        result = SearchResult(law, precision, baselines.plan, pick_device().kind, search.bytes_fp32)
        result.why_not = control_problems(baselines.control, baselines.damage)
        if not result.why_not:
            search.run(baselines, result)
    return result


def keep(result: SearchResult, data: Path, name: str | None = None) -> Bundle:
    """Store the law that passed as a version of its own in the data folder, with its verdict.

    If no weight had to be raised, the law itself gets the verdict. The verdict's baselines are those of the original
    law: a version with the same weights has the same fp32 universes.

    Args:
        result: of a search in which a rung passed.
        data: data folder.
        name: of the new version; the law's name without it.

    Raises:
        ValueError: no rung passed.
    """
    if result.passed is None:
        raise ValueError(f"no rung of {result.law.ref} passed in {result.precision}: there is nothing to keep")
    verdict, formats = result.passed
    law = result.law
    if formats == formats_of(law, result.precision):
        write_verdict(law, verdict, data=data)
        return law
    plan = result.plan
    now = datetime.now(UTC).isoformat(timespec="seconds")
    design = {"grid": list(plan.grid), "members": plan.members, "steps": plan.steps, "margin": plan.margin}
    provenance = {
        "source": law.digest,
        "precision": result.precision,
        "date": now,
        "plan": design,
        "judgements": result.judgements,
    }
    policy = policy_for(law, result.precision, formats)
    with TemporaryDirectory() as work:
        made = write_variant(
            law,
            Path(work) / "law",
            result.precision,
            policy,
            name=name,
            provenance={"tune_precision": provenance},
            keep_codes=unchanged(law, result.precision, policy),
        )
        payload = verdict.law | {"name": made.name, "digest": made.digest, "baseline_digest": law.digest}
        payload.pop("candidate_digest", None)  # it was the same law without its provenance
        write_verdict(made, replace(verdict, law=payload), data=data)
        return versions.add_copy(data / "laws", made.path)[0]


class _Search:
    """The candidates of one law: derived bundles in `folder`, which the engine runs like any law."""

    def __init__(
        self, law: Bundle, precision: str, engine: EngineLike, folder: Path, on_progress: Callable[[str], None]
    ) -> None:
        self.law, self.precision, self.engine, self.folder = law, precision, engine, folder
        self.on_progress = on_progress
        sixteen, weights = pick_device().operands, load_weights(law)
        self.formats, roles = formats_of(law, precision), roles_of(law)
        self.weights = [
            Weight(key, roles[key], form, {f: encode(f, weights[key], sixteen).nbytes for f in HIGHER})
            for key, form in self.formats.items()
            if form in HIGHER[:-1]
        ]
        self.bytes_at_rest = quantize_law(law, weights, precision, sixteen).bytes_at_rest
        self.bytes_fp32 = quantize_law(law, weights, "fp32", torch.float32).bytes_at_rest

    def run(self, baselines: Baselines, result: SearchResult) -> None:
        """Order the weights, climb the ladder, and record both in the result."""
        few = min(SCREENING, baselines.plan.members)
        plan = baselines.plan.with_(members=few, pilot=0, pairs=min(baselines.plan.pairs, few))
        # the baselines keep all their members: a few members of the candidate against many beat a few against few
        screening = replace(baselines, plan=plan)
        sensitivities = self.sensitivities(baselines)
        order = ordered([s.weight for s in sensitivities])
        result.sensitivities = sorted(sensitivities, key=lambda s: order.index(s.weight))
        ladder = rungs(order)
        result.last_rung = len(ladder) - 1

        def judge_rung(rung: int, against: Baselines, stage: str) -> Verdict:
            raised = ladder[rung]
            verdict = self.judge(self.formats | raised, against)
            size, members = self.size_with(raised), against.plan.members
            outcome, reasons = verdict.verdict, verdict.reasons
            result.candidates.append(Candidate(rung, raised, size, stage, members, outcome, *effects(verdict), reasons))
            self.on_progress(f"rung {rung} of {result.last_rung}, {size:,} B at rest, {members} members: {outcome}")
            return verdict

        def passes(rung: int) -> bool:
            verdict = judge_rung(rung, baselines, "gate")
            if verdict.verdict == "pass":
                result.passed = verdict, self.formats | ladder[rung]
            return verdict.verdict == "pass"

        climb(result.last_rung, lambda rung: judge_rung(rung, screening, "screen").verdict == "fail", passes)

    def sensitivities(self, baselines: Baselines) -> list[Sensitivity]:
        """Score each weight alone, against the law with every matrix in fp32 at the same precision of products."""
        plan, nothing = baselines.plan, dict.fromkeys(self.formats, "fp32")
        ends, seeds = baselines.trajectories.ends[: plan.pairs], baselines.baseline.seeds[: plan.pairs]
        found = []
        with self.subject(nothing, plan.gamma) as reference:
            rollouts = Rollouts(self.engine, reference, plan.grid, ends, seeds)
        for weight in self.weights:
            with self.subject(nothing | {weight.key: weight.format}, plan.gamma) as alone:
                scored = rollouts.score(alone)
            found.append(Sensitivity(replace(weight, score=scored.score, error=scored.error), scored))
            self.on_progress(
                f"{weight.key} alone in {weight.format}: score {scored.score:.3g}, first step off by {scored.error:.2%}"
            )
        return found

    def judge(self, formats: dict[str, str], against: Baselines) -> Verdict:
        """Judge the law in these formats."""
        with self.subject(formats, against.plan.gamma) as candidate:
            return judge_against(self.engine, against, candidate)

    @contextmanager
    def subject(self, formats: dict[str, str], gamma: float) -> Iterator[Subject]:
        """Yield the law in these formats: a derived bundle unless they are the precision's own."""
        if formats == self.formats:
            yield Subject(self.law, self.precision, gamma)
            return
        policy = policy_for(self.law, self.precision, formats)
        keep_codes = unchanged(self.law, self.precision, policy)
        with TemporaryDirectory(dir=self.folder) as work:
            derived = write_variant(self.law, Path(work) / "law", self.precision, policy, keep_codes=keep_codes)
            yield Subject(derived, self.precision, gamma)

    def size_with(self, raised: dict[str, str]) -> int:
        """Return the bytes at rest with these weights raised."""
        by_key = {w.key: w for w in self.weights}
        return self.bytes_at_rest + sum(
            by_key[key].sizes[form] - by_key[key].sizes[by_key[key].format] for key, form in raised.items()
        )


def effects(verdict: Verdict) -> tuple[Effect, Effect]:
    """Return the effects on activity and on the Lyapunov exponent; NaN where too few members have one."""
    found = {m.name: (m.effect, m.low, m.high) for m in verdict.metrics}
    return found.get("activity", (nan,) * 3), found.get("lyapunov", (nan,) * 3)
