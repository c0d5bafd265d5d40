"""TrainingJob: a claimed job that trains a law by a recipe, and adds the law to those of its project."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import numpy as np

from leym.contract.problems import Problem
from leym.contract.records import Fenced, Job, JobState
from leym.contract.training_spec import TrainingSpec
from leym.engine import compute_threads
from leym.engine.device import pick_device
from leym.frames.checkpoint import CorruptCheckpoint, chain_references, get_checkpoint, put_checkpoint, references
from leym.frames.curve import put_curve
from leym.laws import versions
from leym.laws.bundle import Bundle
from leym.training import checkpoint
from leym.training.curve import Curve
from leym.training.recipe import Recipe
from leym.training.trainer import Diverged, Stopped, train
from workers.claimed_job import ClaimedJob, WorkerContext
from workers.outages import STORE_OR_TABLE_UNAVAILABLE

log = logging.getLogger(__name__)

STOP_S = 60.0  # a worker that ends waits so long for the update that is being computed and for its checkpoint
SHARE = 50  # the stored curve is written again when 1/SHARE of its rows are new


class TrainingJob(ClaimedJob):
    """Trains in a thread of its own. The step of the job is the number of updates.

    Every checkpoint goes to the store and is committed under the epoch of the claim. The next attempt continues from it
    and ends with the same weights. So updates after the last checkpoint are computed twice, with the same results, and
    the row's step does not go back.
    """

    def __init__(self, job: Job, context: WorkerContext, laws: Path):
        """Prepare the thread.

        Args:
            job: The row as it was claimed.
            context: The worker's parts that the job uses.
            laws: Folder that the law is added to.
        """
        super().__init__(job, context)
        self.store, self.laws = context.store, laws
        self._stopping = Event()
        self._thread = Thread(target=self._run, name=f"training-{job.id}", daemon=True)
        self._kept = job.checkpoint
        self._manifest = dict(job.manifest)
        self._curve: Curve | None = None
        self._values: dict[str, float] | None = job.observables_last
        self._stale: set[str] = set()
        self._began = time.monotonic()  # a training has its device alone

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the training after the update that is being computed."""
        self._stopping.set()

    def hand_back(self) -> None:
        """Queue the job again, because the worker ends, with a checkpoint of the update that is being computed."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        super().hand_back()

    def _run(self) -> None:
        self.context.on_admitted()
        compute_threads.compute_on_pool()
        try:
            spec = TrainingSpec.model_validate(self.job.spec)
            with TemporaryDirectory(prefix="leym-training-") as folder:
                self._fetch_checkpoint(Path(folder) / checkpoint.FILE)
                law = train(
                    Recipe.model_validate(spec.plain_recipe()),
                    Path(folder),
                    resume=True,
                    device=pick_device().torch,
                    on_update=self._update,
                    should_stop=self._stopping.is_set,
                    on_row=self._row,
                    on_checkpoint=self._checkpoint,
                )
                self._finish(law)
        except Stopped:
            super().hand_back()  # unless whoever stopped it has set the outcome
        except (Diverged, ValueError) as error:
            self._fail(Problem(422, "Training failed", str(error)))
        except Fenced as fenced:
            self.give_up(str(fenced))
        except Exception as error:
            log.exception("job %s: the training failed", self.job.id)
            self.interrupt(error)

    def _fetch_checkpoint(self, file: Path) -> None:
        """Write the newest readable checkpoint into a file, if there is one; without one the training starts again."""
        refs = references(self.job.checkpoint)
        while refs:
            try:
                file.write_bytes(get_checkpoint(self.store, refs[0])["file"].tobytes())
                break
            except CorruptCheckpoint as problem:
                log.error("job %s: %s", self.job.id, problem.detail)
                refs = refs[1:]
        self._kept = chain_references(refs)
        if self._kept != self.job.checkpoint:
            self.table.fall_back(self.job.id, self.job.epoch, self._kept)

    def _row(self, curve: Curve) -> None:
        self._curve = curve

    def _update(self, number: int, values: dict[str, float]) -> None:
        """Commit the progress if the last commit was `commit_s` seconds ago."""
        self._values = values
        if self.outcome.done() or not self.wants_commit() or number == self.job.steps:
            return
        try:
            self._commit(number)
        except Fenced as fenced:
            self.give_up(str(fenced))
        except STORE_OR_TABLE_UNAVAILABLE as error:
            self.note_save_error(error)

    def _checkpoint(self, number: int, file: Path) -> None:
        """Store a checkpoint of the training and commit it."""
        if self.outcome.done():
            return
        content = {"file": np.frombuffer(file.read_bytes(), np.uint8)}
        saved = self.retry(lambda: put_checkpoint(self.store, self.job.id, self.job.epoch, number, content, self._kept))
        if saved is not None:
            before, self._kept = references(self._kept), saved
            self._stale |= {ref["key"] for ref in before} - {ref["key"] for ref in references(saved)}
            self.retry(lambda: self._commit(number))

    def _commit(self, number: int) -> bool:
        self._store_curve(number)
        # the last step is that of the end, which has the law
        self.table.commit(self.job.id, self.job.epoch, **self._row_values(min(number, self.job.steps - 1)))
        self.note_commit()
        if number > self.job.step:
            self.context.on_progress()
        self.events.announce(self.job.id, number, JobState.RUNNING)
        self._delete_replaced()
        return True

    def _store_curve(self, number: int, *, whole: bool = False) -> None:
        """Write the curve if enough of it is new, or with `whole` if anything is."""
        committed = self._manifest.get("curve", {})
        rows = committed.get("rows", 0)
        if self._curve is None or len(self._curve.rows) < rows + (1 if whole else 1 + rows // SHARE):
            return
        names = self._curve.names
        self._manifest["curve"] = put_curve(self.store, self.job.id, self.job.epoch, number, names, self._curve.rows)
        if "key" in committed:
            self._stale.add(committed["key"])

    def _row_values(self, step: int) -> dict[str, Any]:
        stored = sum(int(ref["bytes"]) for ref in references(self._kept))
        return {
            "step": step,
            "manifest": self._manifest,
            "checkpoint": self._kept,
            "observables_last": self._values,
            "device_s": self.job.device_s + time.monotonic() - self._began,
            "stored_bytes": stored + self._manifest.get("curve", {}).get("bytes", 0),
        }

    def _finish(self, law: Bundle) -> None:
        """Add the law to the project's, as an upload does, and end the job."""

        def finish() -> bool:
            self._store_curve(self.job.steps, whole=True)
            self.table.commit(self.job.id, self.job.epoch, **self._row_values(self.job.steps - 1))  # still its holder
            with versions.staging_folder(self.laws) as work:
                prepared = work / "law"
                shutil.copytree(law.path, prepared)
                versions.add_version(self.laws, prepared)
            self._forget_checkpoints()
            values = self._row_values(self.job.steps)
            self.table.finish(self.job.id, self.job.epoch, JobState.SUCCEEDED, law=law.ref, **values)
            return True

        if self.retry(finish):
            self._ended(JobState.SUCCEEDED, {"law": law.ref})

    def _fail(self, problem: Problem) -> None:
        error = problem.as_dict()

        def finish() -> bool:
            self._forget_checkpoints()
            values = self._row_values(self.job.step)
            self.table.finish(self.job.id, self.job.epoch, JobState.FAILED, error=error, **values)
            return True

        if self.retry(finish):
            self._ended(JobState.FAILED, {"error": error["detail"]})

    def _forget_checkpoints(self) -> None:
        """Let the row name no checkpoint, since nothing is left to continue."""
        self._stale |= {ref["key"] for ref in references(self._kept)}
        self._kept = {"groups": []}

    def _ended(self, state: JobState, result: dict[str, str]) -> None:
        self.events.announce(self.job.id, self.job.steps, state)
        self._delete_replaced()
        self.end_with({"state": str(state)} | result)

    def _delete_replaced(self) -> None:
        """Delete objects that the row names no more; after a failure they are left to the collector."""
        keys, self._stale = sorted(self._stale), set()
        try:
            if keys:
                self.store.delete(keys)
        except OSError as error:
            log.warning("job %s: replaced objects stay in the store: %s", self.job.id, error)
