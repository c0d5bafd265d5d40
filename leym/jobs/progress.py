"""Progress of jobs: commits, which make frames visible to readers, and the end of a job.

Every write of a holder names the epoch of its claim, and `_fence` refuses it if the job has another epoch by now.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from sqlalchemy import Column, Connection, Row, select

from leym.contract.problems import conflict
from leym.contract.records import FINAL, LIVE, Fenced, Job, JobState
from leym.jobs.dependencies import block_new_dependents, live_dependencies
from leym.jobs.queries import COLUMNS, Base, change_job, chunks, dump, get_job, jobs_of
from leym.jobs.schema import jobs
from leym.jobs.statistics import count, observe

_ROW: tuple[Column[Any], ...] = (
    *(jobs.c.state, jobs.c.epoch, jobs.c.step, jobs.c.steps, jobs.c.height, jobs.c.width, jobs.c.frames),
    *(jobs.c.created_at, jobs.c.started_at),
)


class Progress(Base):
    """Commits, and all ways in which a job ends."""

    def commit(
        self,
        job_id: str,
        epoch: int,
        *,
        step: int,
        manifest: dict[str, Any],
        checkpoint: dict[str, Any] | None = None,
        observables_last: dict[str, Any] | None = None,
        stored_bytes: int | None = None,
    ) -> None:
        """Make frames up to `step` visible to readers: the row names their objects from now on.

        The objects must be durable already. Arguments that are None leave the row as it is; `step` never decreases.

        Args:
            job_id: the job.
            epoch: epoch of the caller's claim.
            step: last step whose frames are stored.
            manifest: objects of the frames (`FrameWriter.flush`).
            checkpoint: reference of the newest checkpoint (`put_checkpoint`).
            observables_last: newest value of each observable.
            stored_bytes: size of all objects that the row names.

        Raises:
            Fenced: the job is no longer held at this epoch.
        """
        with self.db.write() as connection:
            held = _fence(connection, job_id, epoch)
            values, growth = _progress(held, step, manifest, checkpoint, observables_last, stored_bytes)
            change_job(connection, job_id, **values)
            count(connection, **growth)

    def finish(
        self,
        job_id: str,
        epoch: int,
        state: JobState,
        *,
        step: int,
        manifest: dict[str, Any],
        error: dict[str, Any] | None = None,
        observables_last: dict[str, Any] | None = None,
        checkpoint: dict[str, Any] | None = None,
        stored_bytes: int | None = None,
        now: float | None = None,
    ) -> None:
        """Commit for the last time and end the job in the final `state`. Arguments and errors are those of `commit`."""
        now = time.time() if now is None else now
        state = JobState(state)
        if state not in FINAL:
            raise ValueError(f"state = {state.value}: a job ends as {', '.join(sorted(FINAL))}")
        with self.db.write() as connection:
            held = _fence(connection, job_id, epoch)
            values, growth = _progress(held, step, manifest, checkpoint, observables_last, stored_bytes)
            values |= {"state": state.value, "error": dump(error), "finished_at": now, "lease_until": None}
            change_job(connection, job_id, **values)
            count(connection, **growth, **{state.value: 1})
            if state != JobState.CANCELLED:
                observe(connection, [(held.created_at, held.started_at, now)])

    def fall_back(
        self, job_id: str, epoch: int, checkpoint: dict[str, Any] | None, state: JobState = JobState.RUNNING
    ) -> None:
        """Make an older checkpoint the newest one, because later ones are unreadable.

        Committed steps and frames stay visible; the job computes them again. If nobody holds the job, its attempts
        start to count from 0 again.

        Args:
            job_id: the job.
            epoch: epoch of the caller's claim, or that of the row if nobody holds the job.
            checkpoint: reference to the older checkpoint; None to start from step 0.
            state: state in which the caller found the job.

        Raises:
            Fenced: the job has another state or epoch by now.
        """
        with self.db.write() as connection:
            _fence(connection, job_id, epoch, state)
            job = get_job(connection, job_id)
            left = max(job.stored_bytes - _bytes(job.checkpoint) + _bytes(checkpoint), 0)
            attempts = {} if state == JobState.RUNNING else {"attempts": 0}
            change_job(connection, job_id, checkpoint=dump(checkpoint), stored_bytes=left, **attempts)

    def cancel(self, job_id: str, now: float | None = None) -> Job:
        """Cancel a job unless it has ended, and fence its holder. Returns the job.

        Raises:
            Problem: 404 if there is no such job.
        """
        now = time.time() if now is None else now
        with self.db.write() as connection:
            job = self._job(connection, job_id, lock=True)
            if job.final:
                return job
            ended = replace(job, state=JobState.CANCELLED, epoch=job.epoch + 1, finished_at=now, lease_until=None)
            change_job(
                connection, job_id, state=ended.state.value, epoch=ended.epoch, finished_at=now, lease_until=None
            )
            count(connection, cancelled=1)
            return ended

    def fail_overdue(self, now: float | None = None, limit: int = 500) -> list[Job]:
        """Fail queued and running jobs whose deadline has passed, and fence their holders.

        Committed results stay.

        Returns:
            The jobs that this call failed, at most `limit`.
        """
        now = time.time() if now is None else now
        overdue = (jobs.c.state.in_(LIVE), jobs.c.deadline_at <= now)
        with self.db.read() as connection:  # usually there are none, and reading blocks nobody
            ids = list(connection.scalars(select(jobs.c.id).where(*overdue).order_by(jobs.c.id).limit(limit)))
        failed: list[Job] = []
        for some in chunks(ids):
            with self.db.write() as connection:
                rows = select(*COLUMNS).where(jobs.c.id.in_(some), *overdue).order_by(jobs.c.id).with_for_update()
                for job in jobs_of(connection, rows):
                    error = job.deadline_passed()
                    end: dict[str, Any] = {"epoch": job.epoch + 1, "finished_at": now, "lease_until": None}
                    change_job(connection, job.id, state=JobState.FAILED.value, error=dump(error), **end)
                    observe(connection, [(job.created_at, job.started_at, now)])
                    count(connection, failed=1)
                    failed.append(replace(job, state=JobState.FAILED, error=error, **end))
        return failed

    def delete(self, job_id: str, now: float | None = None) -> Job:
        """Mark a job as deleted, and forget its frames and checkpoints. Returns the job.

        Raises:
            Problem: 404 if there is no such job; 409 if it has not ended, or if a live job starts from its state.
        """
        now = time.time() if now is None else now
        with self.db.write() as connection:
            block_new_dependents(connection)
            job = self._job(connection, job_id, lock=True)
            if not job.final:
                raise conflict(f"job {job_id} is {job.state.value}; cancel it before deleting it")
            if job.deleted_at is not None:
                return job
            if forks := live_dependencies(connection).jobs.get(job_id):
                named = ", ".join(forks[:3]) + (", …" if len(forks) > 3 else "")
                raise conflict(f"job {job_id} is the start of {len(forks)} live jobs ({named}); they must end first")
            change_job(connection, job_id, deleted_at=now, manifest="{}", checkpoint=None, stored_bytes=0)
            return replace(job, deleted_at=now, manifest={}, checkpoint=None, stored_bytes=0)


def _bytes(checkpoint: dict[str, Any] | None) -> int:
    """Add up the sizes of a checkpoint and of the previous ones that it names."""
    return int(checkpoint["bytes"]) + _bytes(checkpoint.get("previous")) if checkpoint else 0


def _fence(connection: Connection, job_id: str, epoch: int, state: JobState = JobState.RUNNING) -> Row[Any]:
    """Lock the row of a job and return it.

    Raises:
        Fenced: the job has another epoch or state than the caller believes.
    """
    row = connection.execute(select(*_ROW).where(jobs.c.id == job_id).with_for_update()).first()
    if row is None:
        raise Fenced(job_id, epoch, "there is no such job")
    if row.epoch != epoch or row.state != state:
        raise Fenced(job_id, epoch, f"it is {row.state} at epoch {row.epoch}")
    return row


def _progress(
    held: Row[Any],
    step: int,
    manifest: dict[str, Any],
    checkpoint: dict[str, Any] | None,
    observables_last: dict[str, Any] | None,
    stored_bytes: int | None,
) -> tuple[dict[str, Any], dict[str, int]]:
    """Compute the new values of a row, and the increments of the totals."""
    step = max(step, held.step)
    frames = max(sum(array["committed"] for array in manifest.get("arrays", {}).values()), held.frames)
    values: dict[str, Any] = {
        "step": step,
        "remaining": max(held.steps - step, 0),
        "frames": frames,
        "manifest": dump(manifest),
    }
    if step > held.step:
        values["attempts"] = 1  # this claim got further than earlier ones
    if checkpoint is not None:
        values["checkpoint"] = dump(checkpoint)
    if observables_last is not None:
        values["observables_last"] = dump(observables_last)
    if stored_bytes is not None:
        values["stored_bytes"] = stored_bytes
    return values, {"cell_steps": (step - held.step) * held.height * held.width, "frames": frames - held.frames}
