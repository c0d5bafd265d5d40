"""Judgement: a claimed fidelity job; the gate runs in its own thread, its universes in the background of the engine."""

from __future__ import annotations

import logging
from threading import Thread

from leym.contract.fidelity_spec import FidelitySpec
from leym.contract.problems import Problem
from leym.contract.records import Fenced, Job, JobState
from leym.engine.engine import Engine
from leym.fidelity.background_engine import BackgroundEngine
from leym.fidelity.gate import judge
from leym.laws.bundle import Bundle
from leym.laws.verdicts import Verdict, write_verdict
from leym.settings import settings
from workers.claimed_job import LATER, Held, Place

log = logging.getLogger(__name__)


class Judgement(Held):
    """No frames, no checkpoints: a judgement that is interrupted begins again, with the same seeds.

    Its step counts those of all universes that have ended.
    """

    def __init__(self, job: Job, place: Place, engine: Engine, law: Bundle):
        super().__init__(job, place)
        self.law = law
        self.background = BackgroundEngine(engine, max(1, engine.slots // 2), self._progress)

    def begin(self) -> None:
        Thread(target=self._run, name=f"judgement-{self.job.id}", daemon=True).start()

    def stop(self) -> None:
        self.background.leave()

    def _run(self) -> None:
        self.place.admitted()
        try:
            plan = FidelitySpec.model_validate(self.job.spec).to_plan()
            verdict = judge(self.law, self.job.precision, plan, engine=self.background)
        except Problem as problem:
            if not self.background.draining:  # else it was told to leave, and whoever told it ends the outcome
                self._end(JobState.FAILED, problem=problem)
        except Exception as error:
            log.exception("job %s: the judgement broke", self.job.id)
            self.defect(error)
        else:
            beside = self.law.path.is_relative_to(settings().data)  # laws shipped with the project are left as they are
            if self.insist(lambda: write_verdict(self.law, verdict, in_bundle=beside)):
                self._end(JobState.SUCCEEDED, verdict=verdict)

    def _progress(self, steps: int) -> None:
        if self.outcome.done() or not self.commit_is_due():
            return
        step = min(steps, self.job.steps - 1)
        try:
            self.table.commit(self.job.id, self.job.epoch, step=step, manifest={})
        except Fenced as fenced:
            self.lost(str(fenced))
        except LATER as error:
            self.trouble(error)
        else:
            self.saved()
            self.place.proven()
            self.events.announce(self.job.id, step, JobState.RUNNING)

    def _end(self, state: JobState, *, verdict: Verdict | None = None, problem: Problem | None = None) -> None:
        error = problem.as_dict() if problem else None
        observed, said = None, {}
        if verdict:
            observed = {f"{m.name}_effect": m.effect for m in verdict.metrics if m.deciding}
            said = {"verdict": verdict.verdict}
        step = self.job.steps if verdict else 0

        def end() -> bool:
            self.table.finish(
                self.job.id, self.job.epoch, state, step=step, manifest=said, error=error, observables_last=observed
            )
            return True

        if self.insist(end):
            self.events.announce(self.job.id, step, state)
            self.answer({"state": str(state)} | said | ({"error": error["detail"]} if error else {}))
