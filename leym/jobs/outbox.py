"""Outbox: the job table remembers which queued jobs still need a ticket, and callers send the tickets.

A job needs a ticket if none was sent yet, if the broker may have lost it, or if the job was held back and its project
is below its limit again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection, func, or_, select, update

from leym.contract.records import SIMULATION, TRAINING, Job, JobState
from leym.jobs.queries import COLUMNS, Base, chunks, jobs_of, not_within
from leym.jobs.schema import jobs

GRACE_S = 1.0  # the process that accepted a job this young is still sending the ticket
_QUEUED = jobs.c.state == JobState.QUEUED


class Outbox(Base):
    """Queued jobs and their tickets."""

    def unticketed(self, older_than_s: float, limit: int = 100, now: float | None = None) -> list[Job]:
        """Return queued jobs, oldest first, without a ticket or with one older than `older_than_s` seconds.

        If the number of running jobs per project is limited, only as many jobs without a ticket as may run now.
        """
        now = time.time() if now is None else now
        older = select(*COLUMNS).where(_QUEUED, not_within(jobs.c.ticketed_at, older_than_s, now)).order_by(jobs.c.id)
        with self.db.read() as connection:
            found = self._without_ticket(connection, limit, now) + jobs_of(connection, older.limit(limit))
        return sorted(found, key=lambda job: job.id)[:limit]

    def mark_ticketed(self, ids: Sequence[str], now: float | None = None) -> None:
        """Note that the broker has tickets for these jobs, sent at `now` or later; ignore jobs held back since then."""
        now = time.time() if now is None else now
        with self.db.write() as connection:
            for some in chunks(sorted(set(ids))):
                not_held_back = or_(jobs.c.held_back_at.is_(None), jobs.c.held_back_at < now)
                of_these = (jobs.c.id.in_(some), _QUEUED, not_held_back)
                waiting = select(jobs.c.id).where(*of_these).order_by(jobs.c.id).with_for_update()
                queued = list(connection.scalars(waiting))
                if queued:
                    connection.execute(update(jobs).where(jobs.c.id.in_(queued)).values(ticketed_at=now))

    def note_lost_ticket(self, row_id: str) -> bool:
        """Note that the ticket of a row was discarded; return True if the row is queued and needs another one."""
        with self.db.write() as connection:
            queued = update(jobs).where(jobs.c.id == row_id, _QUEUED).values(ticketed_at=None)
            return bool(connection.execute(queued).rowcount)

    def count_ticketed(self) -> int:
        """Count the queued jobs whose tickets were sent to the broker; jobs that are held back have none."""
        with self.db.read() as connection:
            sent = select(func.count()).where(_QUEUED, jobs.c.ticketed_at.is_not(None))
            return int(connection.execute(sent).scalar_one())

    def count_queued(self) -> int:
        """Count the queued rows: jobs, and blocks of sweeps, each of which needs one ticket."""
        with self.db.read() as connection:
            return int(connection.execute(select(func.count()).where(_QUEUED)).scalar_one())

    def count_ahead(self, job: Job) -> int:
        """Count the queued rows that are more urgent than a queued job, or as urgent and older, of all projects."""
        before = (jobs.c.priority > job.priority) | ((jobs.c.priority == job.priority) & (jobs.c.id < job.results))
        pool = TRAINING if job.is_training else SIMULATION
        with self.db.read() as connection:
            ahead = select(func.count()).where(_QUEUED, jobs.c.pool == pool, before)
            return int(connection.execute(ahead).scalar_one())

    def is_held_back(self, row_id: str) -> bool:
        """Return True if a queued row waits until its project is below its limit of running jobs."""
        held = (jobs.c.id == row_id, _QUEUED, jobs.c.held_back_at.is_not(None), jobs.c.ticketed_at.is_(None))
        with self.db.read() as connection:
            return connection.execute(select(jobs.c.id).where(*held)).first() is not None

    def _without_ticket(self, connection: Connection, limit: int, now: float) -> list[Job]:
        without = (
            _QUEUED,
            jobs.c.ticketed_at.is_(None),
            or_(not_within(jobs.c.created_at, GRACE_S, now), jobs.c.epoch > 0),
        )
        bound = self.quotas.running_jobs
        if not bound:
            return jobs_of(connection, select(*COLUMNS).where(*without).order_by(jobs.c.id).limit(limit))
        running = Counter(self.quotas.count_running(connection))
        full = [project for project, n in running.items() if n >= bound]
        # the most urgent jobs of each project, so that a project with many jobs does not delay the others
        place = func.row_number().over(partition_by=jobs.c.project, order_by=(jobs.c.priority.desc(), jobs.c.id))
        ranked = select(jobs.c.id, place.label("place")).where(*without, jobs.c.project.not_in(full)).subquery()
        first = select(*COLUMNS).join(ranked, ranked.c.id == jobs.c.id).where(ranked.c.place <= bound)
        room = []
        for job in jobs_of(connection, first.order_by(ranked.c.place, jobs.c.id).limit(limit)):
            if self.quotas.leaves_room(running[job.project], job):
                room.append(job)
            running[job.project] += job.members
        return room
