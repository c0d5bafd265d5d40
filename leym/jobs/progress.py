"""Progress of jobs: commits, which make frames visible to readers, and the end of a job.

Every write of a holder names the epoch of its claim, and `fence` refuses it if the job has another epoch by now.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import Column, Connection, Row, bindparam, func, select

from leym.contract.member_states import MemberState, MemberStates
from leym.contract.problems import conflict
from leym.contract.ranges import pack_ranges
from leym.contract.records import FINAL, LIVE, Fenced, Job, JobState
from leym.jobs.blocks import end_block
from leym.jobs.dependencies import block_new_dependents, live_dependencies
from leym.jobs.history import appended
from leym.jobs.member_progress import COUNTED, cancelled_places, merge_states, state_values
from leym.jobs.members import get_any
from leym.jobs.queries import COLUMNS, Base, change_job, checkpoint_bytes, chunks, dump, get_job, jobs_of
from leym.jobs.run_times import observe_quote
from leym.jobs.schema import jobs
from leym.jobs.statistics import count, observe

_ROW: tuple[Column[Any], ...] = (
    *(jobs.c.state, jobs.c.epoch, jobs.c.step, jobs.c.steps, jobs.c.height, jobs.c.width, jobs.c.frames),
    *(jobs.c.created_at, jobs.c.started_at, jobs.c.members, jobs.c.indices, jobs.c.member_states, jobs.c.cancelling),
    *(jobs.c.succeeded, jobs.c.failed, jobs.c.cancelled, jobs.c.moved, jobs.c.predicted_s),
)
_LOCKED_ROW = select(*_ROW).where(jobs.c.id == bindparam("job_id")).with_for_update()


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
        members: MemberStates | None = None,
        device_s: float | None = None,
        now: float | None = None,
    ) -> frozenset[int]:
        """Make frames up to `step` visible to readers: the row names their objects from now on.

        The objects must be durable already. Arguments that are None leave the row as it is; `step` never decreases.

        Args:
            job_id: the job.
            epoch: epoch of the caller's claim.
            step: last step whose frames are stored; of a block, it follows from `members`.
            manifest: objects of the frames (`FrameWriter.flush`).
            checkpoint: reference of the newest checkpoint (`put_checkpoint`).
            observables_last: newest value of each observable.
            stored_bytes: size of all objects that the row names.
            members: states of the members of a block, with the steps up to which their frames are stored.
            device_s: seconds of a device that the job has used, all attempts together.
            now: time at which members ended.

        Returns:
            Places of the members that a user has cancelled so far, at this commit and before. Their rows have ended.

        Raises:
            Fenced: the job is no longer held at this epoch.
        """
        now = time.time() if now is None else now
        with self.db.write() as connection:
            held = fence(connection, job_id, epoch)
            values, growth = _progress(held, step, manifest, checkpoint, observables_last, stored_bytes, members)
            if device_s is not None:
                values["device_s"] = device_s
            change_job(connection, job_id, **values)
            count(connection, **growth)
            ended = growth.get("succeeded", 0) + growth.get("failed", 0)
            observe(connection, [(held.created_at, held.started_at, now, ended)])
            return cancelled_places(held.cancelling)

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
        members: MemberStates | None = None,
        law: str | None = None,
        device_s: float | None = None,
        now: float | None = None,
    ) -> frozenset[int]:
        """Commit for the last time and end the job in the final `state`. Arguments and errors are those of `commit`.

        Members of a block that have not ended take the state and the error of the row. A training names the version of
        its law, name@digest, as `law`.
        """
        now = time.time() if now is None else now
        state = JobState(state)
        if state not in FINAL:
            raise ValueError(f"state = {state.value}: a job ends as {', '.join(sorted(FINAL))}")
        with self.db.write() as connection:
            held = fence(connection, job_id, epoch)
            values, growth = _progress(held, step, manifest, checkpoint, observables_last, stored_bytes, members)
            counted = _counts(held) | {name: values[name] for name in COUNTED if name in values}
            left = held.members - sum(counted.values())
            values |= {"state": state.value, "error": dump(error), "finished_at": now, "lease_until": None}
            if law is not None:
                values["law"] = law
            if device_s is not None:
                values["device_s"] = device_s
            if held.indices is not None:
                values |= {state.value: counted[state.value] + left, "remaining": 0}
            change_job(connection, job_id, **values)
            growth[state.value] = growth.get(state.value, 0) + left
            count(connection, **growth)
            ended = growth.get("succeeded", 0) + growth.get("failed", 0)
            observe(connection, [(held.created_at, held.started_at, now, ended)])
            if held.predicted_s is not None and state == JobState.SUCCEEDED and epoch == 1:
                observe_quote(connection, held.predicted_s, now - held.started_at)
            return cancelled_places(held.cancelling)

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
            fence(connection, job_id, epoch, state)
            job = get_job(connection, job_id)
            left = max(job.stored_bytes - checkpoint_bytes(job.checkpoint) + checkpoint_bytes(checkpoint), 0)
            attempts = {} if state == JobState.RUNNING else {"attempts": 0}
            event = appended("fell_back", why="a checkpoint was missing or damaged")
            change_job(connection, job_id, checkpoint=dump(checkpoint), stored_bytes=left, history=event, **attempts)

    def cancel(self, job_id: str, now: float | None = None) -> Job:
        """Cancel a job unless it has ended, and fence its holder. Returns the job.

        The other members of its block go on: the holder hears of a cancelled member at its next commit.

        Raises:
            Problem: 404 if there is no such job.
        """
        now = time.time() if now is None else now
        with self.db.write() as connection:
            job = get_any(connection, self.plans, job_id, self.project)
            if job.block is not None:
                return self._cancel_member(connection, job.block, job_id, now)
            job = get_job(connection, job_id, lock=True)
            if job.final:
                return job
            ended = replace(job, state=JobState.CANCELLED, epoch=job.epoch + 1, finished_at=now, lease_until=None)
            change_job(
                connection, job_id, state=ended.state.value, epoch=ended.epoch, finished_at=now, lease_until=None
            )
            count(connection, cancelled=end_block(connection, job, "cancelled"))
            return ended

    def _cancel_member(self, connection: Connection, block_id: str, member_id: str, now: float) -> Job:
        """Cancel a live member of a block, and end the block if no other member is live."""
        held = connection.execute(select(*_ROW).where(jobs.c.id == block_id).with_for_update()).one()
        job = get_any(connection, self.plans, member_id, self.project)
        if job.final or job.block != block_id:  # its block may have been split before the row was locked
            return job if job.final else self._cancel_member(connection, str(job.block), member_id, now)
        states = MemberStates.parse(held.member_states, held.members)
        states.end([job.place], MemberState.CANCELLED)
        places = sorted(cancelled_places(held.cancelling) | {job.place})
        values = state_values(held, states) | {"cancelling": pack_ranges(np.array(places, np.int64))}
        if not len(states.live):
            values |= {"state": _end_of(states).value, "epoch": held.epoch + 1, "finished_at": now, "lease_until": None}
        change_job(connection, block_id, **values)
        count(connection, cancelled=1)
        return get_any(connection, self.plans, member_id, self.project)

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
                    left = end_block(connection, job, "failed")
                    change_job(connection, job.id, state=JobState.FAILED.value, error=dump(error), **end)
                    observe(connection, [(job.created_at, job.started_at, now, left)])
                    count(connection, failed=left)
                    failed.append(replace(job, state=JobState.FAILED, error=error, **end))
        return failed

    def next_deadline(self) -> float | None:
        """Return the earliest deadline of a job that has not ended; None without one."""
        limited = (jobs.c.state.in_(LIVE), jobs.c.deadline_at.is_not(None))
        with self.db.read() as connection:
            found: float | None = connection.execute(select(func.min(jobs.c.deadline_at)).where(*limited)).scalar_one()
            return found

    def delete(self, job_id: str, now: float | None = None) -> Job:
        """Mark a job as deleted, and forget its frames and checkpoints. Returns the job.

        Raises:
            Problem: 404 if there is no such job; 409 if it has not ended, if a live job starts from its state, or if it
                shares its results with the other members of its block.
        """
        now = time.time() if now is None else now
        with self.db.write() as connection:
            block_new_dependents(connection)
            job = get_any(connection, self.plans, job_id, self.project)
            if job.block is not None:
                raise conflict(f"job {job_id} is a member of sweep {job.sweep}; delete the sweep to remove its results")
            job = get_job(connection, job_id, lock=True)
            if not job.final:
                raise conflict(f"job {job_id} is {job.state.value}; cancel it before deleting it")
            if job.deleted_at is not None:
                return job
            if forks := live_dependencies(connection, self.plans).jobs.get(job_id):
                named = ", ".join(forks[:3]) + (", …" if len(forks) > 3 else "")
                raise conflict(f"job {job_id} is the start of {len(forks)} live jobs ({named}); they must end first")
            change_job(connection, job_id, deleted_at=now, manifest="{}", checkpoint=None, stored_bytes=0)
            return replace(job, deleted_at=now, manifest={}, checkpoint=None, stored_bytes=0)


def fence(connection: Connection, job_id: str, epoch: int, state: JobState = JobState.RUNNING) -> Row[Any]:
    """Lock the row of a job and return it.

    Raises:
        Fenced: the job has another epoch or state than the caller believes.
    """
    row = connection.execute(_LOCKED_ROW, {"job_id": job_id}).first()
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
    members: MemberStates | None,
) -> tuple[dict[str, Any], dict[str, int]]:
    """Compute the new values of a row, and the increments of the totals."""
    of_members, ended = {}, {}
    if members is not None:
        of_members = state_values(held, merge_states(MemberStates.parse(held.member_states, held.members), members))
        step = of_members["step"]
        ended = {name: of_members[name] - n for name, n in _counts(held).items() if name != "moved"}
    step = max(step, held.step)
    frames = max(sum(array.get("committed", 0) for array in manifest.get("arrays", {}).values()), held.frames)
    values: dict[str, Any] = {
        "step": step,
        "remaining": max(held.steps - step, 0),
        "frames": frames,
        "manifest": dump(manifest),
    } | of_members
    if step > held.step:
        values["attempts"] = 1  # this claim got further than earlier ones
    if checkpoint is not None:
        values["checkpoint"] = dump(checkpoint)
    if observables_last is not None:
        values["observables_last"] = dump(observables_last)
    if stored_bytes is not None:
        values["stored_bytes"] = stored_bytes
    cell_steps = (step - held.step) * held.height * held.width
    return values, {"cell_steps": cell_steps, "frames": frames - held.frames, **ended}


def _counts(held: Row[Any]) -> dict[str, int]:
    return {name: getattr(held, name) for name in COUNTED}


def _end_of(states: MemberStates) -> JobState:
    """Return the state of a block whose members have all ended."""
    if states.count(MemberState.FAILED):
        return JobState.FAILED
    return JobState.SUCCEEDED if states.count(MemberState.SUCCEEDED) else JobState.CANCELLED
