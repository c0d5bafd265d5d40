"""A law that 4 bits change: which of its weights to hold in more bits, so that it stays the law?

Fixed before anything is run:

1. Sensitivity. For each weight that the precision quantises, a law in which only that weight is quantised runs a small
   ensemble. It is as sensitive as the larger of its effects on activity and on the Lyapunov exponent, less what its
   interval leaves open; ties are decided by the error of the first step.
2. Ladder. Rung k raises the k most sensitive weights by one format (nf4 -> int8), and from the number of weights on
   again (int8 -> 16 bits), so that bytes at rest grow with k.
3. Search. The smallest rung that a small ensemble does not refuse is found by bisection (more bits are taken to do no
   harm); from there on, rungs are judged by the whole plan until one passes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf, isfinite
from pathlib import Path

import torch

from leym.engine.device import pick_device
from leym.laws.bundle import Bundle
from leym.laws.network import load_weights
from leym.precision.derived import with_formats
from leym.precision.fidelity.baselines import Baselines, run_baselines
from leym.precision.fidelity.ensemble import Laboratory, Subject
from leym.precision.fidelity.gate import judge_against
from leym.precision.fidelity.plan import Plan
from leym.precision.fidelity.verdicts import Verdict
from leym.precision.policy import SleepingLaw, put_to_sleep

log = logging.getLogger(__name__)

HIGHER = {"nf4": "int8", "int8": "16"}
SCREENING = 16  # members of the small ensembles
STEPS = 8  # of the ladder that the whole plan is tried on, at most

Effect = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True)
class Sensitivity:
    """What quantising one weight alone does. error: relative, of the change of the state in the first step."""

    key: str
    format: str
    score: float
    activity: Effect
    lyapunov: Effect
    error: float


@dataclass(frozen=True)
class Tried:
    """One rung. whole: judged by the whole plan, not by the small ensembles alone."""

    rung: int
    raised: dict[str, str]
    bytes_at_rest: int
    whole: bool
    verdict: str
    activity: Effect
    lyapunov: Effect
    reasons: list[str]


@dataclass
class Rescue:
    """sensitivities: the most sensitive first; tried: in the order in which they were; found: the smallest law that
    passes, with its verdict, or None."""

    law: Bundle
    precision: str
    sensitivities: list[Sensitivity] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)
    found: tuple[Bundle, Verdict] | None = None


def rescue(
    engine: Laboratory,
    law: Bundle,
    precision: str,
    plan: Plan,
    folder: Path,
    told: Callable[[str], None] = lambda _: None,
) -> Rescue:
    """Search in `folder`, which keeps the laws tried. Raises Problem when the law cannot be run at all."""
    result = Rescue(law, precision)
    small = plan.with_(members=SCREENING, pilot=0, pairs=min(plan.pairs, SCREENING), damage=0.0)
    told(f"baselines of {SCREENING} members")
    screening = run_baselines(engine, law, small)
    result.sensitivities = _sensitivities(engine, screening, precision, folder, told)
    ladder = _ladder(result.sensitivities)

    def judged(rung: int, baselines: Baselines, *, whole: bool) -> tuple[Bundle, Verdict]:
        candidate = with_formats(law, precision, ladder[rung], folder / f"rung-{rung}", why={"raised": ladder[rung]})
        verdict = judge_against(engine, baselines, Subject(candidate, precision, plan.gamma))
        size = asleep(candidate, precision).bytes_at_rest
        tried = Tried(rung, ladder[rung], size, whole, verdict.verdict, *effects(verdict), verdict.reasons)
        result.tried.append(tried)
        told(f"rung {rung} of {len(ladder) - 1}, {size:,} bytes: {verdict.verdict}{'' if whole else ' (screening)'}")
        return candidate, verdict

    low, high = 0, len(ladder) - 1
    while low < high:
        middle = (low + high) // 2
        if judged(middle, screening, whole=False)[1].verdict == "fail":
            low = middle + 1
        else:
            high = middle
    del screening
    told("baselines of the whole plan")
    baselines = run_baselines(engine, law, plan)
    for rung in _upwards(low, len(ladder)):
        candidate, verdict = judged(rung, baselines, whole=True)
        if verdict.verdict == "pass":
            result.found = candidate, verdict
            break
    return result


def asleep(law: Bundle, precision: str) -> SleepingLaw:
    """The law at rest on this device."""
    return put_to_sleep(law, load_weights(law), precision, pick_device().operands)


def effects(verdict: Verdict) -> tuple[Effect, Effect]:
    """Of activity and the Lyapunov exponent; not a number where a verdict has none."""
    found = {m.name: (m.effect, m.low, m.high) for m in verdict.metrics}
    nothing = (torch.nan,) * 3
    return found.get("activity", nothing), found.get("lyapunov", nothing)


def _sensitivities(
    engine: Laboratory, baselines: Baselines, precision: str, folder: Path, told: Callable[[str], None]
) -> list[Sensitivity]:
    law = baselines.law
    quantised = {layer.key: layer.format for layer in asleep(law, precision).layers if layer.format in HIGHER}
    found = []
    for i, (key, form) in enumerate(quantised.items()):
        alone = dict.fromkeys(quantised, "fp32") | {key: form}
        candidate = with_formats(law, precision, alone, folder / f"alone-{i}")
        verdict = judge_against(engine, baselines, Subject(candidate, precision, baselines.plan.gamma))
        activity, lyapunov = effects(verdict)
        error = float(verdict.paired.get("one_step_error", torch.nan))
        measured = {"activity": activity, "lyapunov": lyapunov}
        score = max((_sure(e) for name, e in measured.items() if name in baselines.plan.deciding), default=0.0)
        found.append(Sensitivity(key, form, score, activity, lyapunov, error))
        told(f"{key} alone in {form}: activity {activity[0]:+.1%}, lyapunov {lyapunov[0]:+.1%}, error {error:.2%}")
    return sorted(found, key=lambda s: (-s.score, -s.error if isfinite(s.error) else -inf))


def _sure(effect: Effect) -> float:
    """How large an effect is at least; a run without one (it broke) is as sensitive as can be."""
    value, low, high = effect
    if not isfinite(value):
        return inf
    return max(0.0, low, -high)


def _ladder(sensitivities: list[Sensitivity]) -> list[dict[str, str]]:
    """Formats over the policy's, per rung."""
    rungs: list[dict[str, str]] = [{}]
    now = {s.key: s.format for s in sensitivities}
    for _ in range(len(HIGHER)):
        for s in sensitivities:
            if now[s.key] in HIGHER:
                now[s.key] = HIGHER[now[s.key]]
                rungs.append({**rungs[-1], s.key: now[s.key]})
    return rungs


def _upwards(first: int, end: int) -> Iterator[int]:
    """From `first` to the last rung, STEPS at most, evenly."""
    stride = max(1, -(-(end - 1 - first) // (STEPS - 1)))
    yield from range(first, end - 1, stride)
    yield end - 1
