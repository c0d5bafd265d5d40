"""FidelityJob: a claimed job that runs the fidelity gate, with its universes in the background of the engine."""

from __future__ import annotations

import logging
from threading import Thread

from leym.contract.fidelity_spec import FidelitySpec
from leym.contract.problems import Problem
from leym.contract.records import Fenced, Job, JobState
from leym.engine.engine import Engine
from leym.fidelity.background_engine import BackgroundEngine
from leym.laws.bundle import Bundle
from leym.laws.verdicts import Verdict, write_verdict
from leym.settings import settings
from workers.claimed_job import ClaimedJob, WorkerContext
from workers.outages import STORE_OR_TABLE_UNAVAILABLE

log = logging.getLogger(__name__)


class FidelityJob(ClaimedJob):
    """Runs the gate in a thread of its own.

    It has no frames and no checkpoints: when it is interrupted, the next attempt starts again with the same seeds.
    Its step is the sum of the steps that all universes have made.
    """

    def __init__(self, job: Job, context: WorkerContext, engine: Engine, law: Bundle):
        super().__init__(job, context)
        self.law = law
        self.background = BackgroundEngine(engine, max(1, engine.slots // 2), self._commit_progress)

    def start(self) -> None:
        """Start the gate's thread."""
        Thread(target=self._run, name=f"fidelity-{self.job.id}", daemon=True).start()

    def stop(self) -> None:
        """Take the gate's universes out of the engine."""
        self.background.leave()

    def _run(self) -> None:
        from leym.fidelity.gate import judge  # its statistics take a second to import, which few workers need

        self.context.on_admitted()
        try:
            plan = FidelitySpec.model_validate(self.job.spec).to_plan()
            verdict = judge(self.law, self.job.precision, plan, engine=self.background)
        except Problem as problem:
            if not self.background.draining:  # otherwise the gate was stopped, and whoever stopped it sets the outcome
                self._finish(JobState.FAILED, problem=problem)
        except Exception as error:
            log.exception("job %s: the fidelity gate failed", self.job.id)
            self.interrupt(error)
        else:
            # the folders of laws that are shipped with the project stay unchanged
            in_data_folder = self.law.path.is_relative_to(settings().data)
            if self.retry(lambda: write_verdict(self.law, verdict, in_bundle=in_data_folder)):
                self._finish(JobState.SUCCEEDED, verdict=verdict)

    def _commit_progress(self, steps: int) -> None:
        if self.outcome.done() or not self.wants_commit():
            return
        step = min(steps, self.job.steps - 1)
        try:
            self.table.commit(self.job.id, self.job.epoch, step=step, manifest={}, device_s=self._device_s())
        except Fenced as fenced:
            self.give_up(str(fenced))
        except STORE_OR_TABLE_UNAVAILABLE as error:
            self.note_save_error(error)
        else:
            self.note_commit()
            self.context.on_progress()
            self.events.announce(self.job.id, step, JobState.RUNNING)

    def _device_s(self) -> float:
        return self.job.device_s + self.background.device_s

    def _finish(self, state: JobState, *, verdict: Verdict | None = None, problem: Problem | None = None) -> None:
        error = problem.as_dict() if problem else None
        effects, manifest = None, {}
        if verdict:
            effects = {f"{m.name}_effect": m.effect for m in verdict.metrics if m.deciding}
            manifest = {"verdict": verdict.verdict}
        step = self.job.steps if verdict else 0

        def finish() -> bool:
            self.table.finish(
                self.job.id,
                self.job.epoch,
                state,
                step=step,
                manifest=manifest,
                error=error,
                observables_last=effects,
                device_s=self._device_s(),
            )
            return True

        if self.retry(finish):
            self.events.announce(self.job.id, step, state)
            self.end_with({"state": str(state)} | manifest | ({"error": error["detail"]} if error else {}))
