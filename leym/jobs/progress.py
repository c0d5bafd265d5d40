"""How far a job is, and how it ends."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from sqlalchemy import Column, Connection, Row, select

from leym.contract.problems import conflict
from leym.contract.records import FINAL, LIVE, Fenced, Job, JobState
from leym.jobs.dependencies import hold_off_forks, live_sources
from leym.jobs.queries import COLUMNS, Base, change_job, chunks, dump, get_job, jobs_of
from leym.jobs.schema import jobs
from leym.jobs.statistics import count, observe

_HELD: tuple[Column[Any], ...] = (
    *(jobs.c.state, jobs.c.epoch, jobs.c.step, jobs.c.steps, jobs.c.height, jobs.c.width, jobs.c.frames),
    *(jobs.c.created_at, jobs.c.started_at),
)


class Progress(Base):
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
        """Frames up to `step` are stored, as `manifest` says. What is None stays as it was; so does a larger step.

        Raises Fenced when the job is not held at this epoch any more.
        """
        with self.db.write() as connection:
            held = _held(connection, job_id, epoch)
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
        """The last commit of a job, which ends in `state`, a final one. Raises like `commit`."""
        now = time.time() if now is None else now
        state = JobState(state)
        if state not in FINAL:
            raise ValueError(f"state = {state.value}: a job ends as {', '.join(sorted(FINAL))}")
        with self.db.write() as connection:
            held = _held(connection, job_id, epoch)
            values, growth = _progress(held, step, manifest, checkpoint, observables_last, stored_bytes)
            values |= {"state": state.value, "error": dump(error), "finished_at": now, "lease_until": None}
            change_job(connection, job_id, **values)
            count(connection, **growth, **{state.value: 1})
            if state != JobState.CANCELLED:
                observe(connection, [(held.created_at, held.started_at, now)])

    def go_back(
        self, job_id: str, epoch: int, checkpoint: dict[str, Any] | None, state: JobState = JobState.RUNNING
    ) -> None:
        """From now on the row names this older checkpoint (None: the job begins at step 0), and none behind it.

        Steps and frames that were committed since stay visible until they are there again. Of a job that nobody holds,
        `state` is what it was found in; what its attempts met with is not counted any more. Raises Fenced when it is
        in another state, or at another epoch.
        """
        with self.db.write() as connection:
            _held(connection, job_id, epoch, state)
            job = get_job(connection, job_id)
            left = max(job.stored_bytes - _bytes(job.checkpoint) + _bytes(checkpoint), 0)
            attempts = {} if state == JobState.RUNNING else {"attempts": 0}
            change_job(connection, job_id, checkpoint=dump(checkpoint), stored_bytes=left, **attempts)

    def cancel(self, job_id: str, now: float | None = None) -> Job:
        """The job, cancelled unless it had ended; its holder can write no more. Raises Problem 404."""
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
        """Fail jobs whose deadline has passed, waiting and running ones; what they committed stays, and their holders
        can write no more.

        Returns the jobs that this call failed, at most `limit` of them.
        """
        now = time.time() if now is None else now
        overdue = (jobs.c.state.in_(LIVE), jobs.c.deadline_at <= now)
        with self.db.read() as connection:  # mostly there are none, and readers keep nobody waiting
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
        """The job, marked as deleted, without frames and checkpoint.

        Raises Problem 404, and 409 if it has not ended, or a live job starts from its state.
        """
        now = time.time() if now is None else now
        with self.db.write() as connection:
            hold_off_forks(connection)
            job = self._job(connection, job_id, lock=True)
            if not job.final:
                raise conflict(f"job {job_id} is {job.state.value}; cancel it before deleting it")
            if job.deleted_at is not None:
                return job
            if forks := live_sources(connection).jobs.get(job_id):
                named = ", ".join(forks[:3]) + (", …" if len(forks) > 3 else "")
                raise conflict(f"job {job_id} is the start of {len(forks)} live jobs ({named}); they must end first")
            change_job(connection, job_id, deleted_at=now, manifest="{}", checkpoint=None, stored_bytes=0)
            return replace(job, deleted_at=now, manifest={}, checkpoint=None, stored_bytes=0)


def _bytes(checkpoint: dict[str, Any] | None) -> int:
    """Of a checkpoint and of those that it names as the ones before it."""
    return int(checkpoint["bytes"]) + _bytes(checkpoint.get("previous")) if checkpoint else 0


def _held(connection: Connection, job_id: str, epoch: int, state: JobState = JobState.RUNNING) -> Row[Any]:
    row = connection.execute(select(*_HELD).where(jobs.c.id == job_id).with_for_update()).first()
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
    """What to change in the row, and by how much the totals grow."""
    step = max(step, held.step)
    frames = max(sum(array["committed"] for array in manifest.get("arrays", {}).values()), held.frames)
    values: dict[str, Any] = {
        "step": step,
        "remaining": max(held.steps - step, 0),
        "frames": frames,
        "manifest": dump(manifest),
    }
    if step > held.step:
        values["attempts"] = 1  # this claim came further than those before it
    if checkpoint is not None:
        values["checkpoint"] = dump(checkpoint)
    if observables_last is not None:
        values["observables_last"] = dump(observables_last)
    if stored_bytes is not None:
        values["stored_bytes"] = stored_bytes
    return values, {"cell_steps": (step - held.step) * held.height * held.width, "frames": frames - held.frames}
