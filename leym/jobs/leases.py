"""Leases: workers claim jobs, renew their leases, and lose the jobs whose leases they do not renew.

A claim raises the epoch of the job. Every write of a holder names its epoch (`leym.jobs.progress`). A write that comes
after the job was cancelled, ended or claimed again is refused: it is fenced.

The end of a lease does not depend on the time of a clock, because clocks jump and hosts differ. A lease has lapsed when
somebody has watched it for its length and it was not renewed (`leym.jobs.lease_watch`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, bindparam, select, update

from leym.contract.problems import Problem
from leym.contract.records import Claim, Job, JobState
from leym.jobs.blocks import fail_last, requeue, split
from leym.jobs.history import KEPT, appended, shortened
from leym.jobs.member_progress import cancelled_places
from leym.jobs.members import load_plan
from leym.jobs.queries import COLUMNS, Base, change_job, chunks, find_job, jobs_of
from leym.jobs.schema import jobs
from leym.jobs.statistics import count, observe

Lease = tuple[int, float | None]  # epoch of the claim, and `lease_until` of the last renewal
_ATTEMPTS = select(jobs.c.attempts).where(jobs.c.id == bindparam("row_id"))


class Leases(Base):
    """Claims, renewals and reaping of jobs."""

    def attempts(self, row_id: str) -> int:
        """Return how often a row was claimed without progress; 0 if there is no such row."""
        with self.db.read() as connection:
            return connection.execute(_ATTEMPTS, {"row_id": row_id}).scalar() or 0

    def claim(
        self, job_id: str, owner: str, lease_s: float, max_attempts: int, now: float | None = None
    ) -> Claim | None:
        """Claim a queued job for the worker `owner`: raise its epoch, start its lease and set it running.

        Returns:
            The claim; None if the job is not queued, or cannot run now. A job that was claimed `max_attempts` times
            without progress fails; a block of several members is divided instead, until the member is found. A job
            whose project runs as many jobs as it may is held back: it stays queued
            without a ticket, and the outbox sends a new one when the project is below its limit.
        """
        now = time.time() if now is None else now
        with self.db.write() as connection:
            job = find_job(connection, job_id, lock=True)
            if job is None or job.state != JobState.QUEUED:
                return None
            if job.attempts >= max_attempts:
                self._end_poisonous(connection, [job], max_attempts, now)
                return None
            if not self.quotas.allows_running(connection, job):
                change_job(connection, job_id, ticketed_at=None, held_back_at=now)
                return None
            if job.epoch and job.epoch % KEPT == 0:
                text = connection.execute(select(jobs.c.history).where(jobs.c.id == job_id)).scalar_one()
                change_job(connection, job_id, history=shortened(text))
            claimed = replace(
                job,
                state=JobState.RUNNING,
                epoch=job.epoch + 1,
                attempts=job.attempts + 1,
                owner=owner,
                lease_until=now + lease_s,
                started_at=now if job.started_at is None else job.started_at,
            )
            change_job(
                connection,
                job_id,
                state=claimed.state.value,
                epoch=claimed.epoch,
                attempts=claimed.attempts,
                owner=owner,
                lease_until=claimed.lease_until,
                started_at=claimed.started_at,
                history=appended(
                    "claimed", now, worker=owner, epoch=claimed.epoch, attempt=claimed.attempts, step=job.step
                ),
            )
            return Claim(claimed)

    def renew(self, owner: str, claims: Mapping[str, int], lease_s: float, now: float | None = None) -> set[str]:
        """Renew the leases of the jobs that the worker `owner` runs.

        Args:
            owner: name of the worker.
            claims: epoch of each claimed job, by job id.
            lease_s: length of the new leases in seconds.
            now: time of the renewal.

        Returns:
            Ids of the jobs that the worker still holds; it must drop the others.
        """
        now = time.time() if now is None else now
        held: set[str] = set()
        if not claims:
            return held
        with self.db.write() as connection:
            for some in chunks(sorted(claims)):
                mine = (jobs.c.id.in_(some), jobs.c.state == JobState.RUNNING, jobs.c.owner == owner)
                rows = connection.execute(
                    select(jobs.c.id, jobs.c.epoch).where(*mine).order_by(jobs.c.id).with_for_update()
                )
                these = [row.id for row in rows if row.epoch == claims[row.id]]
                if these:
                    connection.execute(update(jobs).where(jobs.c.id.in_(these)).values(lease_until=now + lease_s))
                held.update(these)
        return held

    def hand_back(self, job_id: str, epoch: int) -> bool:
        """Return a held job to the queue without counting the claim as an attempt. False if it is no longer held."""
        with self.db.write() as connection:
            job = find_job(connection, job_id, lock=True)
            if job is None or job.state != JobState.RUNNING or job.epoch != epoch:
                return False
            requeue(connection, job, max(job.attempts - 1, 0), "the worker ended, and handed it back")
            return True

    def leases(self) -> dict[str, Lease]:
        """Return the lease of every running job, by job id."""
        held = select(jobs.c.id, jobs.c.epoch, jobs.c.lease_until).where(jobs.c.state == JobState.RUNNING)
        with self.db.read() as connection:
            return {row.id: (row.epoch, row.lease_until) for row in connection.execute(held)}

    def reap(self, lapsed: Mapping[str, Lease], max_attempts: int, now: float | None = None) -> list[str]:
        """Take jobs from workers that no longer renew their leases.

        Jobs return to the queue, or fail after `max_attempts` claims without progress. A job whose lease was renewed
        since it was watched keeps its holder.

        Args:
            lapsed: leases that have lapsed, by job id (`LeaseWatch.lapsed`).
            max_attempts: claims without progress after which a job fails.
            now: time of failures.

        Returns:
            Ids of the jobs that were taken from their workers.
        """
        now = time.time() if now is None else now
        reaped: list[str] = []
        for some in chunks(sorted(lapsed)):
            with self.db.write() as connection:
                held = (jobs.c.id.in_(some), jobs.c.state == JobState.RUNNING)
                rows = select(*COLUMNS).where(*held).order_by(jobs.c.id).with_for_update(skip_locked=True)
                lost = [job for job in jobs_of(connection, rows) if (job.epoch, job.lease_until) == lapsed[job.id]]
                for job in lost:
                    if job.attempts < max_attempts:
                        requeue(connection, job, job.attempts, "its worker fell silent", now)
                poison = [job for job in lost if job.attempts >= max_attempts]
                self._end_poisonous(connection, poison, max_attempts, now)
                reaped += [job.id for job in lost]
        return reaped

    def cancelled_members(self, job_ids: Sequence[str]) -> dict[str, frozenset[int]]:
        """Return the places of the members that users have cancelled, by the id of the row. Other rows are left out.

        A holder hears of them at its next commit too.
        """
        found: dict[str, frozenset[int]] = {}
        with self.db.read() as connection:
            for some in chunks(job_ids):
                heard = select(jobs.c.id, jobs.c.cancelling).where(jobs.c.id.in_(some), jobs.c.cancelling.is_not(None))
                found |= {row.id: cancelled_places(row.cancelling) for row in connection.execute(heard)}
        return found

    def _end_poisonous(self, connection: Connection, poison: list[Job], max_attempts: int, now: float) -> None:
        """Fail jobs that were claimed too often without progress, since they may be what kills their workers.

        Blocks of several members are divided.
        """
        ended = []
        for job in poison:
            if (
                job.sweep
                and job.indices
                and split(connection, load_plan(connection, self.plans, job.sweep), job, max(max_attempts - 1, 0))
            ):
                continue
            detail = f"attempts = {job.attempts} claims without progress; a job has at most {max_attempts}"
            error = Problem(
                500, "Poison job", f"{detail}. The worker that held it last was {job.owner or 'not noted'}."
            )
            ended.append((job, fail_last(connection, job, error, now)))
        count(connection, failed=sum(n for _, n in ended))
        observe(connection, [(job.created_at, job.started_at, now, n) for job, n in ended])
