"""Refines a law, judges it against its fp32 parent, and writes it with what it was made from.

The file keeps the parent's fp32 weights beside the refined codes. So fp32 of the new version is the parent, and any
verdict of it, now or later, compares with the parent: a refined law never judges itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from leym.contract.fidelity_plan import Plan
from leym.fidelity.baselines import run_baselines
from leym.fidelity.ensemble import EngineLike, Subject, running_engine
from leym.fidelity.gate import ENGINE_SLOTS, judge_against
from leym.laws.bundle import Bundle
from leym.laws.verdicts import Verdict, write_verdict
from leym.quantization.codes import write_with_codes
from leym.training.draws import Yardstick
from leym.training.refinement.training import OnUpdate, Refined, Settings, refine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A refined law before it is kept.

    Attributes:
        law: The parent.
        precision: Whose weights were refined.
        settings: How.
        refined: The result.
        verdict: Against the parent's fp32; None if nobody judged.
        distances: Of all draws to fp32, in margins, this one's the smallest; empty if there was one.
    """

    law: Bundle
    precision: str
    settings: Settings
    refined: Refined
    verdict: Verdict | None = None
    distances: tuple[float, ...] = ()

    @property
    def passed(self) -> bool:
        """True if the gate let it pass."""
        return self.verdict is not None and self.verdict.verdict == "pass"

    def provenance(self) -> dict[str, Any]:
        """Return what the manifest says about its making; without a date, so that the same seed gives the same law."""
        how = self.settings
        last = self.refined.curve[-1] if self.refined.curve else {}
        return {
            "source": self.law.digest,
            "precision": self.precision,
            "start": "gptq" if self.precision == "nf4" else "nearest",
            "verdict_against": f"fp32 of {self.law.ref}, whose weights this law keeps",
            "seeds": [how.used_seeds[0], how.used_seeds[-1]],
            "grid": list(how.grid),
            "gamma": how.gamma,
            **({"distil": how.distil, "distil_rate": how.distil_rate} if how.distil else {}),
            "updates": how.updates,
            **self._choice(),
            "batch": how.batch,
            "steps": how.steps,
            "lags": list(how.lags),
            "rate": how.rate,
            "weights": asdict(how.weights),
            "last_loss": {name: f"{value:.3g}" for name, value in last.items()},
        }

    def _choice(self) -> dict[str, Any]:
        if self.settings.draws == 1:
            return {}
        distances = [float(f"{distance:.3g}") for distance in self.distances]
        return {"draws": self.settings.draws, "measured": self.settings.measured, "distances": distances}


def refined(
    law: Bundle,
    precision: str,
    how: Settings,
    plan: Plan,
    *,
    engine: EngineLike | None = None,
    on_update: OnUpdate = lambda number, row: None,
    on_progress: Callable[[str], None] = log.info,
) -> Candidate:
    """Refine a law as often as `how.draws` says, and return the draw that is nearest to fp32.

    Args:
        law: The law.
        precision: Whose weights are refined.
        how: Settings; `how.measured` universes measure each of several draws.
        plan: Of the judgement that will follow.
        engine: Started and stopped by its owner; without it, an engine runs on this machine's device.
        on_update: As for `training.refine`; the updates of all draws are numbered through.
        on_progress: Called with a line of text for every draw of several.

    Raises:
        Problem: 422, the precision stores the law as it is; or the law cannot be run at all.
        ValueError: The law's universes, or the loss, do not stay finite.
    """
    if how.draws == 1:
        return Candidate(law, precision, how, refine(law, precision, how, on_update=on_update))
    rated: list[tuple[float, Refined]] = []
    with running_engine(engine, min(how.measured, ENGINE_SLOTS)) as running:
        yardstick = Yardstick(running, law, plan, members=how.measured, seed=how.seeds.stop)
        for number in range(how.draws):
            done = number * (how.distil + how.updates)

            def count(update: int, row: dict[str, float], done: int = done) -> None:
                on_update(done + update, row)

            drawn = Candidate(law, precision, how, refine(law, precision, how.draw(number), on_update=count))
            value, worst = yardstick.distance(partial(write, drawn), precision)
            rated.append((value, drawn.refined))
            on_progress(f"draw {number + 1} of {how.draws}: distance {value:.2f} margins, by {worst}")
    distances = tuple(value for value, _ in rated)
    return Candidate(law, precision, how, rated[distances.index(min(distances))][1], distances=distances)


def judge(
    candidate: Candidate,
    plan: Plan,
    *,
    engine: EngineLike | None = None,
    on_progress: Callable[[str], None] = log.info,
) -> Candidate:
    """Return the candidate with a verdict against the fp32 weights of its parent.

    Args:
        candidate: The candidate.
        plan: Of the gate; its seeds must not be those of the refinement (`calibration.states.check_seeds`).
        engine: Started and stopped by its owner; without it, an engine runs on this machine's device.
        on_progress: Called with a line of text for every ensemble.

    Raises:
        Problem: The law cannot be run at all.
    """
    slots = min(max(plan.members, plan.pilot), ENGINE_SLOTS)
    with running_engine(engine, slots) as running, TemporaryDirectory() as folder:
        made = write(candidate, Path(folder) / "law")
        on_progress("baselines of the parent in fp32")
        baselines = run_baselines(running, candidate.law, plan)
        on_progress(f"the refined law, {baselines.plan.members} members")
        verdict = judge_against(running, baselines, Subject(made, candidate.precision, plan.gamma))
        return replace(candidate, verdict=verdict)


def write(candidate: Candidate, folder: Path, *, name: str | None = None, data: Path | None = None) -> Bundle:
    """Write the refined law into `folder`, and its verdict beside it.

    Args:
        candidate: The candidate.
        folder: Folder of the new bundle, which must not exist.
        name: Name of the law; default: the same.
        data: Data folder for the verdict if the law's folder cannot be written.
    """
    law = candidate.law
    made = write_with_codes(
        law,
        folder,
        candidate.precision,
        candidate.refined.codes,
        name=name,
        provenance={"refinement": candidate.provenance()},
    )
    if verdict := candidate.verdict:
        payload = verdict.law | {"name": made.name, "digest": made.digest, "baseline_digest": law.digest}
        payload.pop("candidate_digest", None)  # it is this law
        write_verdict(made, replace(verdict, law=payload), data=data)
    return made
