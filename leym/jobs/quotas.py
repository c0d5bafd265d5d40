"""How much one project, and the whole service, may have on its hands. Checked where new jobs are written, and, for how
many of a project run at once, where they are claimed and where their tickets are sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text

from leym.contract.problems import Problem
from leym.contract.records import LIVE, Job, JobState
from leym.jobs.schema import jobs, totals
from leym.settings import Settings

DAY_S = 86400.0
SOON_S, ROOM_S, LATER_S = 5, 60, 600  # when to ask again: jobs have ended; results have expired; a day has moved on

_RUNNING = (jobs.c.state == JobState.RUNNING, jobs.c.deleted_at.is_(None))


@dataclass(frozen=True)
class Quotas:
    """0 is no bound. live_jobs: of a project, that wait or run; cell_steps_per_day: of a project, submitted in the last
    24 hours; stored_bytes: of a project's results, which jobs that run may pass; live_jobs_of_all: beyond it nobody's
    jobs are taken in; running_jobs: of a project, at once: more of them are taken in, and wait."""

    live_jobs: int = 0
    cell_steps_per_day: int = 0
    live_jobs_of_all: int = 0
    stored_bytes: int = 0
    running_jobs: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Quotas:
        return cls(
            live_jobs=settings.quota_jobs,
            cell_steps_per_day=settings.quota_cell_steps,
            live_jobs_of_all=settings.max_jobs,
            stored_bytes=settings.quota_bytes,
            running_jobs=settings.quota_running,
        )

    def check(self, connection: Connection, project: str, new: Sequence[Job], now: float) -> None:
        """Raises Problem 429 (the project has enough) or 503 (the service has), naming the bound."""
        if self.live_jobs_of_all:
            there = int(connection.execute(_LIVE_OF_ALL).scalar_one())
            if there + len(new) > self.live_jobs_of_all:
                detail = f"{there} jobs wait or run, and {len(new)} more would pass the bound {self.live_jobs_of_all}"
                raise Problem(503, "The service is full", detail, retry_after_s=SOON_S)
        if self.stored_bytes:
            there = stored_bytes(connection, project)
            if there >= self.stored_bytes:
                detail = f"the results of project {project!r} take {there} bytes; its quota is {self.stored_bytes}"
                advice = "delete jobs, or wait until results expire"
                raise Problem(429, "Quota reached", f"{detail}: {advice}", retry_after_s=ROOM_S)
        if self.live_jobs or self.cell_steps_per_day:
            _one_at_a_time(connection, f"leym quota {project}")
        if self.live_jobs:
            there = _live(connection, self.live_jobs, project)
            if there + len(new) > self.live_jobs:
                detail = f"{there} jobs of project {project!r} wait or run; {len(new)} more would pass its quota"
                raise Problem(429, "Quota reached", f"{detail} of {self.live_jobs}", retry_after_s=SOON_S)
        if self.cell_steps_per_day:
            spent, wanted = _cell_steps(connection, project, now - DAY_S), sum(job.steps * job.cells for job in new)
            if spent + wanted > self.cell_steps_per_day:
                detail = (
                    f"project {project!r} submitted {spent} cell-steps in the last 24 hours; {wanted} more would pass"
                    f" its quota of {self.cell_steps_per_day}"
                )
                raise Problem(429, "Quota reached", detail, retry_after_s=LATER_S)

    def lets_run(self, connection: Connection, job: Job) -> bool:
        """Whether the job's project has room for it. Nobody else takes that room before the transaction ends."""
        if not self.running_jobs:
            return True
        _one_at_a_time(connection, f"leym running {job.project}")
        others = (*_RUNNING, jobs.c.project == job.project)
        some = select(jobs.c.id).where(*others).limit(self.running_jobs).subquery()
        return int(connection.execute(select(func.count()).select_from(some)).scalar_one()) < self.running_jobs

    def running(self, connection: Connection) -> dict[str, int]:
        """Of each project, how many jobs run; nothing without a bound on them."""
        if not self.running_jobs:
            return {}
        found = select(jobs.c.project, func.count()).where(*_RUNNING).group_by(jobs.c.project)
        return {project: int(n) for project, n in connection.execute(found)}


def _one_at_a_time(connection: Connection, name: str) -> None:
    """On PostgreSQL two transactions could both see room for one; SQLite has one writer at a time."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": name})


def stored_bytes(connection: Connection, project: str | None) -> int:
    """What the results of a project take, or of all (None): an index has it, however many jobs there are."""
    found = select(func.sum(jobs.c.stored_bytes)).where(jobs.c.stored_bytes > 0)
    if project is not None:
        found = found.where(jobs.c.project == project)
    return int(connection.execute(found).scalar_one() or 0)


# From the running totals: cheap with any number of jobs, and near enough for a bound on all of them.
_LIVE_OF_ALL = select(
    func.sum(totals.c.submitted - (totals.c.succeeded + totals.c.failed + totals.c.cancelled))
)  # made once: that takes longer than to ask


def _live(connection: Connection, bound: int, project: str) -> int:
    """Jobs of a project that have not ended, counted up to the bound."""
    mine = (jobs.c.project == project, jobs.c.state.in_(LIVE), jobs.c.deleted_at.is_(None))
    some = select(jobs.c.id).where(*mine).limit(bound).subquery()
    return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


def _cell_steps(connection: Connection, project: str, since: float) -> int:
    # multiplied here: the sum over many large jobs would not fit SQLite's integers
    statement = (
        select(jobs.c.height, jobs.c.width, func.sum(jobs.c.steps))
        .where(jobs.c.project == project, jobs.c.created_at > since)
        .group_by(jobs.c.height, jobs.c.width)
    )
    return sum(height * width * int(steps) for height, width, steps in connection.execute(statement))
