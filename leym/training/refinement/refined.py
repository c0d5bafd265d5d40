"""Refines a law, judges it against its fp32 parent, and writes it with what it was made from.

The file keeps the parent's fp32 weights beside the refined codes. So fp32 of the new version is the parent, and any
verdict of it, now or later, compares with the parent: a refined law never judges itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from leym.contract.fidelity_plan import Plan
from leym.fidelity.baselines import run_baselines
from leym.fidelity.ensemble import EngineLike, Subject, running_engine
from leym.fidelity.gate import ENGINE_SLOTS, judge_against
from leym.laws.bundle import Bundle
from leym.laws.verdicts import Verdict, write_verdict
from leym.quantization.codes import Codes, write_with_codes
from leym.training.draws import Choice, choose
from leym.training.refinement.fake_quantization import FakeQuantized
from leym.training.refinement.training import OnUpdate, Refined, Settings, refine
from leym.training.yardstick import Yardstick

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
        choice: How it was chosen; None if it was not made by `refined`.
    """

    law: Bundle
    precision: str
    settings: Settings
    refined: Refined
    verdict: Verdict | None = None
    choice: Choice | None = None

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
            "start": how.start if self.precision == "nf4" else "nearest",
            "verdict_against": f"fp32 of {self.law.ref}, whose weights this law keeps",
            "seeds": [how.used_seeds[0], how.used_seeds[-1]],
            "grid": list(how.grid),
            "gamma": how.gamma,
            **({"distil": how.distil, "distil_rate": how.distil_rate} if how.distil else {}),
            "updates": how.updates,
            **(self.choice.provenance() if self.choice else {}),
            "batch": how.batch,
            "steps": how.steps,
            "lags": list(how.lags),
            "rate": how.rate,
            "weights": asdict(how.weights),
            "last_loss": {name: f"{value:.3g}" for name, value in last.items()},
        }


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
    """Refine a law as often as `how.draws` says, and return the nearest to fp32, its gains fitted if that is asked for.

    Args:
        law: The law.
        precision: Whose weights are refined.
        how: Settings.
        plan: Of the judgement that will follow.
        engine: Started and stopped by its owner; without it, an engine runs on this machine's device.
        on_update: As for `training.refine`; the updates of all draws are numbered through.
        on_progress: Called with a line of text for every draw of several and every round of a fit.

    Raises:
        Problem: 422, the precision stores the law as it is; there is no such arm to start from; or the law cannot be
            run at all.
        ValueError: The law's universes, or the loss, do not stay finite.
    """
    made: list[Refined] = []

    def draws() -> Iterator[Codes]:
        for number in range(how.draws):
            done = number * (how.distil + how.updates)

            def count(update: int, row: dict[str, float], done: int = done) -> None:
                on_update(done + update, row)

            made.append(refine(law, precision, how.draw(number), on_update=count))
            yield made[-1].codes

    with running_engine(engine, min(how.measured, ENGINE_SLOTS)) if how.is_measured else nullcontext() as running:
        yardstick = Yardstick(running, law, plan, members=how.measured, seed=how.seeds.stop) if running else None
        choice = choose(law, precision, how, yardstick, draws(), on_progress)
    kept = made[choice.number]
    if choice.fitted:
        with torch.no_grad():
            kept = replace(kept, codes=choice.codes, decoded=FakeQuantized(law, precision, choice.codes).decoded())
    return Candidate(law, precision, how, kept, choice=choice)


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
