"""Changes to whole sweeps: cancel, pause, resume, priority, retry of failed members, removal of results."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, select, update

from leym.contract.member_states import MemberState
from leym.contract.problems import conflict, not_found
from leym.contract.records import LIVE, Job, JobState
from leym.jobs.blocks import move_members
from leym.jobs.dependencies import block_new_dependents, live_dependencies
from leym.jobs.history import appended
from leym.jobs.member_progress import state_values
from leym.jobs.members import BlockRow, load_plan
from leym.jobs.queries import COLUMNS, Base, change_job, jobs_of
from leym.jobs.schema import LIVE_MEMBERS, jobs, sweeps
from leym.jobs.statistics import count

_RUNNING = jobs.c.state == JobState.RUNNING
_ENDED_WITH = {
    JobState.SUCCEEDED: MemberState.SUCCEEDED,
    JobState.FAILED: MemberState.FAILED,
    JobState.CANCELLED: MemberState.CANCELLED,
}


class SweepLife(Base):
    """Changes to whole sweeps. Each is one transaction over the rows of the sweep."""

    def cancel_sweep(self, sweep_id: str, now: float | None = None) -> int:
        """Cancel the jobs that have not ended, fence their holders, and return the number of these jobs.

        Raises:
            Problem: 404 if there is no such sweep.
        """
        now = time.time() if now is None else now
        with self.db.write() as connection:
            live = self._lock(connection, sweep_id, jobs.c.state.in_(LIVE))
            cancelled = sum(n for _, n in live)
            # a member without a state of its own has that of its row, so that no member is written
            ended = {"cancelled": jobs.c.cancelled + LIVE_MEMBERS, "remaining": 0}
            of_blocks = {name: case((jobs.c.indices.is_(None), jobs.c[name]), else_=new) for name, new in ended.items()}
            end: dict[str, Any] = {"state": JobState.CANCELLED, "finished_at": now, "lease_until": None}
            connection.execute(
                update(jobs)
                .where(jobs.c.sweep == sweep_id, jobs.c.state.in_(LIVE))
                .values(epoch=jobs.c.epoch + 1, **end, **of_blocks)
            )
            first = (sweeps.c.id == sweep_id, sweeps.c.cancelled_at.is_(None))
            connection.execute(update(sweeps).where(*first).values(cancelled_at=now))
            count(connection, cancelled=cancelled)
            return cancelled

    def live_rows(self, sweep_id: str) -> list[Job]:
        """Return the rows of a sweep that have not ended: blocks, or jobs in a sweep of version 0.1.0."""
        live = (jobs.c.sweep == sweep_id, jobs.c.state.in_(LIVE), *self._own())
        with self.db.read() as connection:
            return jobs_of(connection, select(*COLUMNS).where(*live).order_by(jobs.c.id))

    def pause_sweep(self, sweep_id: str, now: float | None = None) -> list[str]:
        """Pause the jobs that have not ended: nobody claims them. Fence the holders of running ones.

        Returns:
            Ids of the rows that were running.

        Raises:
            Problem: 404 if there is no such sweep.
        """
        now = time.time() if now is None else now
        with self.db.write() as connection:
            waiting = jobs.c.state.in_((JobState.QUEUED, JobState.RUNNING))
            self._lock(connection, sweep_id, waiting)
            running = select(jobs.c.id).where(jobs.c.sweep == sweep_id, _RUNNING).order_by(jobs.c.id)
            fenced = list(connection.scalars(running))
            # the claim was ended by the user, so that it is no attempt
            attempts = case((jobs.c.attempts > 0, jobs.c.attempts - 1), else_=0)
            connection.execute(
                update(jobs)
                .where(jobs.c.sweep == sweep_id, waiting)
                .values(
                    epoch=case((_RUNNING, jobs.c.epoch + 1), else_=jobs.c.epoch),
                    attempts=case((_RUNNING, attempts), else_=jobs.c.attempts),
                    state=JobState.PAUSED,
                    lease_until=None,
                    ticketed_at=None,
                    history=appended("paused", now),
                )
            )
            paused = (sweeps.c.id == sweep_id, sweeps.c.paused_at.is_(None))
            connection.execute(update(sweeps).where(*paused).values(paused_at=now))
            return fenced

    def resume_sweep(self, sweep_id: str) -> list[Job]:
        """Return the paused jobs to the queue. They go on from their last checkpoints.

        Returns:
            The rows that need tickets; the outbox finds them too.

        Raises:
            Problem: 404 if there is no such sweep.
        """
        with self.db.write() as connection:
            paused = jobs.c.state == JobState.PAUSED
            ids = [id for id, _ in self._lock(connection, sweep_id, paused)]
            connection.execute(
                update(jobs)
                .where(jobs.c.sweep == sweep_id, paused)
                .values(state=JobState.QUEUED, history=appended("resumed"))
            )
            connection.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(paused_at=None))
            return self._queued(connection, sweep_id) if ids else []

    def set_sweep_priority(self, sweep_id: str, priority: int) -> list[Job]:
        """Change the priority of the jobs that have not ended. A running one has it from its next claim on.

        Returns:
            The queued rows, which need tickets of the new priority; a second ticket does no harm.

        Raises:
            Problem: 404 if there is no such sweep.
        """
        with self.db.write() as connection:
            self._lock(connection, sweep_id, jobs.c.state.in_(LIVE))
            live = (jobs.c.sweep == sweep_id, jobs.c.state.in_(LIVE))
            connection.execute(update(jobs).where(*live).values(priority=priority))
            return self._queued(connection, sweep_id)

    def retry_sweep(self, sweep_id: str, now: float | None = None) -> tuple[int, list[Job]]:
        """Run the failed members again, from the beginning, in blocks of their own.

        Returns:
            The number of these members, and the rows of their blocks.

        Raises:
            Problem: 404 if there is no such sweep; 409 if its members are rows, as in version 0.1.0; 429 or 503 if a
                quota would be exceeded.
        """
        now = time.time() if now is None else now
        with self.db.write() as connection:
            self._lock(connection, sweep_id, jobs.c.failed > 0)
            sweep = connection.execute(select(sweeps).where(sweeps.c.id == sweep_id)).one()
            if not sweep.blocks:
                raise conflict(f"sweep {sweep_id} was submitted by version 0.1.0; submit its failed jobs again instead")
            failed = select(*COLUMNS).where(jobs.c.sweep == sweep_id, jobs.c.failed > 0).order_by(jobs.c.id)
            rows, plan = jobs_of(connection, failed), load_plan(connection, self.plans, sweep_id)
            state = JobState.QUEUED if sweep.paused_at is None else JobState.PAUSED
            made, retried = [], 0
            for row in rows:
                block = BlockRow.of(row)
                places = block.kept[block.in_state(JobState.FAILED, block.kept)]
                limit = row.spec.get("deadline_s")
                times = {"created_at": now, "deadline_at": None if limit is None else now + limit, "started_at": None}
                made.append(
                    move_members(
                        connection, plan, block, places, state=state.value, attempts=0, deleted_at=None, **times
                    )
                )
                retried += len(places)
                change_job(connection, row.id, **_after_retry(row, block))
            new = jobs_of(connection, select(*COLUMNS).where(jobs.c.id.in_(made)).order_by(jobs.c.id)) if made else []
            if made:
                connection.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(cancelled_at=None, event=None))
            count(connection, submitted=retried)
            self.quotas.check(connection, sweep.project, [], now)  # the new rows are among the live ones already
            return retried, new

    def delete_sweep(self, sweep_id: str, now: float | None = None) -> list[str]:
        """Mark the jobs of a sweep as deleted, and forget their frames and checkpoints.

        Returns:
            Ids of the rows whose results can be removed.

        Raises:
            Problem: 404 if there is no such sweep; 409 if it has not ended, or if a live job starts from a member.
        """
        now = time.time() if now is None else now
        with self.db.write() as connection:
            block_new_dependents(connection)
            ids = [id for id, _ in self._lock(connection, sweep_id, jobs.c.deleted_at.is_(None))]
            live = (jobs.c.sweep == sweep_id, jobs.c.state.in_(LIVE))
            if connection.execute(select(jobs.c.id).where(*live).limit(1)).first():
                raise conflict(f"sweep {sweep_id} has not ended; cancel it before deleting it")
            needed = live_dependencies(connection, self.plans).jobs
            if forks := [fork for id in ids for fork in needed.get(id, ())]:
                named = ", ".join(forks[:3]) + (", …" if len(forks) > 3 else "")
                raise conflict(
                    f"{len(forks)} live jobs ({named}) start from members of sweep {sweep_id}; they must end first"
                )
            gone = {"deleted_at": now, "manifest": "{}", "checkpoint": None, "stored_bytes": 0}
            connection.execute(update(jobs).where(jobs.c.sweep == sweep_id, jobs.c.deleted_at.is_(None)).values(**gone))
            return ids

    def _lock(self, connection: Connection, sweep_id: str, chosen: ColumnElement[bool]) -> list[tuple[str, int]]:
        """Lock a sweep and the chosen rows of it, and return their ids with the numbers of their live members.

        Raises:
            Problem: 404 if there is no such sweep in the project.
        """
        # the row of the sweep first, so that no members are added meanwhile
        project = connection.execute(select(sweeps.c.project).where(sweeps.c.id == sweep_id).with_for_update()).scalar()
        if project is None or self.project not in (None, project):
            raise not_found("sweep", sweep_id)
        rows = select(jobs.c.id, LIVE_MEMBERS).where(jobs.c.sweep == sweep_id, chosen).order_by(jobs.c.id)
        return [(id, int(n)) for id, n in connection.execute(rows.with_for_update())]

    def _queued(self, connection: Connection, sweep_id: str) -> list[Job]:
        queued = (jobs.c.sweep == sweep_id, jobs.c.state == JobState.QUEUED)
        return jobs_of(connection, select(*COLUMNS).where(*queued).order_by(jobs.c.id))


def _after_retry(row: Job, block: BlockRow) -> dict[str, Any]:
    """Return the columns of a row whose failed members have moved."""
    states = block.states
    if row.final:  # members that ended with the row get states of their own, since the counts are made from them
        states.end(states.live, _ENDED_WITH[row.state])
    return state_values(row, states)
