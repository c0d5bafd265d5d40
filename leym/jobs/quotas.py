"""Quotas of projects and of the whole service.

Quotas on new jobs are checked when jobs are submitted. The limit on running jobs of a project is checked when a job is
claimed (`leym.jobs.leases`) and when its ticket is sent (`leym.jobs.outbox`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text

from leym.contract.problems import Problem
from leym.contract.records import LIVE, Job, JobState
from leym.jobs.schema import LIVE_MEMBERS, jobs, totals
from leym.settings import Settings

DAY_S = 86400.0
# Retry-After of a refusal, by the reason: live jobs end soon, results expire, the window of 24 hours moves.
LIVE_RETRY_S, STORAGE_RETRY_S, DAY_RETRY_S = 5, 60, 600

_RUNNING = (jobs.c.state == JobState.RUNNING, jobs.c.deleted_at.is_(None))


@dataclass(frozen=True)
class Quotas:
    """Limits on jobs and their results; 0 is no limit.

    Attributes:
        live_jobs: queued and running jobs of a project.
        cell_steps_per_day: cell-steps that a project submitted in the last 24 hours.
        live_jobs_of_all: queued and running jobs of all projects together.
        stored_bytes: size of the results of a project. Running jobs may exceed it.
        running_jobs: running jobs of a project. More jobs are accepted, but stay queued.
    """

    live_jobs: int = 0
    cell_steps_per_day: int = 0
    live_jobs_of_all: int = 0
    stored_bytes: int = 0
    running_jobs: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Quotas:
        """Return the quotas of the service's settings."""
        return cls(
            live_jobs=settings.quota_jobs,
            cell_steps_per_day=settings.quota_cell_steps,
            live_jobs_of_all=settings.max_jobs,
            stored_bytes=settings.quota_bytes,
            running_jobs=settings.quota_running,
        )

    def check(self, connection: Connection, project: str, new: Sequence[Job], now: float) -> None:
        """Check whether a project may submit the `new` jobs.

        Raises:
            Problem: 429 if a quota of the project would be exceeded, 503 if that of the service would; names the limit.
        """
        members = sum(job.members for job in new)
        if self.live_jobs_of_all:
            live = int(connection.execute(_LIVE_OF_ALL).scalar_one())
            if live + members > self.live_jobs_of_all:
                detail = f"{live} jobs are queued or running; {members} more would exceed the limit"
                raise Problem(
                    503, "The service is full", f"{detail} of {self.live_jobs_of_all}", retry_after_s=LIVE_RETRY_S
                )
        if self.stored_bytes:
            stored = stored_bytes(connection, project)
            if stored >= self.stored_bytes:
                detail = f"the results of project {project!r} take {stored} bytes; its quota is {self.stored_bytes}"
                advice = "delete jobs, or wait until results expire"
                raise Problem(429, "Quota reached", f"{detail}: {advice}", retry_after_s=STORAGE_RETRY_S)
        if self.live_jobs or self.cell_steps_per_day:
            _serialize(connection, f"leym quota {project}")
        if self.live_jobs:
            live = _live(connection, self.live_jobs, project)
            if live + members > self.live_jobs:
                detail = (
                    f"{live} jobs of project {project!r} are queued or running; {members} more would exceed its quota"
                    f" of {self.live_jobs}"
                )
                raise Problem(429, "Quota reached", detail, retry_after_s=LIVE_RETRY_S)
        if self.cell_steps_per_day:
            spent, wanted = (
                _cell_steps(connection, project, now - DAY_S),
                sum((job.steps - job.begins_at) * job.cells for job in new),
            )
            if spent + wanted > self.cell_steps_per_day:
                detail = (
                    f"project {project!r} submitted {spent} cell-steps in the last 24 hours; {wanted} more would exceed"
                    f" its quota of {self.cell_steps_per_day}"
                )
                raise Problem(429, "Quota reached", detail, retry_after_s=DAY_RETRY_S)

    def allows_running(self, connection: Connection, job: Job) -> bool:
        """Return True if the project of the job may run it too. No other transaction can use that room meanwhile."""
        if not self.running_jobs:
            return True
        _serialize(connection, f"leym running {job.project}")
        others = (*_RUNNING, jobs.c.project == job.project)
        some = select(jobs.c.members).where(*others).limit(self.running_jobs).subquery()
        return self.leaves_room(int(connection.execute(select(func.sum(some.c.members))).scalar_one() or 0), job)

    def leaves_room(self, running: int, job: Job) -> bool:
        """Return True if a project that runs `running` jobs may run `job` too: alone, it always may."""
        return not self.running_jobs or running == 0 or running + job.members <= self.running_jobs

    def count_running(self, connection: Connection) -> dict[str, int]:
        """Count the running jobs of each project; empty if their number is not limited."""
        if not self.running_jobs:
            return {}
        found = select(jobs.c.project, func.sum(jobs.c.members)).where(*_RUNNING).group_by(jobs.c.project)
        return {project: int(n) for project, n in connection.execute(found)}


def _serialize(connection: Connection, name: str) -> None:
    """Make transactions with the same lock name wait for each other; SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": name})


def stored_bytes(connection: Connection, project: str | None) -> int:
    """Add up the bytes of the results of a project, or of all (None). An index makes it fast for any number of jobs."""
    found = select(func.sum(jobs.c.stored_bytes)).where(jobs.c.stored_bytes > 0)
    if project is not None:
        found = found.where(jobs.c.project == project)
    return int(connection.execute(found).scalar_one() or 0)


# Computed from the totals: fast for any number of jobs, and accurate enough for this limit. A constant, because it
# takes longer to build the statement than to execute it.
_LIVE_OF_ALL = select(func.sum(totals.c.submitted - (totals.c.succeeded + totals.c.failed + totals.c.cancelled)))


def _live(connection: Connection, limit: int, project: str) -> int:
    """Count the queued and running jobs of a project, up to the limit."""
    mine = (jobs.c.project == project, jobs.c.state.in_(LIVE), jobs.c.deleted_at.is_(None))
    some = select(LIVE_MEMBERS.label("n")).where(*mine).limit(limit).subquery()
    return int(connection.execute(select(func.sum(some.c.n))).scalar_one() or 0)


def _cell_steps(connection: Connection, project: str, since: float) -> int:
    # multiplied in Python: the sum over many large jobs could exceed SQLite's integers
    statement = (
        # members that moved to another block are counted there
        select(
            jobs.c.height,
            jobs.c.width,
            func.sum((jobs.c.steps - jobs.c.begins_at) // jobs.c.members * (jobs.c.members - jobs.c.moved)),
        )
        .where(jobs.c.project == project, jobs.c.created_at > since)
        .group_by(jobs.c.height, jobs.c.width)
    )
    return sum(height * width * int(steps) for height, width, steps in connection.execute(statement))
