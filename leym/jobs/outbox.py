"""The outbox: queued jobs whose tickets the broker has yet to get, has lost, or is to get when there is room."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection, func, or_, select, update

from leym.contract.records import Job, JobState
from leym.jobs.queries import COLUMNS, Base, chunks, jobs_of, not_within
from leym.jobs.schema import jobs

GRACE_S = 1.0  # the ticket of a job this young is being sent by whoever took the job in
_QUEUED = jobs.c.state == JobState.QUEUED


class Outbox(Base):
    def unticketed(self, older_than_s: float, limit: int = 100, now: float | None = None) -> list[Job]:
        """Queued jobs, oldest first, that have no ticket or whose ticket is older than `older_than_s` seconds.

        With a bound on the running jobs of a project: of those without a ticket as many as it has room for.
        """
        now = time.time() if now is None else now
        older = select(*COLUMNS).where(_QUEUED, not_within(jobs.c.ticketed_at, older_than_s, now)).order_by(jobs.c.id)
        with self.db.read() as connection:
            found = self._without(connection, limit, now) + jobs_of(connection, older.limit(limit))
        return sorted(found, key=lambda job: job.id)[:limit]

    def ticketed(self, ids: Sequence[str], now: float | None = None) -> None:
        """The broker has tickets for these jobs, sent at `now` or later. One put off since then has none any more."""
        now = time.time() if now is None else now
        with self.db.write() as connection:
            for some in chunks(sorted(set(ids))):
                has_it_still = or_(jobs.c.put_off_at.is_(None), jobs.c.put_off_at < now)
                of_these = (jobs.c.id.in_(some), _QUEUED, has_it_still)
                waiting = select(jobs.c.id).where(*of_these).order_by(jobs.c.id).with_for_update()
                queued = list(connection.scalars(waiting))
                if queued:
                    connection.execute(update(jobs).where(jobs.c.id.in_(queued)).values(ticketed_at=now))

    def awaited(self) -> int:
        """Queued jobs whose tickets the broker was given; those that were put off have none."""
        with self.db.read() as connection:
            given = select(func.count()).where(_QUEUED, jobs.c.ticketed_at.is_not(None))
            return int(connection.execute(given).scalar_one())

    def _without(self, connection: Connection, limit: int, now: float) -> list[Job]:
        without = (
            _QUEUED,
            jobs.c.ticketed_at.is_(None),
            or_(not_within(jobs.c.created_at, GRACE_S, now), jobs.c.epoch > 0),
        )
        bound = self.quotas.running_jobs
        if not bound:
            return jobs_of(connection, select(*COLUMNS).where(*without).order_by(jobs.c.id).limit(limit))
        running = Counter(self.quotas.running(connection))
        full = [project for project, n in running.items() if n >= bound]
        # the most urgent of each project, so that no project with many keeps out another
        place = func.row_number().over(partition_by=jobs.c.project, order_by=(jobs.c.priority.desc(), jobs.c.id))
        ranked = select(jobs.c.id, place.label("place")).where(*without, jobs.c.project.not_in(full)).subquery()
        first = select(*COLUMNS).join(ranked, ranked.c.id == jobs.c.id).where(ranked.c.place <= bound)
        room = []
        for job in jobs_of(connection, first.order_by(ranked.c.place, jobs.c.id).limit(limit)):
            running[job.project] += 1
            if running[job.project] <= bound:
                room.append(job)
        return room
