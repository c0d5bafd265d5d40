"""Judges the codes of several arms by the fidelity gate, and keeps the law whose codes pass.

The method is fixed before anything is run:

a. One pair of fp32 baselines of the law, by the whole plan, serves all candidates. Its seeds and those of calibration
   do not overlap.
b. Each arm, cheapest first, makes its codes: the best of several draws, if they are asked for
   (`leym.training.draws`). `SCREENING` members of the candidate are judged.
c. The candidates that (b) does not refuse are judged by the whole plan, the one with the smallest worst effect first,
   until one passes.
d. Every judgement is recorded with the law that is kept. Each errs at the plan's alpha, so a law at the margin passes
   with a probability of at most n alpha after n judgements by the whole plan.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf, isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from leym.contract.fidelity_plan import Plan
from leym.engine.device import pick_device
from leym.fidelity.baselines import Baselines, run_baselines
from leym.fidelity.ensemble import EngineLike, Subject, running_engine
from leym.fidelity.gate import ENGINE_SLOTS, control_problems, judge_against
from leym.laws.bundle import Bundle
from leym.laws.verdicts import Verdict, write_verdict
from leym.quantization.codes import Codes, write_with_codes
from leym.training.calibration.arms import Settings, calibrate, check_arms
from leym.training.calibration.readout import NoReadoutError
from leym.training.calibration.rounding import NoGradientError
from leym.training.calibration.states import check_seeds
from leym.training.draws import Choice, choose
from leym.training.yardstick import Yardstick

log = logging.getLogger(__name__)

PRECISION = "nf4"
SCREENING = 16  # members that order the arms; far too few to pass one


@dataclass(frozen=True)
class Judged:
    """A judgement of one arm's codes.

    Attributes:
        arm: Name of the arm.
        stage: "screen" or "gate".
        members: Of the candidate's ensemble.
        verdict: The verdict.
    """

    arm: str
    stage: str
    members: int
    verdict: Verdict

    @property
    def worst(self) -> tuple[str, float]:
        """The deciding metric with the largest effect, and that effect; infinity if a metric has none."""
        effects = {m.name: m.effect if isfinite(m.effect) else inf for m in self.verdict.metrics if m.deciding}
        name = max(effects, key=lambda metric: abs(effects[metric]), default="none")
        return name, effects.get(name, inf)

    def as_json(self) -> dict[str, Any]:
        """Return what the provenance keeps of it."""
        metric, effect = self.worst
        verdict = self.verdict.verdict
        return {
            "arm": self.arm,
            "stage": self.stage,
            "members": self.members,
            "verdict": verdict,
            "worst": metric,
            "effect": f"{effect:+.4f}",
        }


@dataclass
class Calibrated:
    """The result of a calibration.

    Attributes:
        law: The law.
        settings: What the arms used.
        plan: Of the whole judgement, with the members that were run; None without one.
        device: That the candidates ran on.
        choices: Arm -> its codes, and how they were chosen.
        judged: In the order of the judgements.
        left_out: Arm -> why it cannot be used for this law.
        why_not: Why no candidate could have passed, in words.
    """

    law: Bundle
    settings: Settings
    plan: Plan | None = None
    device: str = ""
    choices: dict[str, Choice] = field(default_factory=dict)
    judged: list[Judged] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    why_not: list[str] = field(default_factory=list)

    @property
    def codes(self) -> dict[str, Codes]:
        """The codes of each arm."""
        return {arm: choice.codes for arm, choice in self.choices.items()}

    @property
    def judgements(self) -> int:
        """Number of judgements by the whole plan."""
        return sum(one.stage == "gate" for one in self.judged)

    @property
    def passed(self) -> Judged | None:
        """The judgement by the whole plan that passed, if one did."""
        return next((one for one in self.judged if one.stage == "gate" and one.verdict.verdict == "pass"), None)

    @property
    def best(self) -> Judged | None:
        """The best candidate: the one that passed, else the least bad one of the furthest stage."""
        return self.passed or min(self.judged, key=lambda one: (one.stage != "gate", abs(one.worst[1])), default=None)


def choose_codes(
    law: Bundle,
    arms: Sequence[str],
    plan: Plan,
    settings: Settings,
    *,
    engine: EngineLike | None = None,
    on_progress: Callable[[str], None] = log.info,
) -> Calibrated:
    """Make the codes of several arms, the best of `settings.draws` each, and judge none; see `search_codes`."""
    check_arms(arms)
    check_seeds(settings.used_seeds, plan)
    result, measured = Calibrated(law, settings, device=pick_device().kind), settings.is_measured
    with running_engine(engine, min(settings.measured, ENGINE_SLOTS)) if measured else nullcontext() as running:
        yardstick = (
            Yardstick(running, law, plan, members=settings.measured, seed=settings.seeds.stop) if running else None
        )
        for arm in arms:
            try:
                made = (calibrate(law, arm, settings.draw(number)) for number in range(settings.draws))
                result.choices[arm] = choose(law, PRECISION, settings, yardstick, made, _labelled(arm, on_progress))
            except (NoGradientError, NoReadoutError) as error:
                result.left_out[arm] = str(error)
            on_progress(f"{arm}: {result.left_out.get(arm, 'codes made')}")
    return result


def _labelled(arm: str, on_progress: Callable[[str], None]) -> Callable[[str], None]:
    return lambda line: on_progress(f"{arm}, {line}")


def search_codes(
    law: Bundle,
    arms: Sequence[str],
    plan: Plan,
    settings: Settings,
    *,
    engine: EngineLike | None = None,
    on_progress: Callable[[str], None] = log.info,
) -> Calibrated:
    """Make and judge the codes of several arms, by the method above; write nothing.

    Args:
        law: The law.
        arms: Names of arms, cheapest first.
        plan: Of the baselines and of the last judgements.
        settings: What the arms use.
        engine: Started and stopped by its owner; without it, an engine runs on this machine's device.
        on_progress: Called with a line of text for every ensemble.

    Raises:
        Problem: An arm is unknown, or the law cannot be run or has no weight in NF4.
        ValueError: Calibration and judgement would share seeds, or the law cannot be calibrated.
    """
    slots = min(max(plan.members, plan.pilot), ENGINE_SLOTS)
    with running_engine(engine, slots) as running, TemporaryDirectory() as folder:
        result = choose_codes(law, arms, plan, settings, engine=running, on_progress=on_progress)
        on_progress("baselines of the whole plan")
        baselines = run_baselines(running, law, plan)
        result.plan = baselines.plan
        result.why_not = control_problems(baselines.control, baselines.damage)
        candidates = {
            arm: write_with_codes(law, Path(folder) / arm, PRECISION, codes) for arm, codes in result.codes.items()
        }

        def judge(arm: str, stage: str, against: Baselines) -> Judged:
            verdict = judge_against(running, against, Subject(candidates[arm], PRECISION, plan.gamma))
            judged = Judged(arm, stage, against.plan.members, verdict)
            result.judged.append(judged)
            on_progress(f"{arm}, {judged.members} members: {verdict.verdict}")
            return judged

        few = min(SCREENING, baselines.plan.members)
        screening = replace(
            baselines, plan=baselines.plan.with_(members=few, pilot=0, pairs=min(baselines.plan.pairs, few))
        )
        screened = [judge(arm, "screen", screening) for arm in result.codes]
        for one in sorted(screened, key=lambda one: abs(one.worst[1])):
            if one.verdict.verdict != "fail" and result.passed is None and not result.why_not:
                judge(one.arm, "gate", baselines)
    return result


def write(result: Calibrated, arm: str, folder: Path, *, name: str | None = None, data: Path | None = None) -> Bundle:
    """Write the law with the codes of one arm into `folder`, and its last verdict beside it.

    Args:
        result: Of `search_codes`, or one without judgements.
        arm: The arm.
        folder: Folder of the new bundle, which must not exist.
        name: Name of the law; default: the same.
        data: Data folder for the verdict if the law's folder cannot be written.
    """
    law, settings = result.law, result.settings
    provenance: dict[str, Any] = {
        "source": law.digest,
        "precision": PRECISION,
        "arm": arm,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "grid": list(settings.grid),
        "gamma": settings.gamma,
        "seeds": [settings.used_seeds[0], settings.used_seeds[-1]],
        "members": settings.members,
        "updates": settings.updates,
        **result.choices[arm].provenance(),
        "candidates": [one.as_json() for one in result.judged],
        "judgements": result.judgements,
        "left_out": result.left_out,
    }
    made = write_with_codes(
        law, folder, PRECISION, result.codes[arm], name=name, provenance={"calibration": provenance}
    )
    verdicts = [one.verdict for one in result.judged if one.arm == arm]
    if verdicts:
        payload = verdicts[-1].law | {"name": made.name, "digest": made.digest, "baseline_digest": law.digest}
        payload.pop("candidate_digest", None)  # it was the same law without its provenance
        write_verdict(made, replace(verdicts[-1], law=payload), data=data)
    return made
