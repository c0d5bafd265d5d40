"""Who runs a job: claims, their renewal, and what becomes of jobs whose holder is gone.

A claim raises the job's epoch. Every write of a holder names its epoch, so one that comes after the job was cancelled,
ended or claimed again is refused: it is fenced.

A lease is not over when some clock says so, for clocks jump and hosts differ: it is over when somebody has watched it
for its length and it was not renewed (`leym.jobs.lease_watch`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import Connection, select, update

from leym.contract.problems import Problem
from leym.contract.records import Claim, Job, JobState
from leym.jobs.queries import COLUMNS, Base, change_job, chunks, dump, find_job, jobs_of
from leym.jobs.schema import jobs
from leym.jobs.statistics import count, observe

Lease = tuple[int, float | None]  # the epoch of the claim and the moment that its last renewal named


class Leases(Base):
    def claim(
        self, job_id: str, owner: str, lease_s: float, max_attempts: int, now: float | None = None
    ) -> Claim | None:
        """Take a job that is queued. None when it is not.

        A job that was claimed `max_attempts` times without progress fails instead. One whose project has as many
        running as it may stays queued: it is put off, and the outbox sends its ticket again when there is room.
        """
        now = time.time() if now is None else now
        with self.db.write() as connection:
            job = find_job(connection, job_id, lock=True)
            if job is None or job.state != JobState.QUEUED:
                return None
            if job.attempts >= max_attempts:
                _fail_as_poison(connection, [job], max_attempts, now)
                return None
            if not self.quotas.lets_run(connection, job):
                change_job(connection, job_id, ticketed_at=None, put_off_at=now)
                return None
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
            )
            return Claim(claimed)

    def renew(self, owner: str, claims: Mapping[str, int], lease_s: float, now: float | None = None) -> set[str]:
        """Prolong the leases of `claims` (job id to epoch). The ids still held; the others are to be dropped."""
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
        """Queue a held job again, as if this claim had not been an attempt. False when it is not held any more."""
        with self.db.write() as connection:
            job = find_job(connection, job_id, lock=True)
            if job is None or job.state != JobState.RUNNING or job.epoch != epoch:
                return False
            _requeue(connection, job, max(job.attempts - 1, 0))
            return True

    def leases(self) -> dict[str, Lease]:
        """Of every running job, as it stands."""
        held = select(jobs.c.id, jobs.c.epoch, jobs.c.lease_until).where(jobs.c.state == JobState.RUNNING)
        with self.db.read() as connection:
            return {row.id: (row.epoch, row.lease_until) for row in connection.execute(held)}

    def reap(self, silent: Mapping[str, Lease], max_attempts: int, now: float | None = None) -> list[str]:
        """The ids of those of the `silent` jobs whose lease is still as given: they are queued again, or failed after
        `max_attempts` claims without progress."""
        now = time.time() if now is None else now
        reaped: list[str] = []
        for some in chunks(sorted(silent)):
            with self.db.write() as connection:
                held = (jobs.c.id.in_(some), jobs.c.state == JobState.RUNNING)
                rows = select(*COLUMNS).where(*held).order_by(jobs.c.id).with_for_update(skip_locked=True)
                lost = [job for job in jobs_of(connection, rows) if (job.epoch, job.lease_until) == silent[job.id]]
                for job in lost:
                    if job.attempts < max_attempts:
                        _requeue(connection, job, job.attempts)
                _fail_as_poison(connection, [job for job in lost if job.attempts >= max_attempts], max_attempts, now)
                reaped += [job.id for job in lost]
        return reaped


def _requeue(connection: Connection, job: Job, attempts: int) -> None:
    change_job(
        connection,
        job.id,
        state=JobState.QUEUED.value,
        attempts=attempts,
        owner=None,
        lease_until=None,
        ticketed_at=None,
    )


def _fail_as_poison(connection: Connection, poison: list[Job], max_attempts: int, now: float) -> None:
    for job in poison:
        detail = f"attempts = {job.attempts} claims without progress; a job has at most {max_attempts}"
        error = Problem(500, "Poison job", f"{detail}. The worker that held it last was {job.owner or 'not noted'}.")
        change_job(
            connection,
            job.id,
            state=JobState.FAILED.value,
            error=dump(error.as_dict()),
            finished_at=now,
            lease_until=None,
        )
    count(connection, failed=len(poison))
    observe(connection, [(job.created_at, job.started_at, now) for job in poison])
